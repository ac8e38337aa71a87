"""A trained, accelerated model where it is used: SavedModels, TFLite, ONNX, a process without a workbench."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.rnn import accelerate, restore

layers = keras.layers
IDS = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0], [0, 0, 0, 0, 0]], "int32")
GIVEN = [IDS, IDS[:, ::-1], IDS[:1, :2], IDS[2:]]
"""Of lengths 5, 3 and 0, with padding behind and in front; fewer steps; one example without a step."""

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    ids = keras.Input([None], dtype="int32")
    vectors = layers.Embedding(9, 4, mask_zero=True)(ids)
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(vectors)
    made = keras.Model(ids, layers.Dense(2)(layers.GRU(3)(both)))
    made.compile("sgd", "mse")
    made.fit(IDS, np.ones((3, 2)), verbose=0)
    return made


@pytest.fixture(scope="module")
def expected(model):
    """Of Keras' own loops."""
    return [np.asarray(model(given)) for given in GIVEN]


@pytest.mark.slow  # quick: a layer's in tests/rnn/test_keras_contract.py
@pytest.mark.parametrize("way", ["export", "saved_model.save"])
def test_a_saved_model_serves_what_keras_layers_give(way, model, expected, tmp_path):
    accelerate(model)
    try:
        if way == "export":
            model.export(tmp_path / "served", verbose=False)
        else:
            tf.saved_model.save(model, str(tmp_path / "served"))
    finally:
        restore(model)
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    serve = loaded.signatures["serving_default"]
    for given, wanted in zip(GIVEN, expected, strict=True):
        (found,) = serve(tf.constant(given)).values()
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_tflite_runs_what_was_restored_for_a_batch_of_known_size(model, expected, tmp_path):
    """Of the packed loop it lacks ops (LowerBound), of Keras' with free sizes some that its interpreter lacks."""
    restore(accelerate(model))
    signature = [tf.TensorSpec(IDS.shape, tf.int32)]
    model.export(tmp_path / "served", verbose=False, input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "served"))
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    for given, wanted in zip(GIVEN[:2], expected[:2], strict=True):
        interpreter.set_tensor(takes["index"], given)
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(gives["index"]), wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:In the future `np.object` will be defined:FutureWarning")
def test_onnx_runs_what_was_restored_for_any_batch(model, expected, tmp_path):
    """Of the packed loop ONNX lacks ops (PreventGradient); of Keras' loops it has all, with free sizes."""
    pytest.importorskip("tf2onnx", reason="no tf2onnx: make setup LOCK=requirements-extras.txt")
    onnxruntime = pytest.importorskip(
        "onnxruntime", reason="no onnxruntime: make setup LOCK=requirements-extras.txt"
    )
    restore(accelerate(model)).export(str(tmp_path / "model.onnx"), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (takes,) = session.get_inputs()
    for given, wanted in zip(GIVEN, expected, strict=True):
        (found,) = session.run(None, {takes.name: np.ascontiguousarray(given)})
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.slow  # quick: tests/rnn/test_accelerate.py loads in this process
@pytest.mark.command
def test_a_saved_file_loads_where_there_is_no_workbench(model, expected, tmp_path):
    accelerate(model).save(tmp_path / "model.keras")
    restore(model)
    np.savez(tmp_path / "given.npz", *GIVEN)
    code = (
        "import sys; sys.modules['workbench'] = None\n"
        "import keras, numpy as np\n"
        "model, given = keras.saving.load_model('model.keras'), np.load('given.npz')\n"
        "np.savez('found.npz', *[np.asarray(model(given[name])) for name in given.files])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "found.npz")
    for name, wanted in zip(found.files, expected, strict=True):
        np.testing.assert_allclose(found[name], wanted, atol=1e-6)
