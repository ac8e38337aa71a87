"""Cells of someone who changes nothing in the workbench: one in one-step form, one that has only `call`."""

import keras
import tensorflow as tf

from workbench.cells import StepCell, StepWeights

registered = keras.saving.register_keras_serializable(package="third_party")


@registered
class MinimalGatedUnit(StepCell):
    """Zhou et al. 2016, https://arxiv.org/abs/1603.09420: a GRU with one gate, in one-step form.

    f = sigmoid(x W_f + h U_f + b_f);  n = tanh(x W_n + (f * h) U_n + b_n);  h' = (1 - f) * h + f * n
    """

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.projection_width = 2 * units
        self.state_size = self.output_size = units

    def build(self, input_shape):
        self.kernel = self.add_kernel("kernel", input_shape[-1], 2 * self.units)
        self.gate_kernel = self.add_recurrent("gate_kernel", self.units, self.units)
        self.new_kernel = self.add_recurrent("new_kernel", self.units, self.units)
        self.bias = self.add_vector("bias", 2 * self.units)

    def step_weights(self):
        recurrent = [self.read(self.gate_kernel), self.read(self.new_kernel)]
        return StepWeights(self.read(self.kernel), self.read(self.bias), recurrent, [])

    def step(self, projected, states, weights, product):
        (h,) = states
        x_f, x_n = tf.split(projected, 2, axis=-1)
        f = tf.sigmoid(product(0, h, plus=x_f))
        n = self.activation(product(1, f * h, plus=x_n))
        h = (1 - f) * h + f * n
        return h, [h]


@registered
class ClockedCell(keras.layers.Layer):
    """A plain Keras cell that has only `call`: unit k is renewed at every (k + 1)th step.

    Its second state counts the steps. It is not in one-step form, so it runs packed by autodiff.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.output_size = units
        self.state_size = [units, 1]

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1] + self.units, self.units), name="kernel")

    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, n], self.compute_dtype) for n in self.state_size]

    def call(self, inputs, states):
        h, steps = states
        due = tf.math.floormod(tf.round(steps), tf.range(1, self.units + 1, dtype=steps.dtype)) == 0
        h = tf.where(due, tf.tanh(tf.concat([inputs, h], -1) @ self.kernel), h)
        return h, [h, steps + 1]

    def get_config(self):
        return {**super().get_config(), "units": self.units}
