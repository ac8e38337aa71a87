"""The check finds each wrong model of the zoo by its kind."""

from __future__ import annotations

import pytest

from tests.probes.zoo import animal_of, found_in, params
from tests.probes.zoo_wrong_unseen import WRONG

QUICK_WRONG = {
    "mask_lost_by_arithmetic", "mean_over_padding", "weak_mask", "half_precision_overflow",
    "loss_divided_by_the_longest", "loss_masks_class_zero", "metric_averages_batch_means", "logarithm_under_where",
    "mean_of_an_empty_example", "normalized_over_the_batch", "state_in_a_variable", "mask_by_a_sum_above_zero",
    "next_word_under_the_mask_of_the_inputs", "mean_over_padding_where_scores_of_padding_are_large",
}  # fmt: skip


@pytest.mark.parametrize("name", params(WRONG, QUICK_WRONG))
def test_a_wrong_model_isfound_in_by_its_kind(name: str) -> None:
    kinds = WRONG[name][1]
    found = found_in(animal_of(WRONG, name))
    assert kinds <= found.kinds, list(map(str, found))
