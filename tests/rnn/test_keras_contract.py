"""PackedRNN where Keras puts layers: TimeDistributed, SavedModel, a process of its own, Keras' own checks."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.testing import TestCase

from workbench.cells import CELLS, WRAPPERS
from workbench.model import SequenceModel
from workbench.options.cell import LSTM
from workbench.options.model import Model
from workbench.options.rnn import Packed
from workbench.rnn import PackedRNN

RANDOM = np.random.default_rng(0)

pytestmark = [
    # Keras' own conversion of a variable to an array, with NumPy 2
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


def lstm(units=3):
    return CELLS["lstm"](units, forget_bias=0.0)


def sentences_of_documents():
    """Ids [5, 4, 6] with padding behind each sentence."""
    ids = RANDOM.integers(1, 20, size=(5, 4, 6))
    return np.where(np.arange(6) < RANDOM.integers(1, 7, size=(5, 4, 1)), ids, 0).astype("int32")


def hierarchy(rnn, steps, time):
    documents = keras.Input([steps, time], dtype="int32")
    vectors = keras.layers.Embedding(20, 4, mask_zero=True)(documents)
    return keras.Model(documents, keras.layers.TimeDistributed(rnn)(vectors))


@pytest.mark.parametrize(
    ("steps", "time"),
    [(None, None), *(pytest.param(*one, marks=pytest.mark.slow) for one in [(4, 6), (4, None), (None, 6)])],
)
def test_time_distributed_gives_keras_numbers_and_gradients(steps, time):
    """Keras maps over unknown steps by tf.vectorized_map, which drops gradients of ops' own in silence."""
    theirs = hierarchy(keras.layers.LSTM(3), steps, time)
    ours = hierarchy(PackedRNN(lstm()), steps, time)
    ours.set_weights(theirs.get_weights())
    ids = tf.constant(sentences_of_documents())
    found = []
    for model in (theirs, ours):
        with tf.GradientTape() as tape:
            outputs = model(ids)
            loss = tf.reduce_sum(outputs**2)
        gradients = map(tf.convert_to_tensor, tape.gradient(loss, model.trainable_weights))
        found.append([np.asarray(one) for one in (outputs, *gradients)])
    for expected, one in zip(*found, strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(one, expected, atol=1e-6)


@pytest.mark.slow  # quick: tests/rnn/test_production.py
@pytest.mark.parametrize("whole", [False, True], ids=["layer", "tagger"])
def test_a_saved_model_serves_any_batch_and_length(whole, tmp_path):
    ids = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0], [0, 0, 0, 0, 0]], "int32")
    if whole:
        model = SequenceModel(LSTM(units=3), Packed(), Model(), task="tag", classes=2, vocabulary_size=20)
        given = {"inputs": tf.constant(ids), "length": tf.constant([5, 3, 0])}
        model.export(tmp_path / "saved", verbose=False)
        loaded = tf.saved_model.load(str(tmp_path / "saved"))
        found = loaded.serve(given)
        shorter = {"inputs": given["inputs"][:1, :2], "length": tf.constant([2])}
        np.testing.assert_allclose(loaded.serve(shorter), model(shorter), atol=1e-6)
    else:
        words = keras.Input([None], dtype="int32")
        vectors = keras.layers.Embedding(20, 6, mask_zero=True)(words)
        model = keras.Model(words, keras.layers.Dense(3)(PackedRNN(lstm(5), return_sequences=True)(vectors)))
        model.compile("sgd", "mse")
        model.fit(ids, np.ones((3, 5, 3)), verbose=0)
        model.export(str(tmp_path / "saved"), verbose=False)
        given, loaded = tf.constant(ids), tf.saved_model.load(str(tmp_path / "saved"))
        found = loaded.serve(given)
        assert loaded.serve(given[:1, :2]).shape == (1, 2, 3)
    np.testing.assert_allclose(found, model(given), atol=1e-6)


