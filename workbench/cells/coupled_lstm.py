"""The LSTM with coupled gates: what it forgets is what it lets in."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights, clip, gates, register
from workbench.cells.lstm import check_projection


@register
class CoupledLSTMCell(StepCell):
    """An LSTM whose input gate is one minus its forget gate, so a quarter cheaper.

        f  = sigmoid(x W_f + h U_f + b_f + forget_bias  [+ p_f * c])
        c' = f * c + (1 - f) * tanh(x W_c + h U_c + b_c)
        o  = sigmoid(x W_o + h U_o + b_o  [+ p_o * c'])
        h' = o * tanh(c')                                 [@ projection_kernel, clipped to +-proj_clip]

    Weights: kernel [D, 3H], recurrent_kernel [P, 3H], bias [3H], gates in the order f, c, o; then peephole_f, _o
    [H] and projection_kernel [H, P] where asked for. States: [h, c]. `forget_bias` is added at run time.

    Source: Greff et al., "LSTM: A Search Space Odyssey", https://arxiv.org/abs/1503.04069; TF 1.15's
    contrib CoupledInputForgetGateLSTMCell (without its layer normalisation).
    """

    memory_states = (1,)

    def __init__(
        self,
        units: int,
        *,
        use_peepholes: bool = False,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        check_projection(num_proj, proj_clip)
        self.use_peepholes, self.forget_bias = use_peepholes, forget_bias
        self.num_proj, self.proj_clip = num_proj, proj_clip
        self.projection_width = 3 * units
        self.output_size = num_proj or units
        self.state_size = [self.output_size, units]

    def build(self, input_shape: Any) -> None:
        """Makes the variables for inputs [B, D]."""
        H = self.units
        self.kernel = self.add_kernel("kernel", input_shape[-1], 3 * H)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", self.output_size, 3 * H)
        self.bias = self.add_vector("bias", 3 * H)
        if self.use_peepholes:
            self.peephole_f = self.add_vector("peephole_f", H, self.kernel_initializer)
            self.peephole_o = self.add_vector("peephole_o", H, self.kernel_initializer)
        if self.num_proj:
            self.projection_kernel = self.add_kernel("projection_kernel", H, self.num_proj)

    def step_weights(self) -> StepWeights:
        """As the LSTM's."""
        recurrent = [self.recurrent_kernel, *([self.projection_kernel] if self.num_proj else [])]
        peepholes = [self.peephole_f, self.peephole_o] if self.use_peepholes else []
        bias = self.raised(self.bias, self.forget_bias, 0, 0)
        return StepWeights(
            self.read(self.kernel), bias, [*map(self.read, recurrent)], [*map(self.read, peepholes)]
        )

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The equations above."""
        h, c = states
        f, g, o = gates(product(0, h, plus=projected), 3)
        if self.use_peepholes:
            f = f + weights[0] * c
        f = tf.sigmoid(f)
        c = f * c + (1 - f) * self.activation(g)
        if self.use_peepholes:
            o = o + weights[1] * c
        h = tf.sigmoid(o) * self.activation(c)
        if self.num_proj:
            h = clip(product(1, h), self.proj_clip)
        return h, [h, c]
