from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Batch = dict[str, np.ndarray]


@pytest.fixture
def toy() -> Callable[..., list[Batch]]:
    """Batches of ids whose label is 1 where the id is even; lengths 0 to 8; the same for the same epoch."""

    def make(
        epoch: int = 0, *, batches: int = 4, size: int = 6, task: str = "tag", longest: int = 8
    ) -> list[Any]:
        made = []
        for number in range(batches):
            random = np.random.default_rng([epoch, number])
            lengths = random.integers(0, longest + 1, size).astype(np.int32)
            lengths[0] = longest - number % 2
            valid = np.arange(lengths.max()) < lengths[:, np.newaxis]
            ids = np.where(valid, random.integers(1, 10, valid.shape), 0).astype(np.int32)
            labels = np.where(valid, 1 - ids % 2, 0).astype(np.int32)
            if task == "classify":
                labels = (1 - ids[:, 0] % 2).astype(np.int32)
            index = np.arange(number * size, (number + 1) * size, dtype=np.int64)
            made.append({"inputs": ids, "labels": labels, "length": lengths, "index": index})
        return made

    return make
