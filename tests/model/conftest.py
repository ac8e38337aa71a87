from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def batch_of() -> Callable[..., dict[str, np.ndarray]]:
    """A batch of ids (or features) with the given lengths, padded with 0."""

    def make(
        lengths: list[int],
        *,
        task: str = "tag",
        features: int | None = None,
        longest: int | None = None,
    ) -> dict[str, Any]:
        random = np.random.default_rng(0)
        steps = longest or max(lengths)
        valid = np.arange(steps) < np.array(lengths)[:, np.newaxis]
        # drawn for each example apart, so that more padding leaves the examples as they are
        ids = np.zeros((len(lengths), steps), np.int32)
        for row, length in enumerate(lengths):
            ids[row, :length] = random.integers(1, 20, length)
        inputs: np.ndarray = ids
        if features is not None:
            inputs = np.stack([np.sin(ids * (k + 1)) for k in range(features)], axis=-1).astype(np.float32)
            inputs *= valid[..., np.newaxis]
        labels = ids[:, 0] % 3 if task == "classify" else ids % 3
        return {"inputs": inputs, "labels": labels.astype(np.int32), "length": np.array(lengths, np.int32)}

    return make
