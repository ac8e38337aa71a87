"""Everything that is to be asked of a GPU, in one command, the most telling first; each part has a time limit.

python -m experiments.gpu.device --out $OUT                  # on a GPU; what does not fit in --minutes is left out
python -m experiments.gpu.device --out $OUT --parts peers    # some of it: what is there is added to
python -m experiments.gpu.device --size tiny --out /tmp/gpu  # from end to end on a CPU, in some minutes

Writes as it goes: rows.jsonl (a line a result), log.txt (what the parts print), table.md (anew after each part).
What the runs of the workbench record lies in the system's folder for temporary files; their database and results
are copied to state/ after each part, and report/ has the ablation's verdicts, be it whole or not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from experiments.gpu.table import table
from workbench.console import command_line

ROWS, LOG, TABLE = "rows.jsonl", "log.txt", "table.md"
WHOLE_LOOPS = (
    "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL --xla_gpu_graph_min_graph_size=1 "
    "--xla_disable_hlo_passes=fusion-dynamic-memcpy-rewriter"
)
"""XLA's flags that put a whole loop into one graph of the GPU; one that it does not know ends the process."""
_LAST_WORDS_S = 5.0
REPORT = "report"
RUNNERS = ("dynamic", "packed", "keras", "cudnn")
_MEASURE = ("-m", "experiments.gpu.measure")
_TINY = (
    "data=synthetic scale.examples=64 data.longest=12 data.mean=5 data.batch_size=16 cell.units=8 "
    "model.embedding_size=8 training.max_steps=3 measure=off"
)


class Part(NamedTuple):
    """A command of this interpreter, the seconds that it may take, and what its environment has beside."""

    name: str
    arguments: Sequence[str]
    limit_s: float
    environment: Mapping[str, str] = {}


def parts(size: str, state_in: Path, out: Path) -> list[Part]:
    """All of them, in order; runs are recorded in a folder of their own, their report is written to `out`."""
    uri = f"sqlite:///{state_in}/mlflow.db"
    state = [f"tracking.folder={state_in}", f"tracking.uri={uri}"]
    state += [f"tracking.artifacts={state_in}/artifacts"]
    # at full size a GPU or nothing: a CPU would be timed for it
    less = _TINY.split() if size == "tiny" else ["training.device=gpu"]
    short = [] if size == "tiny" else ["training.max_steps=150", "measure.passes=1"]
    # a line a test as it ends, its failure with it: time may end them
    tests = [
        "-m",
        "pytest",
        "-v",
        "--gpu",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:benchmark",  # of the lent machine; its warning under -n would be an error
        "-p",
        "experiments.gpu.at_once",
    ]
    tests += ["-n", "8", "tests/rnn"] if size != "tiny" else ["tests/rnn"]
    flags = f"{os.environ.get('XLA_FLAGS', '')} {WHOLE_LOOPS}".strip()
    runs = [
        Part(f"run {name}", ["-m", "workbench", f"rnn={name}", *less, *short, *state], 40)
        for name in RUNNERS
        if size != "tiny" or name != "cudnn"
    ]
    sweep = ["-m", "padding=global,batch"] if size == "tiny" else ["-m", "+experiment=padding_ablation"]
    name = "runs" if size == "tiny" else "padding_ablation"
    slow = 6 if size == "tiny" else 1  # anyone's CPU, and others on it
    found = [
        Part("devices", [*_MEASURE, "devices", size], 45),
        Part("tests", tests, 105, {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}),
        *runs,
        Part("steps", [*_MEASURE, "steps", size], 90),
        Part("peers", [*_MEASURE, "peers", size], 120),
        Part("whole loops", [*_MEASURE, "whole_loops", size], 30, {"XLA_FLAGS": flags}),
        Part("ablation", ["-m", "workbench", *sweep, *less, *state, "workbench.resume=true"], 600),
        # of what there is, where time ended it
        Part(REPORT, ["-m", "workbench.report", name, "--uri", uri, "--out", str(out / "report")], 20),
    ]
    return [part._replace(limit_s=slow * part.limit_s) for part in found]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 0 where each that was begun ended well, else 1: what failed stands in the table."""
    parser = command_line("experiments.gpu.device", __doc__)
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT") or "mlruns/gpu")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all parts together (9.5)")
    parser.add_argument("--parts", metavar="NAMES", help="by commas; `run` is every run")
    given = parser.parse_args(arguments)
    state_in = Path(tempfile.gettempdir()) / f"workbench-gpu-{os.getuid()}"
    every = chosen = parts(given.size, state_in, given.out)
    if given.parts:
        wanted = given.parts.split(",")
        chosen = [part for part in chosen if _names(part) & {*wanted}]
        if unknown := [name for name in wanted if not any(name in _names(part) for part in every)]:
            print(f"no part is called {unknown[0]}; there are {', '.join(part.name for part in every)}")
            return 2
    given.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * given.minutes
    ended = []
    for number, part in enumerate(chosen, 1):
        after = sum(other.limit_s for other in chosen[number:] if other.name == REPORT)
        ended.append(_run(part, given.out, end - time.monotonic() - after))
        _bring(state_in, given.out / "state")
    print((given.out / TABLE).read_text())
    return 0 if all(status in ("ended", "left out", "found nothing to run") for status in ended) else 1


def _names(part: Part) -> set[str]:
    """What a part is called by: its name, or the first word of it."""
    return {part.name, part.name.partition(" ")[0]}


def _bring(state_in: Path, out: Path) -> None:
    """Copy the record of the runs, which would go with the machine, to where results come back from."""
    for path in [*state_in.glob("mlflow.db*"), *state_in.glob("hydra/*/*/*/result.json")]:
        target = out / path.relative_to(state_in)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _run(part: Part, out: Path, left_s: float) -> str:
    """One part in a process group of its own; how it ended, which is a row too."""
    began = time.monotonic()
    limit = min(part.limit_s, left_s)
    if limit < min(10.0, part.limit_s):
        status = "left out"
    else:
        environment = {**os.environ, **part.environment, "WORKBENCH_GPU_ROWS": str((out / ROWS).resolve())}
        with open(out / LOG, "a") as log:
            print(f"\n===== {part.name}: {' '.join(part.arguments)}", file=log, flush=True)
            process = subprocess.Popen(
                [sys.executable, *part.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
                status = {0: "ended", 5: "found nothing to run"}.get(code, f"failed ({code})")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGINT)  # which says what was there
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LAST_WORDS_S)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = "out of time"
    row(out / ROWS, part=part.name, status=status, seconds=round(time.monotonic() - began, 1))
    (out / TABLE).write_text(table(out / ROWS))
    print(f"{part.name}: {status}, {time.monotonic() - began:.0f} s", flush=True)
    return status


def row(path: Path, **values: Any) -> None:
    """Add a result, at once."""
    with open(path, "a") as rows:
        rows.write(json.dumps(values) + "\n")


if __name__ == "__main__":
    sys.exit(main())
