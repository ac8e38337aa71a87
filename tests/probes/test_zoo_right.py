"""The check accuses no right model of the zoo."""

from __future__ import annotations

import pytest

from tests.probes.zoo import animal_of, found_in, params
from tests.probes.zoo_right_beside import RIGHT

QUICK_RIGHT = {
    "masked_average_pooling", "mean_by_length_on_junk", "attention_with_mask", "nan_past_the_end",
    "cancelling_sums",
    "half_precision_with_a_mask_that_fits", "callable_reads_the_mask_from_ids", "causal_convolution_tagger",
    "sum_of_rectified_features", "ids_that_begin_with_zero_and_end_in_ones",
    "text_beside_as_many_things_bought",
}  # fmt: skip


@pytest.mark.parametrize("name", params(RIGHT, QUICK_RIGHT))
def test_a_right_model_is_not_accused(name: str) -> None:
    assert list(map(str, found_in(animal_of(RIGHT, name)))) == []
