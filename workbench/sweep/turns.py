"""Jobs of one sweep on one host train side by side, but each is timed alone."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Self

from workbench import file_lock


class Turns:
    """A job's place among those of its sweep on this host; one is held at a time, as a context.

    Inside, it runs beside the others. After `alone`, nothing else of the sweep runs here till the context ends:
    those that were running have ended or wait for their own turn, those that want to begin wait too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gate: IO | None = None
        self._running: IO | None = None

    def __enter__(self) -> Self:
        # who waits to be alone holds the gate: nobody who begins can then get in before
        self._gate = open(self._path.with_suffix(".gate"), "w")
        self._running = open(self._path, "w")
        try:
            self._take(shared=True)
        except OSError:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for lock in (self._running, self._gate):
            if lock is not None:
                lock.close()

    def alone(self) -> None:
        """Wait until nothing else of the sweep runs on this host."""
        assert self._running is not None
        file_lock.give_back(self._running)
        self._take(shared=False)

    def forget(self) -> None:
        """Remove the files, once nobody will take a turn any more."""
        for path in (self._path, self._path.with_suffix(".gate")):
            path.unlink(missing_ok=True)

    def _take(self, *, shared: bool) -> None:
        assert self._gate is not None
        assert self._running is not None
        file_lock.take(self._gate, self._path)
        file_lock.take(self._running, self._path, shared=shared)
        file_lock.give_back(self._gate)
