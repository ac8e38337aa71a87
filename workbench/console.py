"""What commands print on: a terminal, a pipe or a file, of whatever encoding, which may be gone or full."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import Any

from rich.console import Console


class Lasting(Console):
    """A console whose failures cost no work: its reader may go away, and its file may be on a full disk."""

    def _check_buffer(self) -> None:
        """By this rich writes whatever is shown: what cannot be written is not shown."""
        try:
            super()._check_buffer()
        except OSError:
            del self._buffer[:]  # there may be room for the next line

    def on_broken_pipe(self) -> None:
        """Go on: Console's own ends the process, and with it a sweep whose output was piped into `head`.

        Nothing is shown from now on; nor may what is left in Python's buffer fail when the process ends.
        """
        self.quiet = True
        if self.file is sys.stdout:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def on_stdout(kind: type[Console] = Console, *, width: int | None = None, **options: Any) -> Console:
    """Stdout; where it is no terminal, lines of `width` characters unless COLUMNS says otherwise.

    Characters that its encoding cannot write come as escapes (`\\xb1` for ± in ASCII).
    """
    _take_all_letters(sys.stdout)
    console = kind(emoji=False, **options)
    if width and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = width
    return console


def on_stderr() -> Console:
    """Stderr, where a sentence is one line however long."""
    _take_all_letters(sys.stderr)
    return Console(stderr=True, soft_wrap=True, emoji=False, highlight=False, markup=False)


def say(console: Console, words: str, style: str | None = None) -> None:
    """Print a sentence as it is, on one line however long: nothing in it is markup, or coloured by what it is."""
    console.print(words, style=style, highlight=False, markup=False, soft_wrap=True)


def whole_from_1(text: str) -> int:
    """The type of an option of argparse's: a whole number from 1."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1")
    return int(text)


def _take_all_letters(stream: Any) -> None:
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


def command_line(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of `python -m module`, whose help has the description as it is written."""
    how = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"python -m {module}", description=description, formatter_class=how)
