"""Runs a sweep, kills its processes at random moments, resumes it until it is done, and looks at what is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tiny_child

from workbench.record.frames import frame_of
from workbench.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = """
schema: 1
pairs: 6
claims:
- name: batch_is_faster
  statement: Padding within the batch trains faster.
  source: test
  metric: speed/valid_tokens_per_s
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: higher
  smallest: 1.2
  why_smallest: a test
  over: {cell.name: [gru, lstm, basic_rnn]}
- name: padding_changes_nothing
  kind: exact
  statement: Padding changes no loss.
  source: test
  metric: loss/validation_per_token
  scale: difference
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: same
  smallest: 0
  why_smallest: a test
  over: {cell.name: [gru, lstm, basic_rnn]}
"""
WORDS = (
    "-m",
    "padding=global,batch",
    "cell=gru,lstm,basic_rnn",
    "data=synthetic",
    "sweep.claims=claims.yaml",
)
JOBS = 6 * 7 + 6
"""Six blocks of six arms and the control again, and a throw-away block."""

VICTIMS = {"child": 0.8, "parent": 0.15, "server": 0.05}


@dataclass
class Tally:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    sittings: int = 0
    sweeps: int = 0


class Sweeper:
    """Sweeps in one folder with one database, and whoever kills them."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.tally = folder, Tally()
        self._random = random.Random(seed)
        folder.mkdir(exist_ok=True)
        (folder / "claims.yaml").write_text(CLAIMS)
        paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
        self._nursery = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the nursery."""
        self._nursery.communicate()

    def sweep(self, name: str, *, kills: int = 0, pause_s: tuple[float, float] = (0.0, 0.7)) -> None:
        """One sweep to its end; up to so many kills on the way, each after a random pause."""
        self.tally.sweeps += 1
        output = self.folder / f"{name}.log"
        while True:
            self.tally.sittings += 1
            pid = self._start([*WORDS, f"name={name}", "workbench.resume=true"], output)
            ended = threading.Event()
            killer = threading.Thread(target=self._kill, args=(pid, ended, kills, pause_s))
            before = sum(self.tally.kills.values())
            killer.start()
            code = self._answer()["code"]
            ended.set()
            killer.join()
            killed = sum(self.tally.kills.values()) - before
            kills -= killed
            if code == 0:
                return
            said = output.read_text()
            assert killed, f"exit code {code} though nothing was killed:\n{said[-3000:]}"
            assert code in (1, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT), (
                f"{code}: {said[-3000:]}"
            )

    def type_in(self, *words: str) -> tuple[int, str]:
        """`python -m workbench WORDS`: its exit code and what it said."""
        output = self.folder / "typed.log"
        output.unlink(missing_ok=True)
        self._start(list(words), output)
        return self._answer()["code"], output.read_text()

    def _kill(self, pid: int, ended: threading.Event, kills: int, pause_s: tuple[float, float]) -> None:
        while kills and not ended.wait(self._random.uniform(*pause_s)):
            victim = self._random.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            try:
                done = self._kill_one(pid, victim)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
            if done:
                self.tally.kills[done] += 1
                kills -= 1
            if victim == "parent":
                return

    def _kill_one(self, pid: int, victim: str) -> str:
        """Kill the victim, or none where it is not there at this moment; who was killed, and how."""
        if victim == "parent":
            how = self._random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
            os.kill(pid, how)
            return f"parent by {how.name}"
        servers = psutil.Process(pid).children()
        among = servers if victim == "server" else [child for one in servers for child in one.children()]
        if not among:
            return ""
        self._random.choice(among).kill()
        return victim

    def _start(self, words: list[str], output: Path) -> int:
        assert self._nursery.stdin is not None
        asked = {"words": words, "output": str(output)}
        self._nursery.stdin.write(json.dumps(asked) + "\n")
        self._nursery.stdin.flush()
        return int(self._answer()["pid"])

    def _answer(self) -> dict[str, Any]:
        assert self._nursery.stdout is not None
        line = self._nursery.stdout.readline()
        assert line, "the nursery is gone"
        return dict(json.loads(line))


def check(folder: Path, name: str) -> Counter[str]:
    """Look at a sweep that is done: each job once FINISHED, none open, all metrics there; the runs by status."""
    tracker = Tracker(f"sqlite:///{folder}/mlruns/mlflow.db", create=False)
    runs = frame_of(tracker.runs(name))
    parents = runs[runs["tags.workbench.kind"] == "sweep"]
    whole = parents[parents["status"] == "FINISHED"]
    assert len(whole) == 1, parents["status"].tolist()
    assert set(runs["status"]) <= {"FINISHED", "KILLED", "FAILED"}
    jobs = runs[(runs["tags.workbench.kind"] == "run")]
    assert set(jobs["tags.workbench.sweep"]) == set(whole["tags.workbench.sweep"])
    finished = jobs[jobs["status"] == "FINISHED"]
    assert len(finished) == JOBS
    assert finished["tags.workbench.identity"].nunique() == JOBS
    assert sorted(finished["tags.workbench.order"].astype(int)) == list(range(JOBS))
    for _, sitting in jobs.sort_values("start_time").groupby("tags.workbench.owner", sort=False):
        order = sitting["tags.workbench.order"].astype(int).tolist()
        assert order == sorted(set(order)), "a sitting runs the jobs in the frozen order, each once"
    for metric in tiny_child.METRICS:
        assert finished[f"metrics.{metric}"].notna().all(), metric
    dead = jobs[jobs["status"] != "FINISHED"]
    assert dead.empty or dead["tags.workbench.error"].notna().all()
    for row in finished.itertuples():
        history = tracker.history(str(row.run_id), "loss/step")
        assert [step for step, _ in history] == list(range(1, tiny_child.STEPS + 1))
    return Counter(jobs["status"])


def verdicts(folder: Path, name: str) -> list[dict[str, Any]]:
    """The verdicts of a sweep, less what names runs."""
    (path,) = folder.glob(f"mlruns/hydra/{name}/*/report/verdicts.json")
    kept = ("claim", "verdict", "finding", "effect", "interval", "decision_interval", "pairs", "planned")
    more = ("agree", "failed", "unused", "by_condition")
    return [{key: one[key] for key in (*kept, *more)} for one in json.loads(path.read_text())]


def main() -> None:
    """`python tests/faults/killer.py FOLDER KILLS SEED`: the long form, with counts and times."""
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    started = time.monotonic()
    sweeper = Sweeper(folder, seed)
    sweeper.sweep("plain")
    expected = verdicts(folder, "plain")
    statuses: Counter[str] = Counter()
    while (done := sum(sweeper.tally.kills.values())) < kills:
        name = f"faults-{sweeper.tally.sweeps}"
        sweeper.sweep(name, kills=min(50, kills - done))
        statuses += check(folder, name)
        assert verdicts(folder, name) == expected
        seconds = time.monotonic() - started
        print(f"{seconds:6.0f} s  {name}: {dict(sweeper.tally.kills)}, runs {dict(statuses)}", flush=True)
    sweeper.close()
    print(sweeper.tally)


if __name__ == "__main__":
    main()
