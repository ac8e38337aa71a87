"""What `python -m workbench.advise --measure` foretells, beside what runs then measure; see README.md.

python experiments/advise/measure.py                     # half an hour on 2 cores; nothing else should run
python experiments/advise/measure.py --treebank FOLDER   # the English Web Treebank too
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from workbench import advice
from workbench.data.manifest import load_manifest
from workbench.foretell import PROCESSES, TimedModel, foretold
from workbench.provenance import machine, versions
from workbench.record.gate import CALIBRATION_SPREAD
from workbench.repositories import git
from workbench.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
BATCH = 32
RUNS = PROCESSES
"""Of each padding: one after each process that times for the foretelling, so that both meet the same machine."""
CALIBRATE = """
from workbench.measure.calibration import calibrate
import sys, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_inter_op_parallelism_threads(1)
print(calibrate())
"""
SETS = {
    "python_source": ["data=python_source", "data.max_examples=2000"],
    "long-tailed": ["data=synthetic", "data.lengths=geometric", "data.mean=20", "data.longest=400"],
}
MODELS = {
    "dynamic LSTM": ["rnn=dynamic", "cell=lstm"],
    "packed GRU": ["rnn=packed", "cell=gru", "cell.units=128"],
}
ONLY_TIMED = [
    "training.max_steps=1",
    "measure.correctness_batches=0",
    "measure.reading=false",
    "measure.window_examples=null",
]


class Row(NamedTuple):
    """One padding of one model: speeds in valid tokens a second, shares of padding."""

    data: str
    model: str
    threads: int
    padding: str
    foretold: float
    measured: list[float]
    """Of each run."""
    foretold_share: float
    measured_share: float
    foretelling_gflops: list[float]
    """Of a fixed product, before each process that times."""
    runs_gflops: list[float]
    """The same before and after each run's window."""

    @property
    def error(self) -> float:
        """Of the foretold speed, as a share of the runs' median."""
        return self.foretold / statistics.median(self.measured) - 1

    @property
    def of_each(self) -> list[float]:
        """The same against each run alone."""
        return [self.foretold / speed - 1 for speed in self.measured]

    @property
    def of_runs(self) -> list[float]:
        """The same where each run foretells each other run: what no foretelling can do better than."""
        return [a / b - 1 for a, b in itertools.permutations(self.measured, 2)]

    @property
    def drift(self) -> float:
        """By how much the machine's pace while foretelling was that of the runs, as means of calibrations."""
        return statistics.mean(self.foretelling_gflops) / statistics.mean(self.runs_gflops) - 1

    @property
    def is_steady(self) -> bool:
        """Whether no calibration is further from another than the gate of a timed window allows."""
        paces = self.foretelling_gflops + self.runs_gflops
        return max(paces) / min(paces) <= 1 + CALIBRATION_SPREAD


def main() -> int:
    """All sets, models and thread counts; a line as each is there, and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--treebank", help="folder of the English Web Treebank's .conllu files")
    parser.add_argument("--sets", nargs="+", help="only these")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    sets = dict(SETS)
    if given.treebank:
        path = f"data.path={Path(given.treebank).absolute()}"
        sets["UD EWT"] = ["data=ud_english_ewt", path, "data.max_examples=2000"]
    if unknown := [name for name in given.sets or [] if name not in sets]:
        needs = " (UD EWT needs --treebank FOLDER)" if "UD EWT" not in sets else ""
        parser.error(f"--sets {unknown[0]!r}: there are {', '.join(sets)}{needs}")
    rows, made_by = [], facts(given)
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.sets or sets:
            for model, overrides in MODELS.items():
                for threads in sorted({1, os.cpu_count() or 1}):
                    for row in compared(name, sets[name], model, overrides, threads, Path(scratch)):
                        print(*row, f"{row.error:+.1%}", sep="\t", flush=True)
                        rows.append(row)
                    write(rows, made_by, given.out)
    print(table(rows))
    return 0


def facts(given: argparse.Namespace) -> dict[str, Any]:
    """Where and from what rows are made; the command without this machine's folders."""
    command = ["python experiments/advise/measure.py", *(["--treebank FOLDER"] if given.treebank else [])]
    command += ["--sets", *given.sets] if given.sets else []
    return {"machine": machine(), "versions": versions(), "git": git(), "command": " ".join(command)}


