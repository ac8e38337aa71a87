"""This project's runners beside Keras, TensorFlow 1's runners and PyTorch, in one training step.

python -m experiments.peers                          # every setting; experiments/peers/README.md says how long
python -m experiments.peers --size quick             # the goals, in five minutes
python -m experiments.peers --size quick --only gru --arms packed,keras_layer       # some of it, written nowhere
python -m experiments.peers --commit-results         # what was last measured into experiments/peers/results/
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.peers import report
from experiments.peers.measure import measure, select
from experiments.peers.settings import ARMS, SIZES
from workbench.console import command_line
from workbench.places import results_folder
from workbench.provenance import machine

OUT = Path("mlruns/peers.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 where there is nothing to measure or to commit. A missed goal is a finding."""
    parser = command_line("experiments.peers", __doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--only", metavar="TEXT", help="settings whose name has one of these, by commas")
    parser.add_argument("--arms", metavar="NAMES", help=f"arms by commas, of {', '.join(ARMS)}")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a setting's rounds, at least (4)")
    parser.add_argument("--threads", type=int, help="for every library; all cores where it is not given")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--out", type=Path, help=f"where to write; {OUT} where all of a size is measured")
    parser.add_argument("--list", action="store_true", help="the settings, and stop")
    parser.add_argument(
        "--commit-results", action="store_true", help="copy what was last measured; nothing is run"
    )
    given = parser.parse_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(
            highlight=False, width=150
        )  # tables in a file or a pipe are not folded to 80 columns
    try:
        if given.commit_results:
            folder = results_folder("peers")
            report.commit(given.out or OUT, folder)
            console.print(f"written to {folder}")
            return 0
        jobs = select(SIZES[given.size](), given.only, given.arms)
        out = given.out or (None if given.only or given.arms else OUT)
        if out is not None and not given.list:
            report.require_writable(out)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.list:
        for job in jobs:
            console.print(f"{job.setting.name}: {', '.join(job.arms)}", soft_wrap=True)
        return 0
    begin = time.perf_counter()
    threads = given.threads or int(machine()["machine.cores"])
    rows, facts = measure(jobs, threads, given.seconds, given.device, console)
    facts |= {"minutes": f"{(time.perf_counter() - begin) / 60:.1f}", "size": given.size}
    report.show(rows, facts, console)
    if out is not None:
        report.write(rows, facts, out)
        console.print(f"written to {out}, and the page and figures to {report.folder_of(out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
