"""A gradient of our own: right, and nothing of it is left in TensorFlow's table of the process."""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

from workbench.cells.custom_gradient import custom_gradient


@custom_gradient
def tripled(x):
    return 3 * x, lambda slope: 30 * slope  # ten times the true one, to be told apart


def test_the_gradient_is_the_one_given_eagerly_and_in_a_graph():
    x = tf.constant([1.0, 2.0])

    def slopes(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tripled(x)
        return y, tape.gradient(y, x)

    for run in (slopes, tf.function(slopes)):
        y, gradient = run(x)
        np.testing.assert_array_equal(y, [3.0, 6.0])
        np.testing.assert_array_equal(gradient, [30.0, 30.0])


def test_tensorflows_table_has_no_entry_of_it():
    before = set(gradient_registry.list())
    tf.function(tripled).get_concrete_function(tf.TensorSpec([2]))
    assert set(gradient_registry.list()) == before
