"""A sweep's own run: its id, its frozen grid, what was typed, and the claims that it was declared with.

Of a new sweep nothing is recorded yet; it is opened as one that is resumed is, from an empty record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from workbench import claims as claims_room
from workbench.claims import Claim
from workbench.config import Config, ConfigError, Problem
from workbench.places import IS_SHIPPED, ROOT
from workbench.provenance import command
from workbench.record import tags as names
from workbench.record.plan import NAME, Plan, Typed, plan_json
from workbench.report import recorded
from workbench.repositories import committed_at
from workbench.sweep.conduct import Conductor, new_sweep_id
from workbench.sweep.journal import close_by, owner
from workbench.sweep.ledger import differences
from workbench.tracking import Tracker

_OF_ITS_RUNS = (
    names.SWEEP,
    names.COMMAND,
    names.PLANNED_PAIRS,
    names.SCALE,
    names.CLAIMS_SHA,
    names.CLAIMS_COMMIT,
    names.CLAIMS_COMMITTED,
)


_MEETING_S = 2.0
"""Longer than a server takes from a look at a sweep to the word whose it is."""


@dataclass(frozen=True)
class OwnRun:
    """What is recorded of a sweep; of a new one its id alone."""

    sweep: str
    experiment: str
    run_id: str = ""
    """Empty until the sweep was begun."""
    plan: Plan | None = None
    """As it was frozen; None until the sweep was begun."""
    typed: Typed = field(default_factory=Typed)
    tags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls, config: Config, planned: Plan, declared: list[Claim] | None) -> OwnRun:
        """Of a sweep that is begun now."""
        tags = {
            names.SWEEP: new_sweep_id(),
            names.COMMAND: command(),
            names.PLANNED_PAIRS: str(planned.blocks),
            names.SCALE: config.scale.name,
        }
        if declared:
            file = Path(declared[0].file)
            known = committed_at(file)
            shipped = IS_SHIPPED and file.is_relative_to(ROOT)
            tags[names.CLAIMS_SHA] = claims_room.claims_sha(declared)
            tags[names.CLAIMS_COMMIT] = known[0] if known else ""
            tags[names.CLAIMS_COMMITTED] = "shipped" if shipped else str(bool(known and known[1])).lower()
        return cls(tags[names.SWEEP], config.name, tags=tags)

    @property
    def is_begun(self) -> bool:
        """Whether there is a record to go on with."""
        return bool(self.run_id)

    @property
    def of_its_runs(self) -> dict[str, str]:
        """The tags that each of its runs carries, as they were when it was begun."""
        return {name: self.tags[name] for name in _OF_ITS_RUNS if name in self.tags}

    def open(
        self, conductor: Conductor, config: Config, planned: Plan, declared: list[Claim] | None, typed: Typed
    ) -> str:
        """Open it, or open it again; its run's id. Grid and claims are down before the first job starts.

        Raises:
            ClaimError: the claims' file was changed since it was read.
        """
        grid = conductor.folder / NAME
        if self.plan is not None:
            return self._again(conductor, self.plan, planned, typed)
        grid.write_text(plan_json(planned, typed))
        if declared:
            _require_unchanged(declared, self.tags)
        tracker = conductor.tracker
        run_id = tracker.start(
            conductor.experiment,
            f"sweep {self.sweep}",
            params={
                "name": config.name,
                "scale.name": config.scale.name,
                "jobs": len(planned.jobs),
                **({"sweep.question": config.sweep.question} if config.sweep.question else {}),
            },
            tags={
                **conductor.origin.common,
                **conductor.origin.repositories.tags,
                **conductor.tags,
                **owner(),
                names.KIND: "sweep",
                names.STARTED: time.strftime("%Y-%m-%d %H:%M:%S %z"),
            },
        )
        try:
            if declared:
                tracker.text(run_id, Path(declared[0].file).read_text(encoding="utf-8"), recorded.CLAIMS)
                tracker.tag(run_id, {f"claim.{claim.name}": claim.sha for claim in declared})
            for path in conductor.origin.repositories.write(conductor.folder):
                tracker.artifact(run_id, path)
            tracker.artifact(run_id, grid)  # the last: from here the sweep can be resumed
        except BaseException as error:
            close_by(tracker, run_id, error)
            raise
        return run_id

    def _again(self, conductor: Conductor, before: Plan, planned: Plan, typed: Typed) -> str:
        tracker, times = conductor.tracker, int(self.tags.get(names.RESUMED, 0)) + 1
        # tasks of a launcher's that still wait somewhere are of a launch that is over
        tracker.reopen(self.run_id, {**owner(), names.RESUMED: str(times), names.LAUNCH: ""})
        try:
            self._require_alone(tracker)
            if differences(before, planned):
                grid = conductor.folder / NAME
                grid.write_text(plan_json(planned, typed))
                tracker.text(self.run_id, plan_json(before, self.typed), f"grid-before-{times}.json")
                tracker.artifact(self.run_id, grid)
        except ConfigError:  # another host goes on with it
            raise
        except BaseException as error:
            close_by(tracker, self.run_id, error)
            raise
        return self.run_id

    def _require_alone(self, tracker: Tracker) -> None:
        """Raise where another host resumed this sweep in the same moment: of several, the last to say so goes on.

        Hosts share a server; the processes of one host, which may share a file, are told apart by a lock (`sole`).
        """
        if tracker.uri.startswith("sqlite"):
            return
        time.sleep(_MEETING_S)
        if (whose := tracker.get(self.run_id).tags.get(names.OWNER, "")) != owner()[names.OWNER]:
            host = whose.partition("/")[0] or "another host"
            remedy = (
                f"{host} resumed this sweep in the same moment, and goes on with it: wait for it, or end it"
            )
            raise ConfigError([Problem("workbench.resume", self.sweep, remedy)])


def _require_unchanged(declared: list[Claim], tags: dict[str, str]) -> None:
    """Raise ClaimError where the file no longer holds the claims that were read from it."""
    now = claims_room.load(declared[0].file)
    if claims_room.claims_sha(now) != tags[names.CLAIMS_SHA]:
        raise claims_room.ClaimError(
            f"{declared[0].file}: was changed while the sweep was prepared; nothing was run: type the same again"
        )
