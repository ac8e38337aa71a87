"""Any lengths, any padding: every runner against the LSTM's equations in plain float64 NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.cells import CELLS
from workbench.rnn import bidirectional_rnn
from workbench.rnn.table import EVERYWHERE

CELL = CELLS["lstm"](3, dtype="float64")
BACKWARD = CELLS["lstm"](3, dtype="float64")
for cell in (CELL, BACKWARD):
    cell.build((None, 2))


def by_hand(cell, example):
    """One example, step by step: outputs and (h, c)."""
    kernel, recurrent, bias = (np.asarray(w.value) for w in cell.weights)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    h, c, outputs = np.zeros(3), np.zeros(3), np.zeros((len(example), 3))
    for t, x in enumerate(example):
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
        h = outputs[t] = sigmoid(o) * np.tanh(c)
    return outputs, h, c


@st.composite
def batches(draw):
    """Lengths, a T of at least the longest, and whatever stands in the padding."""
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    time = max(lengths) + draw(st.integers(0, 3))
    inputs = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(len(lengths), max(time, 1), 2))
    for row, length in enumerate(lengths):
        inputs[row, length:] = draw(st.sampled_from([0.0, 1.0, -1e9, np.nan, np.inf]))
    return inputs, lengths


@pytest.mark.parametrize("rnn", EVERYWHERE)
@settings(deadline=None, max_examples=8)
@given(batch=batches())
def test_both_directions(rnn, batch):
    inputs, lengths = batch
    (forward, backward), ((h, c), (h_back, c_back)) = bidirectional_rnn(
        CELL, BACKWARD, tf.constant(inputs), lengths, rnn=rnn
    )
    near = {"rtol": 1e-9, "atol": 1e-12}
    for row, n in enumerate(lengths):
        valid = inputs[row, :n]
        for found, states, cell, example, order in (
            (forward, (h, c), CELL, valid, slice(None)),
            (backward, (h_back, c_back), BACKWARD, valid[::-1], slice(None, None, -1)),
        ):
            outputs, *last = by_hand(cell, example)
            np.testing.assert_allclose(found[row, :n], outputs[order], **near)
            np.testing.assert_allclose([s[row] for s in states], last, **near)
            assert not np.any(found[row, n:])