def lengths_given_beside(cell):
    """Ids [B, T] and lengths [B] to outputs [B, T, O]."""
    words, lengths = keras.Input([None], dtype="int32"), keras.Input([], dtype="int32")
    vectors = keras.layers.Embedding(20, 4)(words)
    outputs = PackedRNN(cell, return_sequences=True)(vectors, sequence_length=lengths)
    return keras.Model([words, lengths], outputs)


ALONE = {
    "multi": lambda: WRAPPERS["multi"]([lstm(), keras.layers.GRUCell(5)]),
    "dropout": lambda: WRAPPERS["dropout"](lstm(), state_keep_prob=0.5, variational=True, seed=3),
    "residual": lambda: WRAPPERS["residual"](lstm(4)),
    "attention": lambda: WRAPPERS["attention"](lstm(), 2, attn_size=4, attn_vec_size=5, input_size=2),
}
WRAPPED = ALONE | {"all": lambda: WRAPPERS["multi"]([make() for make in reversed(ALONE.values())])}


@pytest.mark.slow  # quick: tests/rnn/test_packed_layer.py saves and loads
@pytest.mark.parametrize("name", WRAPPED)
def test_cells_around_cells_save_load_and_are_served(name, tmp_path):
    assert set(WRAPPERS) < set(WRAPPED)
    model = lengths_given_beside(WRAPPED[name]())
    given = [tf.constant(RANDOM.integers(1, 20, size=(3, 5)), tf.int32), tf.constant([5, 3, 0])]
    expected = model(given)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(given), expected)
    loaded.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(given), expected, atol=1e-6)


LOADING = """
import sys
import keras, numpy as np
import workbench.rnn
for path in sys.argv[2:]:
    model = keras.saving.load_model(path)
    np.save(path + ".npy", model(np.load(sys.argv[1])))
"""


@pytest.mark.slow  # quick: tests/rnn/test_packed_layer.py saves and loads in this process
def test_models_load_in_a_process_of_their_own(tmp_path):
    ids = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]], "int32")
    np.save(tmp_path / "ids.npy", ids)
    layers = {
        "lstm": PackedRNN(lstm(), return_sequences=True),
        "gru": PackedRNN(CELLS["gru"](3)),
        "wrappers": PackedRNN(WRAPPED["all"]()),
        "both": keras.layers.Bidirectional(PackedRNN(lstm(), return_sequences=True)),
    }
    expected = {}
    for name, layer in layers.items():
        words = keras.Input([None], dtype="int32")
        model = keras.Model(words, layer(keras.layers.Embedding(20, 4, mask_zero=True)(words)))
        model.save(tmp_path / f"{name}.keras")
        expected[tmp_path / f"{name}.keras"] = np.asarray(model(ids))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run(
        [sys.executable, "-c", LOADING, tmp_path / "ids.npy", *expected],
        check=True, env=environment, cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    for path, outputs in expected.items():
        np.testing.assert_allclose(np.load(f"{path}.npy"), outputs, atol=1e-7)


@pytest.mark.slow  # quick: tests/rnn/test_packed_layer.py
@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        pytest.param("lstm", {"return_sequences": True}, (3, 4, 5), marks=pytest.mark.slow),
        pytest.param("gru", {}, (3, 5), marks=pytest.mark.slow),
        pytest.param("lstm", {"return_state": True}, ((3, 5),) * 3, marks=pytest.mark.slow),
        ("basic_rnn", {"go_backwards": True, "return_sequences": True}, (3, 4, 5)),
    ],
)
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")  # by Keras' check itself
def test_keras_own_checks_of_a_layer(name, options, shape):
    """Not under mixed precision: Keras gives that to the layer alone, whose cell was made before with its own."""
    TestCase().run_layer_test(
        PackedRNN,
        init_kwargs={"cell": CELLS[name](5), **options},
        input_shape=(3, 4, 2),
        expected_output_shape=shape,
        expected_num_trainable_weights=3,
        expected_num_non_trainable_weights=0,
        supports_masking=True,
        run_mixed_precision_check=False,
        run_training_check="return_state" not in options,  # there is no loss for several outputs
        assert_built_after_instantiation=False,
    )
