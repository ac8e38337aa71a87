"""Lengths of sequences to draw batches from: those of real text, and geometric ones with a long tail."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache

import numpy as np

from workbench.data.sources import python_source
from workbench.places import experiments_folder

GEOMETRIC = {"geometric_100": 100, "geometric_400": 400, "geometric_1000": 1000}
"""Mean 20, cut at so much, and one example of each batch has the full length."""
CUT = "geometric_cut_100"
"""Mean 20, cut at 100, and the longest as it comes: some 70 in a batch of 32."""
EQUAL = 50  # tokens of every example of `equal`
LONGEST_LINE = (
    200  # characters; longer lines of Python source are left out, as conf/data/python_source.yaml has it
)
NAMES = ("ud_ewt", "python_source", *GEOMETRIC, CUT, "equal")


def draw(name: str, batch: int, seed: int) -> np.ndarray:
    """The lengths of one batch, int32 [batch].

    >>> draw("equal", 2, seed=0).tolist()
    [50, 50]
    """
    generator = np.random.default_rng([seed, batch])
    if name == "equal":
        lengths = np.full(batch, EQUAL)
    elif name in GEOMETRIC:
        longest = GEOMETRIC[name]
        lengths = np.minimum(generator.geometric(1 / 20, batch), longest)
        lengths[generator.integers(batch)] = longest
    elif name == CUT:
        lengths = np.minimum(generator.geometric(1 / 20, batch), 100)
    elif name in _OBSERVED:
        lengths = generator.choice(_OBSERVED[name](), batch)
    else:
        raise ValueError(f"lengths={name}: must be one of {', '.join(NAMES)}")
    return lengths.astype("int32")


@cache
def ud_ewt() -> np.ndarray:
    """Words of each training sentence of UD English EWT, from the histogram in experiments/peers/."""
    path = experiments_folder() / "peers" / "ud_ewt_lengths.json"
    histogram = json.loads(path.read_text(encoding="utf-8"))["histogram"]
    return np.repeat([int(length) for length in histogram], list(histogram.values()))


@cache
def python_lines(files: int = 60) -> np.ndarray:
    """Characters of each logical line in some files of the installed standard library, drawn by a seed."""
    found = python_source.find_files("stdlib", False)
    lengths: list[int] = []
    for file in random.Random(0).sample(found, min(files, len(found))):
        text = file.path.read_text(encoding="utf-8", errors="replace")
        try:
            lengths += [len(line) for line, _ in python_source.logical_lines(text)]
        except (SyntaxError, ValueError):  # a file that does not tokenise has no lines to count
            continue
    return np.array([n for n in lengths if 0 < n <= LONGEST_LINE])


_OBSERVED: dict[str, Callable[[], np.ndarray]] = {"ud_ewt": ud_ewt, "python_source": python_lines}
