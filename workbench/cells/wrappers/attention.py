"""A cell that looks back at its own last outputs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workbench.cells.base import (
    Stepper,
    build,
    check_positive,
    initial_states,
    output_size,
    register,
    state_sizes,
    stepper,
)
from workbench.cells.wrappers.wrapper import WrapperCell


@register
class AttentionWrapper(WrapperCell):
    """Attention over the last `attn_length` outputs, asked by the cell's new states.

        x'     = [x, attended] W_in + b_in
        y, s   = cell(x', s)
        score_k = v . tanh(past_k W_past + s W_query + b_query),  k = 1 .. attn_length
        attended = sum of softmax(score)_k past_k
        output = [y, attended] W_out + b_out;  the oldest of `past` goes, output comes

    `attn_size` S is the size of an output (by default the cell's), `attn_vec_size` V that of the scores'
    hidden layer (by default S), `input_size` I that of the cell's inputs (by default that of x). Weights:
    input_kernel [D + S, I], input_bias [I], past_kernel [S, V], score_vector [V], query_kernel_n [size of
    state n, V], query_bias [V], output_kernel [O + S, S], output_bias [S].
    States: [the cell's, attended [B, S], past [B, attn_length * S]].

    Source: Bahdanau et al., https://arxiv.org/abs/1409.0473; the guide; TF 1.15's contrib AttentionCellWrapper.
    """

    def __init__(
        self,
        cell: Any,
        attn_length: int,
        *,
        attn_size: int | None = None,
        attn_vec_size: int | None = None,
        input_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, **kwargs)
        check_positive("attn_length", attn_length)
        check_positive("attn_size", attn_size, optional=True)
        check_positive("attn_vec_size", attn_vec_size, optional=True)
        check_positive("input_size", input_size, optional=True)
        self.attn_length, self.attn_size = attn_length, attn_size
        self.attn_vec_size, self.input_size = attn_vec_size, input_size

    @property
    def output_size(self) -> int:
        """The size of an attended output."""
        return self.attn_size or output_size(self.cell)

    @property
    def state_size(self) -> list[Any]:
        """The cell's, then what is attended and the past."""
        return [state_sizes(self.cell), self.output_size, self.attn_length * self.output_size]

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """The cell's; nothing attended, and a past of zeros."""
        zeros = [tf.zeros([batch_size, n], self.compute_dtype) for n in self.state_size[1:]]
        return [initial_states(self.cell, batch_size), *zeros]

    def build(self, input_shape: Any) -> None:
        """Makes the variables, and builds the cell for what comes of its inputs."""
        D = input_shape[-1]
        inner = self.input_size or D
        build(self.cell, (input_shape[0], inner))
        S = self.output_size
        V = self.attn_vec_size or S
        self.input_kernel = self.add_weight(shape=(D + S, inner), name="input_kernel")
        self.input_bias = self.add_weight(shape=(inner,), name="input_bias", initializer="zeros")
        self.past_kernel = self.add_weight(shape=(S, V), name="past_kernel")
        self.score_vector = self.add_weight(shape=(V,), name="score_vector")
        self.query_names = []
        for n, size in enumerate(tf.nest.flatten(state_sizes(self.cell))):
            self.query_names.append(f"query_kernel_{n}")
            setattr(self, f"query_kernel_{n}", self.add_weight(shape=(size, V), name=f"query_kernel_{n}"))
        self.query_bias = self.add_weight(shape=(V,), name="query_bias", initializer="zeros")
        self.output_kernel = self.add_weight(shape=(output_size(self.cell) + S, S), name="output_kernel")
        self.output_bias = self.add_weight(shape=(S,), name="output_bias", initializer="zeros")

    def stepper(self, training: bool = False) -> Stepper:
        """The equations above."""
        step = stepper(self.cell, training)
        w_in, b_in, w_out, b_out = map(
            self.read, (self.input_kernel, self.input_bias, self.output_kernel, self.output_bias)
        )
        w_past, v, b_query = map(self.read, (self.past_kernel, self.score_vector, self.query_bias))
        w_query = tf.concat([self.read(getattr(self, name)) for name in self.query_names], 0)
        length, S = self.attn_length, self.output_size

        def run(inputs: tf.Tensor, states: Any) -> tuple[tf.Tensor, list[Any]]:
            inner, attended, flat = states
            past = tf.reshape(flat, [-1, length, S])
            output, inner = step(tf.concat([inputs, attended], 1) @ w_in + b_in, inner)
            query = tf.concat(tf.nest.flatten(inner), 1) @ w_query + b_query
            scores = tf.reduce_sum(v * tf.tanh(past @ w_past + query[:, tf.newaxis]), -1)
            attended = tf.reduce_sum(tf.nn.softmax(scores)[..., tf.newaxis] * past, 1)
            output = tf.concat([output, attended], 1) @ w_out + b_out
            past = tf.concat([past[:, 1:], output[:, tf.newaxis]], 1)
            return output, [inner, attended, tf.reshape(past, [-1, length * S])]

        return run
