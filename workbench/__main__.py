"""The command: `python -m workbench [overrides] [-m]`.

    python -m workbench                                  one run on the defaults
    python -m workbench cell=gru data.batch_size=64      one run, changed
    python -m workbench -m padding=batch,bucket seed=1,2 a sweep
    python -m workbench +experiment=padding_ablation -m  an experiment, ending in verdicts
    python -m workbench +experiment=guide -m             the guide's ablations, ending in one table

Exit code 0: all went well; 1: a run failed, or its record was lost; 2: the input is wrong and nothing was run;
130: interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.core.override_parser.types import Quote, QuotedString

from workbench import __version__
from workbench.claims import ClaimError, PairingError
from workbench.config import ConfigError, Problem
from workbench.console import Lasting, on_stderr, on_stdout
from workbench.options.schema import ABSENT
from workbench.places import CONF
from workbench.provenance import without_passwords
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import PrepareError
from workbench.sweep.journal import RecordLostError
from workbench.sweep.overrides import parsed, plain, swept
from workbench.sweep.series import asked_series, run_series
from workbench.sweep.start import run_one
from workbench.sweep.sweep import run_sweep
from workbench.tracking import TrackingError

_HYDRA_SHOWS = (
    "--help",
    "-h",
    "--hydra-help",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--resolve",
    "--package",
    "-p",
)
_WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--info", "-i")
_BAD_INPUT = (ConfigError, ClaimError, PairingError, PrepareError, TrackingError)


@dataclass
class Arguments:
    """A command line taken apart; flags and overrides may stand in any order."""

    overrides: list[str] = field(default_factory=list)
    multirun: bool = False
    config_folders: list[str] = field(default_factory=list)
    shows: list[str] = field(default_factory=list)
    version: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    console, errors = on_stdout(Lasting, width=100), on_stderr()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # closed as truthfully as on Ctrl-C
    try:
        given = parse(sys.argv[1:] if arguments is None else arguments)
        if given.version:
            print(f"rnn-workbench {__version__}")
            return 0
        compose = Composer(given.config_folders)
        if given.shows:
            return _show(given, compose)
        if series := asked_series(compose, given.overrides):
            return run_series(compose, series, given.overrides, console)
        if given.multirun:
            return run_sweep(compose, given.overrides, console).code
        return run_one(compose, given.overrides, console)
    except (Exception, KeyboardInterrupt) as error:
        if _is_interruption(error):
            errors.print(
                "interrupted; what had finished is recorded; a sweep goes on with workbench.resume=true",
                style="red",
            )
            return 130
        if not isinstance(error, _BAD_INPUT):
            raise
        errors.print(without_passwords(str(error)), style="red")
        return 1 if isinstance(error, RecordLostError) else 2


def _is_interruption(error: BaseException | None) -> bool:
    """Whether this is Ctrl-C, or an error of a library (OmegaConf's) that was cut short by it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def parse(arguments: Sequence[str]) -> Arguments:
    """Take a command line apart.

    >>> parse(["+experiment=x", "-m", "seed=1,2"])
    Arguments(overrides=['+experiment=x', 'seed=1,2'], multirun=True, config_folders=[], shows=[], version=False)
    """
    given = Arguments()
    rest = iter(arguments)
    for text in rest:
        name, equals, value = text.partition("=")
        if text in ("-m", "--multirun"):
            given.multirun = True
        elif name in ("--config-dir", "-cd"):
            if not (place := value if equals else next(rest, "")):
                raise ConfigError([Problem(text, ABSENT, "names no folder: give one, --config-dir FOLDER")])
            given.config_folders.append(place)
        elif text == "--version":
            given.version = True
        elif name in _HYDRA_SHOWS:
            given.shows.append(text)
            if text in _WITH_VALUE:
                given.shows += [value for value in [next(rest, None)] if value is not None]
        elif text.startswith("-"):
            flags = "-m, --config-dir, --help, --version, --cfg, --info"
            raise ConfigError([Problem(text, ABSENT, f"no such flag; there are {flags}")])
        else:
            given.overrides.append(text)
    given.overrides, places = _without_search_path(given.overrides)
    given.config_folders += places
    return given


def _without_search_path(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The other overrides, and the folders of `hydra.searchpath`: they are what --config-dir names."""
    others, places = [], []
    for text in overrides:
        if text.lstrip("+").partition("=")[0] != "hydra.searchpath":
            others.append(text)
            continue
        value = parsed(text).value()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ConfigError(
                [Problem("hydra.searchpath", value, "must be a list of folders, as [file:///a/b]")]
            )
        places += [str(one).removeprefix("file://") for one in value]
    return others, places


def _show(given: Arguments, compose: Composer) -> int:
    """Leave to Hydra what only shows something: --help, --cfg job, --info; wrong input is refused before."""
    import hydra

    overrides = compose.read(given.overrides)
    if several := swept(overrides):
        raise ConfigError(
            [Problem(one.key, one.values, "one configuration is shown: give one value") for one in several]
        )
    compose(plain(overrides))
    header = QuotedString((__doc__ or "").strip(), Quote.double).with_quotes()
    sys.argv = [sys.argv[0], *given.shows, *compose.search, f"hydra.help.header={header}", *given.overrides]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(lambda config: None)()
    return 0


if __name__ == "__main__":
    sys.exit(main())
