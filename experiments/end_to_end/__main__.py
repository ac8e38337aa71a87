"""Models trained by Keras' layers, by `accelerate` and by PyTorch packed: seconds to an accuracy, and memory.

python -m experiments.end_to_end --treebank FOLDER                      # everything; README.md says how long
python -m experiments.end_to_end --treebank FOLDER --sentences 600 --epochs 2 --out /tmp/tried    # a try

FOLDER holds the .conllu files of UniversalDependencies/UD_English-EWT.
"""

from __future__ import annotations

import importlib.metadata
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.about import about
from experiments.end_to_end import table
from experiments.end_to_end.work import PADDINGS, TASKS
from experiments.end_to_end.worker import ARMS, Epoch, Setting, work
from experiments.peers.worker import has_torch
from workbench.console import command_line

RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all and write the table; each setting's epochs are written as they are there."""
    parser = command_line("experiments.end_to_end", __doc__)
    parser.add_argument("--treebank", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--paddings", nargs="+", choices=PADDINGS, default=list(PADDINGS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sentences", type=int, help="of training, evenly taken (all)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    if not (given.treebank / "en_ewt-ud-train.conllu").is_file():
        print(f"--treebank {given.treebank}: it has no en_ewt-ud-train.conllu", file=sys.stderr)
        return 2
    if "torch" in given.arms and not has_torch():
        arms = " ".join(f"'{arm}'" if " " in arm else arm for arm in ARMS if arm != "torch")
        print(f"--arms: PyTorch is not installed: pip install torch, or --arms {arms}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"typed": _without_places(sys.argv[1:])}
    found |= {"about": _about(), "units": given.units, "runs": []}
    begin = time.perf_counter()
    for seed in range(1, given.seeds + 1):
        for task in given.tasks:
            for padding in given.paddings:
                settings = {
                    arm: Setting(task, padding, arm, given.units, seed, str(given.treebank.resolve()),
                                 given.sentences, os.cpu_count() or 1)
                    for arm in given.arms
                }  # fmt: skip
                for arm, epochs in side_by_side(settings, given.epochs).items():
                    found["runs"].append(
                        {"task": task, "padding": padding, "arm": arm, "seed": seed}
                        | {"epochs": [one._asdict() for one in epochs]}
                    )
                found["minutes"] = round((time.perf_counter() - begin) / 60, 1)
                (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
                (given.out / "report.md").write_text(table.markdown(found))
                print(table.line(found, task, padding), flush=True)
    print((given.out / "report.md").read_text())
    return 0


def _without_places(typed: Sequence[str]) -> list[str]:
    """What was typed, without folders of this machine.

    >>> _without_places(["--treebank", "/home/me/ud", "--out", "/tmp/tried", "--seeds", "1"])
    ['--treebank', 'FOLDER', '--seeds', '1']
    """
    kept: list[str] = []
    for before, word in zip(["", *typed], typed, strict=False):
        if word != "--out" and before != "--out":
            kept.append("FOLDER" if before == "--treebank" else word)
    return kept


def side_by_side(settings: Mapping[str, Setting], epochs: int, seed: int = 0) -> dict[str, list[Epoch]]:
    """Each arm in a process; one epoch of one arm at a time, in an order drawn anew for each."""
    context, draw = multiprocessing.get_context("spawn"), random.Random(seed)
    found: dict[str, list[Epoch]] = {arm: [] for arm in settings}
    ends, processes = {}, []
    try:
        for arm, setting in settings.items():
            ends[arm], other = context.Pipe()
            processes.append(context.Process(target=work, args=(setting, other), daemon=True))
            processes[-1].start()
            other.close()
            ends[arm].recv()
        for number in range(epochs):
            for arm in draw.sample(sorted(ends), len(ends)):
                ends[arm].send(number)
                found[arm].append(ends[arm].recv())
    finally:
        for end in ends.values():
            end.close()
        for process in processes:
            process.kill()
            process.join()
    return found


def _about() -> dict[str, str]:
    torch = importlib.metadata.version("torch") if has_torch() else "none"
    return {**about(["tensorflow", "keras"]), "version.torch": torch}


if __name__ == "__main__":
    raise SystemExit(main())
