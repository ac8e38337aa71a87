"""What reaches padding, and what a graph takes: against counts made by hand."""

import numpy as np
import pytest
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.options.cell import GRU
from workbench.options.loss import Loss
from workbench.options.model import Model
from workbench.options.rnn import SCHEMAS
from workbench.probes.longer import takes_longer_sequence
from workbench.probes.padding_gradient import gradient_share_past_end


def batch(lengths, steps, task="tag"):
    random = np.random.default_rng(0)
    inputs = random.integers(2, 9, (len(lengths), steps)).astype(np.int32)
    labels = random.integers(1, 4, (len(lengths), steps)).astype(np.int32)
    valid = np.arange(steps) < np.array(lengths)[:, None]
    return {
        "inputs": tf.constant(inputs * valid),
        "labels": tf.constant((labels * valid) if task == "tag" else labels[:, 0]),
        "length": tf.constant(lengths, tf.int32),
    }


def model(rnn="dynamic", task="tag"):
    around = Model(embedding_size=2)
    return SequenceModel(GRU(units=3), SCHEMAS[rnn](), around, task=task, classes=4, vocabulary_size=9)


def test_without_a_mask_the_gradient_falls_on_padding_by_its_share_of_equal_positions():
    flat = model()
    flat.head.kernel.assign(
        tf.zeros_like(flat.head.kernel)
    )  # all logits alike: every position's slope is 1.5
    share = gradient_share_past_end(flat, [batch([4, 1], 4)], Loss("none"))
    assert share == pytest.approx(3 / 8)


@pytest.mark.parametrize("mask", ["length", "sign"])
@pytest.mark.parametrize("loss", ["token", "example"])
def test_a_mask_keeps_every_slope_out_of_the_padding(mask, loss):
    assert gradient_share_past_end(model(), [batch([4, 0, 1], 4)], Loss(mask, loss)) == 0


def test_a_model_that_classifies_is_refused():
    with pytest.raises(ValueError, match="classify"):
        gradient_share_past_end(model(task="classify"), [batch([2], 2, "classify")], Loss("length"))


@pytest.mark.covering(1)
@pytest.mark.parametrize("task", ["tag", "classify"])
@pytest.mark.parametrize(
    ("rnn", "takes"),
    [("dynamic", True), pytest.param("packed", True, marks=pytest.mark.slow), ("static", False)],
)
def test_only_the_unrolled_graph_refuses_a_longer_sequence(rnn, takes, task):
    assert takes_longer_sequence(model(rnn=rnn, task=task), batch([3, 1], 3, task)) is takes
