"""What `python -m workbench.advise --measure` foretells, beside what runs then measure; see README.md.

python experiments/advise/measure.py                     # 15 minutes on 2 cores; nothing else should run
python experiments/advise/measure.py --treebank FOLDER   # the English Web Treebank too
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from workbench import advice
from workbench.data.manifest import load_manifest
from workbench.foretell import TimedModel, foretold
from workbench.provenance import machine, versions
from workbench.repositories import git
from workbench.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
BATCH = 32
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
    """One run: speeds in valid tokens a second, shares of padding."""

    data: str
    model: str
    threads: int
    padding: str
    foretold: float
    measured: float
    foretold_share: float
    measured_share: float
    calibration: float
    """The second calibration of the run's window over the first: 1 on a machine that keeps its pace."""


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
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.sets or sets:
            for model, overrides in MODELS.items():
                for threads in sorted({1, os.cpu_count() or 1}):
                    for row in compared(name, sets[name], model, overrides, threads, Path(scratch)):
                        print(*row, sep="\t", flush=True)
                        rows.append(row)
                    write(rows, given.out)
    print(table(rows))
    return 0


def write(rows: list[Row], folder: Path) -> None:
    """What there is so far, with where it was made."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine(), "versions": versions(), "git": git(), "command": " ".join(sys.argv)}
    content = {**facts, "rows": [row._asdict() for row in rows]}
    (folder / "rows.json").write_text(json.dumps(content, indent=1))
    (folder / "foretold.md").write_text(table(rows))


def compared(
    name: str, data: list[str], model: str, overrides: list[str], threads: int, scratch: Path
) -> list[Row]:
    """Foretold for all paddings first, then a run of each."""
    overrides = [*overrides, f"training.threads={threads}"]
    state = [f"tracking.uri=sqlite:///{scratch}/mlflow.db", f"tracking.artifacts={scratch}/artifacts"]
    state += [f"tracking.folder={scratch}", f"data.cache_dir={scratch}/data", f"data.batch_size={BATCH}"]
    run([*data, *overrides, *state, "training.max_steps=1", "measure=off"], scratch)  # prepares the data
    manifest = load_manifest(newest(scratch / "data"))
    histogram = manifest.splits["train"].histogram
    paddings = advice.advise(histogram, [BATCH])
    about = TimedModel(manifest.task, len(manifest.labels), len(manifest.vocabulary), None)
    speeds = foretold(histogram, paddings, overrides, about)
    rows = []
    for padding, speed in zip(paddings, speeds, strict=True):
        found = run([*data, *overrides, *state, *ONLY_TIMED, f"padding={padding.padding}"], scratch)
        rows.append(Row(
            name, model, threads, padding.padding, speed, found["speed/valid_tokens_per_s"], padding.share,
            1 - found["speed/valid_tokens_per_s"] / found["speed/padded_tokens_per_s"],
            found["speed/calibration_after_gflops"] / found["speed/calibration_before_gflops"],
        ))  # fmt: skip
    return rows


def newest(folder: Path) -> Path:
    """The data set that was prepared last."""
    return max(folder.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime).parent


def run(overrides: list[str], scratch: Path) -> dict[str, Any]:
    """What a run of the workbench records."""
    command = [sys.executable, "-m", "workbench", "name=foretold", *overrides]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    tracker = Tracker(f"sqlite:///{scratch}/mlflow.db", str(scratch / "artifacts"), create=False)
    return dict(tracker.runs("foretold")[-1].metrics)


def table(rows: list[Row]) -> str:
    """Markdown, with the error of each and their median."""
    lines = [
        "| data | model | threads | padding | foretold, tokens/s | measured | error | padding foretold | was |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row.data} | {row.model} | {row.threads} | {row.padding} | {row.foretold:,.0f} "
            f"| {row.measured:,.0f} | {row.foretold / row.measured - 1:+.1%} | {row.foretold_share:.1%} "
            f"| {row.measured_share:.1%} |"
        )
    errors = sorted(abs(row.foretold / row.measured - 1) for row in rows)
    within = sum(error <= 0.15 for error in errors)
    words = f"median {statistics.median(errors):.1%}, largest {errors[-1]:.1%}"
    lines += ["", f"Error of speed: {words}; within 15% in {within} of {len(rows)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
