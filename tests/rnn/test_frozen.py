"""trainable=False, wherever it is said: nothing in it is trained, also after saving, until it is said otherwise."""

import keras
import numpy as np
import pytest

from workbench.cells import CELLS, WRAPPERS
from workbench.model import SequenceModel
from workbench.options.cell import LSTM
from workbench.options.model import Model
from workbench.options.rnn import Dynamic
from workbench.rnn import PackedRNN

INPUTS = np.ones((8, 5, 4), "float32")

# Keras' own conversion of a variable to an array, with NumPy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


def lstm(**options):
    return CELLS["lstm"](4, **options)


def frozen_keras(**options):
    layer = keras.layers.LSTM(4)
    layer.build((None, None, 4))
    layer.trainable = False
    return PackedRNN.from_keras(layer, **options)


def thawed_keras():
    layer = keras.layers.LSTM(4)
    layer.build((None, None, 4))
    return PackedRNN.from_keras(layer, trainable=False)


FROZEN = {
    "layer": lambda: PackedRNN(lstm(), trainable=False),
    "cell": lambda: PackedRNN(lstm(trainable=False)),
    "keras cell": lambda: PackedRNN(keras.layers.LSTMCell(4), trainable=False),
    "from_keras": frozen_keras,
    "from_keras by option": thawed_keras,
    "stack": lambda: PackedRNN(WRAPPERS["multi"]([lstm(), lstm()], trainable=False)),
    "dropout": lambda: PackedRNN(WRAPPERS["dropout"](lstm(), trainable=False)),
    "residual": lambda: PackedRNN(WRAPPERS["residual"](lstm(), trainable=False)),
    "attention": lambda: PackedRNN(WRAPPERS["attention"](lstm(), 2, trainable=False)),
    "deep": lambda: PackedRNN(WRAPPERS["multi"]([WRAPPERS["dropout"](lstm())]), trainable=False),
    "keras stack": lambda: PackedRNN(
        keras.layers.StackedRNNCells([keras.layers.GRUCell(4)], trainable=False)
    ),
    "both ways": lambda: keras.layers.Bidirectional(PackedRNN(lstm(), trainable=False)),
}


@pytest.mark.parametrize("name", FROZEN)
def test_what_is_frozen_has_no_weight_to_train(name):
    layer = FROZEN[name]()
    inputs = keras.Input([5, 4])
    model = keras.Model(inputs, layer(inputs))
    assert layer.weights
    assert model.trainable_weights == []
    again = keras.Model.from_config(model.get_config())
    assert again.trainable_weights == []
    layer.trainable = False
    layer.trainable = True  # which says nothing to a layer that is trainable, with a frozen one inside
    assert len(model.trainable_weights) == len(layer.weights)


def test_a_variable_frozen_in_one_direction_stays_so():
    both = keras.layers.Bidirectional(keras.layers.GRU(2))
    both.build((None, None, 4))
    both.forward_layer.cell.kernel.trainable = both.backward_layer.cell.bias.trainable = False
    names = [weight.path.rpartition("/")[2] for weight in PackedRNN.from_keras(both).trainable_weights]
    assert names == ["recurrent_kernel", "bias", "kernel", "recurrent_kernel"]


@pytest.mark.slow  # quick: what is frozen has no weight to train, above
def test_a_step_of_training_leaves_it_as_it_is():
    """By the kernel that compiles, whose gradient is of all weights."""
    layer = FROZEN["layer"]()
    inputs = keras.Input([5, 4])
    model = keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))
    model.compile("sgd", "mse")
    before = [np.array(w) for w in model.get_weights()]
    model.fit(INPUTS, np.ones((8, 2)), verbose=0)
    assert layer.kernels[0].kernel == "xla"
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert same == [True, True, True, False, False]


@pytest.mark.parametrize(
    "freeze", [lambda m: m, lambda m: m.embedding, lambda m: m.cells_forward[0].cells[0]]
)
def test_the_models_layers_stay_frozen_when_loaded(freeze, tmp_path):
    cell = LSTM(units=3, layers=2)
    model = SequenceModel(cell, Dynamic(), Model(), task="tag", classes=2, vocabulary_size=5)
    freeze(model).trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    names = [weight.path for weight in model.trainable_weights]
    assert len(names) < len(model.weights)
    assert [weight.path for weight in loaded.trainable_weights] == names
