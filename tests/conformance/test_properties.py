"""Any cell in any runner gives what a plain loop does.

Padding, its content, order and company change no valid output, state or gradient.
"""

import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, seed, settings
from hypothesis import strategies as st

from workbench.cells.base import initial_states
from workbench.probes.cell_batch import alone, compare, run
from workbench.rnn import RNNS
from workbench.rnn.table import EVERYWHERE

OVER_TIME = ("outputs", "grad_inputs")
OF_EXAMPLES = ("outputs", "states", "grad_inputs", "grad_states")


@st.composite
def changes(draw):
    """Lengths; then what is done to their batch: steps more, what stands in them, the order, first states."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    longer, content = draw(st.integers(0, 3)), draw(st.sampled_from([np.nan, np.inf, -1e30, 1.0]))
    order = draw(st.permutations(range(len(lengths))))
    return np.array(lengths, "int32"), longer, content, order, draw(st.booleans())


class Examples:
    """Examples of some lengths, to be run together or alone, from drawn first states or the cell's own."""

    def __init__(self, batch, rnn, lengths, given_states):
        self.batch, self.rnn, self.lengths = batch, RNNS[rnn], lengths
        draw = np.random.default_rng(0)
        self.inputs = draw.normal(size=(len(lengths), 4, batch.input_size)).astype(batch.dtype)
        self.states = None
        if given_states:
            own = tf.nest.map_structure(np.asarray, initial_states(batch.cell, len(lengths)))
            self.states = tf.nest.map_structure(
                lambda s: draw.normal(0, 0.5, s.shape).astype(s.dtype) if s.dtype.kind == "f" else s, own
            )

    def alone(self, row):
        """One example's valid steps, without lengths."""
        return self._run(self.inputs[row : row + 1, : self.lengths[row]], None, [row])

    def by_a_loop(self, row):
        """Outputs of its valid steps and last states, by nothing but the cell."""
        return alone(self.batch, row, int(self.lengths[row]), self.inputs, self.states)

    def together(self, order, time, content):
        """All of them in an order, padded to so many steps; what comes back is in their own order."""
        inputs = np.full((len(order), time, self.inputs.shape[-1]), content)
        for row, length in enumerate(self.lengths):
            inputs[row, :length] = self.inputs[row, :length]
        found = self._run(inputs[order].astype(self.inputs.dtype), self.lengths[order], order)
        back = np.argsort(order)
        return found._replace(**{name: [x[back] for x in getattr(found, name)] for name in OF_EXAMPLES})

    def _run(self, inputs, lengths, rows):
        states = tf.nest.map_structure(lambda s: s[rows], self.states) if self.states is not None else None
        return run(self.batch, self.rnn, inputs, lengths, rows, states)


@pytest.mark.covering(
    0
)  # one: of each cell and of each runner tests/conformance/test_cells.py has a quick one
@pytest.mark.parametrize("rnn", EVERYWHERE)
def test_padding_order_and_company_change_nothing(batch, rnn, request):
    """Each cell and runner meet examples of their own, the same ones each time."""

    @seed(zlib.crc32(request.node.callspec.id.encode()))
    @settings(max_examples=2, deadline=None, database=None)
    @given(changes())
    @example((np.array([3, 1, 0, 2], "int32"), 3, np.nan, [2, 0, 3, 1], True))  # at least: all at once
    def holds(change):
        lengths, longer, content, order, given_states = change
        examples, longest = Examples(batch, rnn, lengths, given_states), int(max(lengths))
        singles = [examples.alone(row) for row in range(len(lengths))]
        for row, one in enumerate(singles):
            outputs, states = examples.by_a_loop(row)
            compare(batch, rnn, "outputs, alone and by a loop,", outputs, [x[0] for x in one.outputs])
            compare(batch, rnn, "states, alone and by a loop,", states, [x[0] for x in one.states])
        plain, changed = (range(len(lengths)), longest, 0.0), (order, longest + longer, content)
        for rows, time, padding in (plain, changed):
            found, what = examples.together(list(rows), time, padding), f"padded to {time} with {padding}"
            for row, (one, length) in enumerate(zip(singles, lengths, strict=True)):
                for name in OF_EXAMPLES:
                    mine = [x[row] for x in getattr(found, name)]
                    if name in OVER_TIME:
                        assert not any(np.any(x[length:]) for x in mine), f"{name} past the end, {what}"
                        mine = [x[:length] for x in mine]
                    compare(
                        batch, rnn, f"{name}, alone and {what},", [x[0] for x in getattr(one, name)], mine
                    )
            summed = [np.sum(each, 0) for each in zip(*(one.grad_weights for one in singles), strict=True)]
            compare(batch, rnn, f"grad_weights, alone and {what},", summed, found.grad_weights)

    holds()
