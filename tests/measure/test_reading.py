"""Reading alone, by a clock that the source moves."""

import numpy as np
import pytest

from workbench.measure.reading import examples_per_second
from workbench.options.measure import Measure


def test_the_rate_is_the_median_pass_after_one_round_untimed():
    now, rounds = [0.0], []
    seconds = [9.0, 0.5, 0.25, 1.0]  # of the round before, which is not counted, and of three passes

    def chunks():
        rounds.append(1)
        now[0] += seconds[len(rounds) - 1]
        yield {"length": np.zeros(3)}
        yield {"length": np.zeros(2)}

    assert examples_per_second(chunks, Measure(passes=3), clock=lambda: now[0]) == 5 / 0.5


def test_a_pass_goes_on_until_it_is_long_enough_to_time():
    now = [0.0]

    def chunks():
        now[0] += 0.05
        yield {"length": np.zeros(2)}

    assert examples_per_second(chunks, Measure(passes=1), clock=lambda: now[0]) == pytest.approx(2 / 0.05)


def test_nothing_to_read_is_refused():
    with pytest.raises(ValueError, match="nothing to read"):
        examples_per_second(lambda: iter(()), Measure())
