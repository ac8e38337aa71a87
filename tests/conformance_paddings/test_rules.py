"""A padding of one's own that breaks a rule is refused at its first plan, by the rule."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data import padding
from workbench.data.padding import PlannedBatch, plan
from workbench.options.padding import Padding

LENGTHS, ORDER = np.array([3, 1, 2, 5]), np.arange(4)


def _batches(*parts: tuple[list[int], int]):
    return lambda lengths, order, options, size: [
        PlannedBatch(np.array(indices, np.int64), steps) for indices, steps in parts
    ]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (_batches(([0, 1, 2], 3)), "gives 3 places for 4, some twice or never"),
        (_batches(([0, 1, 2, 2], 3)), "gives 4 places for 4, some twice or never"),
        (_batches(([0, 1, 2, 3], 5), ([], 1)), "a batch without examples"),
        (_batches(([0, 1], 3), ([2, 3], 4)), "whose longest example has 5 tokens to 4 steps"),
        (_batches(([0, 1], 3), ([2, 3], 8)), r"to 8 steps, more than the longest that is needed \(5\)"),
        (_batches(([0, 1, 2, 3], 5)), "20 positions, over the token_budget of 9"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_refused(made, words, monkeypatch) -> None:
    monkeypatch.setitem(padding.PADDINGS, "batch", made)
    budget = 9 if "budget" in words else None
    with pytest.raises(ValueError, match=f"padding=batch: .*{words}"):
        plan(Padding("batch", token_budget=budget), LENGTHS, ORDER, batch_size=4)
