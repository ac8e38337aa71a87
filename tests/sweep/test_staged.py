"""A sweep run from look to look: killed and resumed anywhere it runs what one that was not killed runs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from workbench.__main__ import main
from workbench.claims import Claim, judge_table
from workbench.process.child import Outcome
from workbench.process.spawner import Fresh
from workbench.record import Run
from workbench.record import tags as names
from workbench.record.plan import Job
from workbench.sweep import sweep
from workbench.sweep.conduct import Conductor, Ended, Prepared, data_key
from workbench.sweep.progress import Watcher
from workbench.sweep.staged import run_stages
from workbench.tracking import Tracker

SPEED, LOOKS = "speed/valid_tokens_per_s", (6, 12, 24)
FACTOR = {"global": 1.0, "batch": 2.0, "bucket": 1.25}


def a_claim(treatment: str) -> Claim:
    arms = ({"padding.name": treatment}, {"padding.name": "global"})
    return Claim(
        treatment, "", "ours", SPEED, *arms, "higher", 1.2, "", pairs=LOOKS, equal=(), control_again=False
    )


CLAIMS = [a_claim("batch"), a_claim("bucket")]


class Killed(BaseException):
    """The person or the system ended the sweep."""


class Sweep:
    """A sweep whose runs are a list: `run` writes one a job, until it is killed before its n-th."""

    def __init__(self, tmp_path: Path) -> None:
        self.record: dict[tuple[int, str, int], Run] = {}
        self.tags: dict[str, str] = {}
        self.said = io.StringIO()
        watcher = Watcher(Console(file=self.said, width=200), 1)
        tracker = SimpleNamespace(
            jobs=lambda experiment, sweep: [*self.record.values()],
            tag=lambda run_id, tags: self.tags.update(tags),
        )
        self.conductor = SimpleNamespace(
            tracker=tracker, watcher=watcher, experiment_name="x", folder=tmp_path, parent="p"
        )
        padding = [(arm, {"padding": {"name": arm}}) for arm in FACTOR]
        blocks = [(block, arm, tree) for block in range(25) for arm, tree in padding]
        self.jobs = [
            Job(number, arm, block, 0, {**tree, "seed": 100 + block})
            for number, (block, arm, tree) in enumerate(blocks)
        ]

    def go(self, kill_before: int | None = None, fail: str = "") -> tuple[list[Ended], int]:
        left: Iterator[int] = iter(range(10**6 if kill_before is None else kill_before))

        def run(stage: list[Job]) -> list[Ended]:
            return [self._one(job, left, fail) for job in stage]

        for job in self.jobs:
            job.tree["workbench"] = {"fail_fast": bool(fail)}
        return run_stages(self.conductor, self.jobs, CLAIMS, LOOKS, sweep="s", run=run)

    def _one(self, job: Job, left: Iterator[int], fail: str) -> Ended:
        if job.key in self.record:
            return Ended(job, "", Outcome("finished"), is_known=True)
        if next(left, None) is None:
            raise Killed
        tags = {names.BLOCK: str(job.block), names.ARM: job.arm, names.KIND: "run", names.REPEAT: "0"}
        noise = {"batch": 1.01, "bucket": 1.05}.get(job.arm, 1.0) ** (1 if job.block % 2 else -1)
        params = {"padding.name": job.arm, "seed": str(100 + job.block)}
        metrics = {SPEED: FACTOR[job.arm] * noise}
        self.record[job.key] = Run(f"r{job.number:03d}", "FINISHED", params, metrics, tags, start=job.number)
        return Ended(job, "", Outcome("failed" if job.arm == fail else "finished"))

    def verdicts(self) -> str:
        runs = [*self.record.values()]
        return json.dumps([one.to_json() for one in judge_table(CLAIMS, runs, planned=24)], sort_keys=True)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    made = Sweep(tmp_path_factory.mktemp("unbroken"))
    ended, left_out = made.go()
    assert (len(ended), left_out) == (75 - 18, 18)
    return made


def test_what_is_decided_is_not_run_on_and_each_look_is_recorded(unbroken: Sweep) -> None:
    arms = {run.arm for run in unbroken.record.values() if run.block > 6}
    assert arms == {"global", "bucket"}
    assert unbroken.tags == {"workbench.look.6": "bucket", "workbench.look.12": "bucket"}
    assert "look at 6 pairs: 1 of 2 claims open: bucket" in unbroken.said.getvalue()
    assert [one["look"] for one in json.loads(unbroken.verdicts())] == [1, 3]


@pytest.mark.parametrize("first", [0, 2, 10, 21, 22, 30, 33, 34, 56])
def test_a_sweep_that_is_killed_and_resumed_gives_the_same_verdicts(
    unbroken: Sweep, tmp_path: Path, first: int
) -> None:
    """Within a look, at its end, and between two; the second time killed once more."""
    broken = Sweep(tmp_path)
    for kill_before in (first, 7):
        if len(broken.record) + kill_before < len(unbroken.record):
            with pytest.raises(Killed):
                broken.go(kill_before)
    ended, left_out = broken.go()
    assert len(ended) + left_out == len(broken.jobs)
    assert broken.record == unbroken.record
    assert broken.verdicts() == unbroken.verdicts()
    assert broken.tags == unbroken.tags


def test_after_a_failure_no_stage_is_run_where_the_first_ends_it(tmp_path: Path) -> None:
    made = Sweep(tmp_path)
    ended, left_out = made.go(fail="batch")
    assert len(ended) == 21
    assert left_out == 0, "the rest was not left out: it is still to be run"


def test_runs_that_cannot_be_compared_end_it_with_the_reason(tmp_path: Path) -> None:
    made = Sweep(tmp_path)
    made.jobs = [Job(j.number, j.arm, j.block, 0, {**j.tree, "cell": {"units": j.number}}) for j in made.jobs]
    plain = made._one

    def other(job: Job, left: Iterator[int], fail: str) -> Ended:
        ended = plain(job, left, fail)
        run = made.record[job.key]
        made.record[job.key] = Run(
            run.run_id, run.status, {**run.params, "cell.units": str(job.number)}, run.metrics, run.tags
        )
        return ended

    made._one = other  # type: ignore[method-assign]
    ended, left_out = made.go()
    assert (len(ended), left_out) == (21, 54)
    assert "no more blocks are run, as the runs cannot be judged: claim batch" in made.said.getvalue()


WRITTEN = "pairs: [6, 8]\nequal: []\nclaims:\n" + "".join(
    f"- {{name: {arm}, statement: Faster., source: ours, metric: {SPEED}, treatment: {{padding.name: {arm}}}, "
    "control: {padding.name: global}, direction: higher, smallest: 1.2, why_smallest: a test}\n"
    for arm in ("batch", "bucket")
)


@pytest.mark.slow  # quick: the tests above
def test_the_command_kills_resumes_lists_and_reports_a_sweep_with_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """All but the children: each run has its number at once."""
    left = iter(range(17))

    def measured(self: Conductor, job: Job, run_id: str, *given: object) -> Outcome:
        if next(left, None) is None:
            self.tracker.finish(run_id, "KILLED")
            raise KeyboardInterrupt
        value = FACTOR[job.tree["padding"]["name"]] * (1.2 if job.block % 2 and "bucket" in job.arm else 1.0)
        self.tracker.log(run_id, [(0, {SPEED: value * (1 + job.number / 1e4)})])
        self.tracker.finish(run_id, "FINISHED")
        return Outcome("finished", {"metrics": {SPEED: value}})

    def prepare(self: Conductor, jobs: list[Job]) -> None:
        self.prepared.update({data_key(job.tree): Prepared("folder", "fingerprint") for job in jobs})

    monkeypatch.chdir(tmp_path)
    (tmp_path / "claims.yaml").write_text(WRITTEN)
    monkeypatch.setattr(Conductor, "prepare", prepare)
    monkeypatch.setattr(Conductor, "spawner", lambda self, block, given: Fresh())
    monkeypatch.setattr(Conductor, "_conduct", measured)
    monkeypatch.setattr(sweep, "require_devices", lambda jobs, conductor: None)
    words = ["-m", "padding=global,batch,bucket", "sweep.claims=claims.yaml", "data=synthetic"]
    assert main([*words, "workbench.dry_run=true"]) == 0
    assert "claim batch: 8 pairs, fewer where a look at 6 decides" in " ".join(
        capsys.readouterr().out.split()
    )
    assert main(words) == 130
    left = iter(range(10**6))
    assert main([*words, "workbench.resume=true"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "look at 6 pairs: 1 of 2 claims open: bucket" in said
    assert "batch: decided at look 1 of 2, of 6 pairs" in said
    assert "bucket: decided at look 2 of 2, of 8 pairs" in said
    tracker = Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (own,) = tracker.sweeps()
    runs = [run for run in tracker.jobs(tracker.experiment_name(own), own.sweep) if run.finished]
    assert {run.arm for run in runs if run.block > 6} == {"padding=global", "padding=bucket"}
    assert len(runs) == 3 + 6 * 4 + 2 * 3
    assert own.tags["workbench.look.6"] == "bucket"
    folder = next((tmp_path / "mlruns").rglob("verdicts.json")).parent
    before = (folder / "verdicts.json").read_bytes()
    assert "NOT RUN" not in (folder / "report.md").read_text()
    assert main([*words, "workbench.resume=true", "workbench.dry_run=true"]) == 0
    assert "nothing is left to run" in capsys.readouterr().out
    assert main([*words, "workbench.resume=true"]) == 0, "complete: judged again"
    assert "is complete" in capsys.readouterr().out
    assert (folder / "verdicts.json").read_bytes() == before
