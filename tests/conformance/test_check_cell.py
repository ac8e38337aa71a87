"""`check_cell` passes a third party's good cell with no change in the house, and says what a bad one does."""

import keras
import pytest
import tensorflow as tf

from workbench.probes.cell_checks import CellError, check_cell
from workbench.rnn import RNNS

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
DYNAMIC = {"dynamic": RNNS["dynamic"]}


@keras.saving.register_keras_serializable(package="third_party")
class Good(keras.layers.Layer):
    """A minimal cell as Keras' own documentation has it, by someone who never heard of this house."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units, self.units), name="recurrent")

    def call(self, inputs, states):
        h = tf.tanh(inputs @ self.kernel + states[0] @ self.recurrent)
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_third_partys_cell_passes():
    check_cell(Good(3, dtype="float64"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.layers.LSTMCell(3, dtype="float64"),
        lambda: keras.layers.StackedRNNCells([keras.layers.GRUCell(3), keras.layers.SimpleRNNCell(2)]),
    ],
    ids=["lstm", "stacked"],
)
def test_keras_cells_pass(make):
    check_cell(make(), rnns=DYNAMIC)


class LooksAtTheBatch(Good):
    def call(self, inputs, states):
        return super().call(inputs - tf.reduce_mean(inputs, 0, keepdims=True), states)


class ForgetsItsUnits(Good):
    def get_config(self):
        return {**super().get_config(), "units": 3}


class NotItsSize(Good):
    output_size = 7


class ChangesItsState(Good):
    def call(self, inputs, states):
        output, (state,) = super().call(inputs, states)
        return output, [tf.concat([state, state], -1)]


class HasASpareWeight(Good):
    def build(self, input_shape):
        super().build(input_shape)
        self.spare = self.add_weight(shape=(2,), name="spare")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (LooksAtTheBatch, "outputs of examples among others and alone differ"),
        (ForgetsItsUnits, "come back from the config as"),
        (NotItsSize, r"outputs have shapes .* but output_size is \[7\]"),
        (ChangesItsState, "a step turns states .* they must stay alike"),
        (HasASpareWeight, "no gradient reaches .*spare"),
    ],
)
def test_a_bad_cell_is_told_what_it_does(kind, message):
    with pytest.raises(CellError, match=message):
        check_cell(
            keras.saving.register_keras_serializable("third_party")(kind)(4, dtype="float64"), rnns=DYNAMIC
        )
