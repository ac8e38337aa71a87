"""Jobs that run side by side on one host get a GPU each, or take turns at those that there are.

A GPU is held by the process that conducts the job, through a lock on a file, so it is given back however that
process ends. The child sees no other (CUDA_VISIBLE_DEVICES). This process has no TensorFlow: which GPUs there are
is what CUDA_VISIBLE_DEVICES says, or `nvidia-smi`. Only one user's jobs know of each other.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from workbench import file_lock
from workbench.places import of_this_host
from workbench.wording import counted

VISIBLE = "CUDA_VISIBLE_DEVICES"
_LOOK_AGAIN_S = 0.2


@contextmanager
def held(
    tree: Mapping[str, Any], given: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[dict[str, str]]:
    """The GPUs that a job of this configuration is alone on while the context lasts: variables for its child.

    Empty where it takes none, or where there are not as many as it needs (which its child then says). `given` are
    the job's own variables. Where all are taken it waits for one, and says so.
    """
    wanted = _wanted(tree["training"])
    there = gpus(given) if wanted else ()
    if not wanted or len(there) < wanted:
        yield {}
        return
    with ExitStack() as stack:
        mine = _take(stack, there, wanted)
        if not mine:
            say(f"waiting for {counted(wanted, 'GPU')}: other jobs hold those of this machine ({len(there)})")
        while not mine:
            time.sleep(_LOOK_AGAIN_S)
            mine = _take(stack, there, wanted)
        yield {VISIBLE: ",".join(mine)}


_NAMED = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")
"""A GPU as CUDA_VISIBLE_DEVICES names it: anything else (-1, none, NoDevFiles) ends the list."""


def gpus(given: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them; none where it hides them.

    >>> gpus({"CUDA_VISIBLE_DEVICES": "2,0,2"}), gpus({"CUDA_VISIBLE_DEVICES": "-1"})
    (('2', '0'), ())
    """
    named = {**os.environ, **(given or {})}.get(VISIBLE)
    if named is None:
        return tuple(uuid for _, uuid in _listed())
    each = [one.strip() for one in named.split(",")]
    once: dict[Path, str] = {}
    for one in itertools.takewhile(_NAMED.fullmatch, each):  # CUDA reads no further
        once.setdefault(_lock_of(one), one)
    return tuple(once.values())


def turns_of(trees: list[Mapping[str, Any]], side_by_side: int) -> str:
    """What to say before jobs start side by side that cannot have a GPU of their own each; empty where they can."""
    there, wanted = len(gpus()), max((_wanted(tree["training"]) for tree in trees), default=0)
    if not there or side_by_side * wanted <= there:
        return ""
    jobs, needed = counted(side_by_side, "job"), counted(side_by_side * wanted, "GPU")
    return f"{jobs} side by side would need {needed}, and this machine has {there}: they take turns"


def _wanted(training: Mapping[str, Any]) -> int:
    """How many GPUs a job uses where there are some; the processes of multi_worker see to themselves."""
    if training["device"] == "cpu" or training["strategy"] == "multi_worker":
        return 0
    return int(training["workers"]) if training["strategy"] == "mirrored" else 1


@functools.cache
def _listed() -> tuple[tuple[str, str], ...]:
    """Number and UUID of each as nvidia-smi lists them; none where there is no such program, or it fails."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    pairs = (tuple(part.strip() for part in line.split(",")) for line in listed.splitlines())
    return tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2)


def _take(stack: ExitStack, there: tuple[str, ...], wanted: int) -> list[str]:
    """As many GPUs as wanted, locked; none where fewer are free, as two that hold a part each wait for ever."""
    with ExitStack() as trying:
        mine: list[str] = []
        for gpu in there:
            try:
                trying.enter_context(file_lock.held(_lock_of(gpu), wait=False))
            except BlockingIOError:
                continue
            mine.append(gpu)
            if len(mine) == wanted:
                stack.push(trying.pop_all())
                return mine
    return []


def _lock_of(gpu: str) -> Path:
    """Of one GPU there is one, whether it is called by its number or its UUID.

    A number is one of those that this process may see: under Slurm each task's first GPU is 0. (By the order of
    the bus, which with cards of several kinds is CUDA's own under CUDA_DEVICE_ORDER=PCI_BUS_ID alone.)
    """
    known = dict(_listed())
    whole = [uuid for uuid in known.values() if uuid.startswith(gpu)]  # CUDA takes the beginning of one
    name = known.get(gpu, whole[0] if len(whole) == 1 else gpu)
    name = "".join(letter if letter.isalnum() else "-" for letter in name)
    return of_this_host() / f"workbench-{os.getuid()}-gpu-{name}.lock"
