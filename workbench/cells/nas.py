"""The cell that neural architecture search found."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras.activations import tanh

from workbench.cells.base import StepCell, StepWeights, check_positive, gates, register


@register
class NASCell(StepCell):
    """Eight parts of x W and h U [+ b], joined pairwise in a tree.

        a, b, ... = parts of x W;   A, B, ... = parts of h U [+ bias]
        left  = tanh(tanh(sigmoid(a+A) * relu(b+B)) + c) * tanh(sigmoid(c+C) + relu(d*D))
        right = tanh(tanh(tanh(e+E) * sigmoid(f+F)) + sigmoid(tanh(g+G) + sigmoid(h+H)))
        c' = left;   h' = tanh(left * right)              [@ projection_kernel]

    The fourth pair is multiplied, so the two products stay apart. Weights: kernel [D, 8H], recurrent_kernel
    [P, 8H], bias [8H] with use_bias, projection_kernel [H, P] with num_proj. States: [h, c]. Its activations are
    part of what was found: `activation` is not an option.

    Source: Zoph and Le, https://arxiv.org/abs/1611.01578; TF 1.15's contrib NASCell.
    """

    memory_states = (1,)

    def __init__(
        self, units: int, *, num_proj: int | None = None, use_bias: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        if self.activation is not tanh:
            raise ValueError("activation is no option of the NAS cell: its activations are part of its tree.")
        check_positive("num_proj", num_proj, optional=True)
        if not use_bias and not isinstance(self.bias_initializer, keras.initializers.Zeros):
            raise ValueError("bias_initializer does nothing without use_bias=True: set that too.")
        self.num_proj, self.use_bias = num_proj, use_bias
        self.projection_width = 8 * units
        self.output_size = num_proj or units
        self.state_size = [self.output_size, units]

    def build(self, input_shape: Any) -> None:
        """Makes the variables for inputs [B, D]."""
        H = self.units
        self.kernel = self.add_kernel("kernel", input_shape[-1], 8 * H)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", self.output_size, 8 * H)
        if self.use_bias:
            self.bias = self.add_vector("bias", 8 * H)
        if self.num_proj:
            self.projection_kernel = self.add_kernel("projection_kernel", H, self.num_proj)

    def step_weights(self) -> StepWeights:
        """The bias belongs to the recurrent product, so it is a small weight."""
        recurrent = [self.recurrent_kernel, *([self.projection_kernel] if self.num_proj else [])]
        small = [self.read(self.bias)] if self.use_bias else []
        no_bias = tf.zeros([self.projection_width], self.compute_dtype)
        return StepWeights(self.read(self.kernel), no_bias, [*map(self.read, recurrent)], small)

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The tree above."""
        h, c = states
        recurrent = product(0, h)
        if self.use_bias:
            recurrent = recurrent + weights[0]
        x, m = gates(projected, 8), gates(recurrent, 8)
        inner = tf.tanh(tf.sigmoid(x[0] + m[0]) * tf.nn.relu(x[1] + m[1]))
        c = tf.tanh(inner + c) * tf.tanh(tf.sigmoid(x[2] + m[2]) + tf.nn.relu(x[3] * m[3]))
        outer = tf.tanh(tf.tanh(x[4] + m[4]) * tf.sigmoid(x[5] + m[5]))
        shown = tf.tanh(outer + tf.sigmoid(tf.tanh(x[6] + m[6]) + tf.sigmoid(x[7] + m[7])))
        h = tf.tanh(c * shown)
        if self.num_proj:
            h = product(1, h)
        return h, [h, c]
