"""The LSTM with layer normalisation of its gates and memory, and dropout that forgets nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import StepCell, Stepper, StepWeights, gates, register
from workbench.cells.dropout import check_keep_prob, keep_mask

NORMALISED = ("i", "f", "c", "o", "state")


@register
class LayerNormLSTMCell(StepCell):
    """An LSTM where each gate's input and the new memory are normalised over the units.

        norm(v) = (v - mean(v)) / sqrt(variance(v) + epsilon) * gamma + beta
        i, f, g, o = norm of each part of x W + h U
        c' = norm(sigmoid(f + forget_bias) * c + sigmoid(i) * dropout(tanh(g)))
        h' = sigmoid(o) * tanh(c')

    Weights: kernel [D, 4H], recurrent_kernel [H, 4H] in the order i, f, c, o; gamma_* and beta_* [H] for i, f, c,
    o and state; no bias. States: [h, c]. `dropout_keep_prob` acts in training on what enters the memory, drawn
    anew at each step; the cell is then not in one-step form, since a step could not be taken again.

    Source: Ba et al., https://arxiv.org/abs/1607.06450; dropout: Semeniuta et al.,
    https://arxiv.org/abs/1603.05118; TF 1.15's contrib LayerNormBasicLSTMCell.
    """

    memory_states = (1,)

    def __init__(
        self,
        units: int,
        *,
        forget_bias: float = 1.0,
        norm_gain: float = 1.0,
        norm_shift: float = 0.0,
        epsilon: float = 1e-12,
        dropout_keep_prob: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        check_keep_prob("dropout_keep_prob", dropout_keep_prob)
        self.forget_bias, self.norm_gain, self.norm_shift = forget_bias, norm_gain, norm_shift
        self.epsilon, self.dropout_keep_prob, self.seed = epsilon, dropout_keep_prob, seed
        self.seeds = keras.random.SeedGenerator(seed)
        if not isinstance(self.bias_initializer, keras.initializers.Zeros):
            raise ValueError(
                "bias_initializer is no option of LayerNormLSTMCell, which has no bias: norm_shift is what its "
                "shifts start from."
            )
        self.projection_width = 4 * units
        self.output_size = units
        self.state_size = [units, units]

    def build(self, input_shape: Any) -> None:
        """Makes the variables for inputs [B, D]."""
        H = self.units
        self.kernel = self.add_kernel("kernel", input_shape[-1], 4 * H)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", H, 4 * H)
        for name in NORMALISED:
            gain, shift = (keras.initializers.Constant(v) for v in (self.norm_gain, self.norm_shift))
            setattr(self, f"gamma_{name}", self.add_vector(f"gamma_{name}", H, gain))
            setattr(self, f"beta_{name}", self.add_vector(f"beta_{name}", H, shift))

    def step_weights(self) -> StepWeights:
        """Small: gamma and beta of i, f, c, o and state, by turns."""
        small = [getattr(self, f"{kind}_{name}") for name in NORMALISED for kind in ("gamma", "beta")]
        no_bias = tf.zeros([self.projection_width], self.compute_dtype)
        recurrent = [self.read(self.recurrent_kernel)]
        return StepWeights(self.read(self.kernel), no_bias, recurrent, [*map(self.read, small)])

    def has_step(self, training: bool) -> bool:
        """Not where dropout acts, either."""
        return (not training or self.dropout_keep_prob == 1) and super().has_step(training)

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The equations above, without dropout."""
        return self._step(projected, states, weights, product, lambda g: g)

    def stepper(self, training: bool = False) -> Stepper:
        """The equations above, with dropout in training."""
        if self.has_step(training):
            return super().stepper(training)
        weights = self.step_weights()
        drop = self._dropout if training and self.dropout_keep_prob < 1 else tf.identity

        def run(inputs: tf.Tensor, states: Any) -> tuple:
            projected = weights.project(inputs)
            return self._step(projected, list(states), weights.small, weights.product, drop)

        return run

    def _dropout(self, g: tf.Tensor) -> tf.Tensor:
        return g * keep_mask(tf.shape(g), g.dtype, self.dropout_keep_prob, self.seeds.next())

    def _step(
        self, projected: Any, states: Any, weights: Any, product: Any, drop: Callable[[tf.Tensor], tf.Tensor]
    ) -> tuple:
        h, c = states
        joint = gates(product(0, h, plus=projected), 4)
        i, f, g, o = (self._norm(v, *weights[2 * k : 2 * k + 2]) for k, v in enumerate(joint))
        entering = tf.sigmoid(i) * drop(self.activation(g))
        c = self._norm(tf.sigmoid(f + self.forget_bias) * c + entering, *weights[8:])
        h = tf.sigmoid(o) * self.activation(c)
        return h, [h, c]

    def _norm(self, value: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """In float32 at least: a half cannot hold the variance of small numbers, nor epsilon."""
        wide = value if value.dtype.size > 2 else tf.cast(value, tf.float32)
        centred = wide - tf.reduce_mean(wide, -1, keepdims=True)
        variance = tf.reduce_mean(centred**2, -1, keepdims=True)
        return tf.cast(centred * tf.math.rsqrt(variance + self.epsilon), value.dtype) * gamma + beta
