"""Seeds by purpose: one number of the user's, as many independent ones as there are purposes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager


def seed_for(seed: int, purpose: str) -> int:
    """A seed in [1, 2**31) from the run's seed and what it is for, the same on every machine.

    Never put the arm of a comparison into `purpose`: the arms of a pair share weights, order and dropout.

    >>> seed_for(0, "initialisation") == seed_for(0, "initialisation")
    True
    >>> seed_for(0, "initialisation") == seed_for(0, "order")
    False
    """
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - 1) + 1


@contextmanager
def initialisation(seed: int, purpose: str) -> Iterator[None]:
    """Let Keras initialisers that are made inside draw their seeds from (seed, purpose).

    A Keras initialiser without a seed takes one from Python's `random` when it is made, so that any cell,
    ours or not, is initialised by purpose without the cell taking a seed. Python's own state is put back.
    """
    state = random.getstate()
    random.seed(seed_for(seed, f"initialisation/{purpose}"))
    try:
        yield
    finally:
        random.setstate(state)