def write(rows: list[Row], made_by: dict[str, Any], folder: Path) -> None:
    """What there is so far."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**made_by, "rows": [row._asdict() for row in rows]}
    (folder / "rows.json").write_text(json.dumps(content, indent=1))
    (folder / "foretold.md").write_text(table(rows))


def compared(
    name: str, data: list[str], model: str, overrides: list[str], threads: int, scratch: Path
) -> list[Row]:
    """Foretold for all paddings; after each process that times, a sweep of a run of each padding."""
    overrides = [*overrides, f"training.threads={threads}"]
    state = [f"tracking.uri=sqlite:///{scratch}/mlflow.db", f"tracking.artifacts={scratch}/artifacts"]
    state += [f"tracking.folder={scratch}", f"data.cache_dir={scratch}/data", f"data.batch_size={BATCH}"]
    typed("name=prepared", *data, *overrides, *state, "training.max_steps=1", "measure=off")
    manifest = load_manifest(newest(scratch / "data"))
    histogram = manifest.splits["train"].histogram
    paddings = advice.advise(histogram, [BATCH])
    about = TimedModel(manifest.task, len(manifest.labels), len(manifest.vocabulary), None)
    kinds = ",".join(padding.padding for padding in paddings)
    words = [*data, *overrides, *state, *ONLY_TIMED, f"padding={kinds}"]
    tracker = Tracker(f"sqlite:///{scratch}/mlflow.db", str(scratch / "artifacts"), create=False)
    named = f"foretold_{name}_{model}_{threads}".replace(" ", "_")
    paces, seeds = [calibrated(threads)], itertools.count(1)

    def run_each() -> None:
        typed("-m", f"name={named}", *words, f"seed={next(seeds)}")
        paces.append(calibrated(threads))

    speeds = foretold(histogram, paddings, overrides, about, after_each=run_each)
    of_runs = [one for one in tracker.runs(named) if one.is_job]
    rows = []
    for padding, speed in zip(paddings, speeds, strict=True):
        runs = [one.metrics for one in of_runs if one.params["padding.name"] == padding.padding]
        assert len(runs) == RUNS, "every run was measured"
        measured, padded = (
            [one[f"speed/{kind}_tokens_per_s"] for one in runs] for kind in ("valid", "padded")
        )
        of_windows = [one[f"speed/calibration_{when}_gflops"] for one in runs for when in ("before", "after")]
        rows.append(Row(
            name, model, threads, padding.padding, speed, measured, padding.share,
            1 - measured[0] / padded[0], paces[:-1], of_windows,
        ))  # fmt: skip
    return rows


def calibrated(threads: int) -> float:
    """GFLOP/s of a fixed product just now, in a process that has this many threads."""
    command = [sys.executable, "-c", CALIBRATE, str(threads)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def newest(folder: Path) -> Path:
    """The data set that was prepared last."""
    return max(folder.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime).parent


def typed(*words: str) -> None:
    """A command of the workbench, which must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *words], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")


def table(rows: list[Row]) -> str:
    """Markdown, with the error of each, and of how many it is small where the machine kept its pace."""
    lines = [
        "| data | model | threads | padding | foretold, tokens/s | measured, of runs | error | machine's drift "
        "| padding foretold | was |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        drift = f"{row.drift:+.1%}{'' if row.is_steady else ' (not steady)'}"
        low, middle, high = min(row.measured), statistics.median(row.measured), max(row.measured)
        lines.append(
            f"| {row.data} | {row.model} | {row.threads} | {row.padding} | {row.foretold:,.0f} "
            f"| {middle:,.0f} ({low:,.0f} to {high:,.0f}) | {row.error:+.1%} | {drift} "
            f"| {row.foretold_share:.1%} | {row.measured_share:.1%} |"
        )
    lines += [
        "",
        f"Error of speed, against the median of {RUNS} runs: {summary(rows)}.",
        "",
        f"Against each run alone: {spread(error for row in rows for error in row.of_each)}. "
        f"Each run against each other of the same: {spread(error for row in rows for error in row.of_runs)}.",
    ]
    if steady := [row for row in rows if row.is_steady]:
        lines += [
            "",
            f"Of those whose calibrations lie within {CALIBRATION_SPREAD:.0%}: {summary(steady)}.",
        ]
    else:
        lines += [
            "",
            f"In none did the calibrations lie within {CALIBRATION_SPREAD:.0%}: the machine kept no pace.",
        ]
    return "\n".join(lines) + "\n"


def summary(rows: list[Row]) -> str:
    """The errors' spread, and how far they go with the machine's drift."""
    words = spread(row.error for row in rows)
    if len(rows) > 2 and len({row.drift for row in rows}) > 1:
        with_drift = statistics.correlation([row.error for row in rows], [row.drift for row in rows])
        words += f"; correlation of error and drift {with_drift:.2f}"
    return words


def spread(errors: Iterable[float]) -> str:
    """Median and largest, and how many are within 15%."""
    sizes = sorted(map(abs, errors))
    within = sum(size <= 0.15 for size in sizes)
    return f"median {statistics.median(sizes):.1%}, largest {sizes[-1]:.1%}; within 15% in {within} of {len(sizes)}"


if __name__ == "__main__":
    sys.exit(main())
