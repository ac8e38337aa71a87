"""The time-frequency LSTM: one small LSTM that walks along the features of each step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights, check_positive, clip, gates, register
from workbench.cells.frequency import block_starts, spread, stack_states


@register
class TimeFreqLSTMCell(StepCell):
    """The input falls into blocks of `feature_size` features, `frequency_skip` apart; the same LSTM reads each,
    with its own state of the step before and the output of the block below.

        for each block k, from low to high:
            z = x_k W + [h_k, h'_(k-1)] U + b             (h'_(-1) = 0)
            h'_k, c'_k = the LSTM's equations of z and c_k, with peepholes and cell_clip
        output = [h'_0, h'_1, ...]

    Weights: kernel [feature_size, 4H], recurrent_kernel [2H, 4H], bias [4H] in the order i, f, c, o;
    peephole_i, _f, _o [H]. States: [h, c], the blocks side by side, so their size is known when the input's
    is (TF 1.15 took it for one block, and could not run over more). Without `feature_size` there is one block,
    of all features; `frequency_skip` is `feature_size` by default. Features that lie in no
    block are refused, unless `allow_unseen`; TF 1.15 leaves them out without a word.

    Source: Sainath and Li, "Modeling Time-Frequency Patterns with LSTM vs. Convolutional Architectures for
    LVCSR Tasks", https://doi.org/10.21437/Interspeech.2016-84; TF 1.15's contrib TimeFreqLSTMCell.
    """

    memory_states = (1,)

    def __init__(
        self,
        units: int,
        *,
        feature_size: int | None = None,
        frequency_skip: int | None = None,
        allow_unseen: bool = False,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        check_positive("feature_size", feature_size, optional=True)
        check_positive("frequency_skip", frequency_skip, optional=True)
        check_positive("cell_clip", cell_clip, whole=False, optional=True)
        self.feature_size, self.frequency_skip = feature_size, frequency_skip
        self.allow_unseen = allow_unseen
        self.use_peepholes, self.cell_clip, self.forget_bias = use_peepholes, cell_clip, forget_bias
        self.output_size: int | None = None
        self.state_size: list[int | None] = [None, None]

    def build(self, input_shape: Any) -> None:
        """Makes the variables, and counts the blocks, for inputs [B, D]."""
        self.input_size, H = input_shape[-1], self.units
        size, self.starts = block_starts(
            self.input_size, self.feature_size, self.frequency_skip, self.allow_unseen
        )
        blocks = len(self.starts)
        self.projection_width = 4 * H * blocks
        self.output_size, self.state_size = H * blocks, [H * blocks] * 2
        self.kernel = self.add_kernel("kernel", size, 4 * H)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", 2 * H, 4 * H)
        self.bias = self.add_vector("bias", 4 * H)
        if self.use_peepholes:
            self.peephole_i, self.peephole_f, self.peephole_o = (
                self.add_vector(f"peephole_{gate}", H, self.kernel_initializer) for gate in "ifo"
            )

    def step_weights(self) -> StepWeights:
        """The kernel spread over the blocks; the recurrent matrix once for each block."""
        blocks = len(self.starts)
        kernel = spread(self.read(self.kernel), self.input_size, list(self.starts))
        bias = tf.tile(self.raised(self.bias, 0, self.forget_bias, 0, 0), [blocks])
        peepholes = [self.peephole_i, self.peephole_f, self.peephole_o] if self.use_peepholes else []
        recurrent = [self.read(self.recurrent_kernel)] * blocks
        return StepWeights(kernel, bias, recurrent, [*map(self.read, peepholes)])

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The equations above."""
        blocks = len(self.starts)
        x, h, c = gates(projected, blocks), gates(states[0], blocks), gates(states[1], blocks)
        below = tf.zeros_like(h[0])
        new = []
        for k in range(blocks):
            i, f, g, o = gates(product(k, tf.concat([h[k], below], -1), plus=x[k]), 4)
            if self.use_peepholes:
                i, f = i + weights[0] * c[k], f + weights[1] * c[k]
            memory = clip(tf.sigmoid(f) * c[k] + tf.sigmoid(i) * self.activation(g), self.cell_clip)
            if self.use_peepholes:
                o = o + weights[2] * memory
            below = tf.sigmoid(o) * self.activation(memory)
            new.append((below, memory))
        new_states = stack_states(new)
        return new_states[0], new_states
