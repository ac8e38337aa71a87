"""A kept model: loaded as MLflow loads it, it gives the logits that it gave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.kept import _load_pyfunc, keep
from workbench.model import SequenceModel
from workbench.options.cell import SCHEMAS as CELLS
from workbench.options.model import Model
from workbench.options.rnn import SCHEMAS as RNNS

MODELS: dict[str, dict[str, Any]] = {
    "ids, tag": {"task": "tag", "vocabulary_size": 10},
    "ids, classify": {"task": "classify", "vocabulary_size": 10},
    "features, tag": {"task": "tag", "feature_size": 5},
    "features, classify": {"task": "classify", "feature_size": 5},
}
STEPS = {"tag": [-1, -1, 3], "classify": [-1, 3]}


def model_of(given: dict[str, Any], dtype: str = "float32", rnn: str = "dynamic") -> SequenceModel:
    around = Model(embedding_size=4, dropout=0.5, dtype=dtype)
    return SequenceModel(CELLS["lstm"](units=4), RNNS[rnn](rnn, direction="both"), around, classes=3, **given)


def batch_of(model: SequenceModel) -> dict[str, np.ndarray]:
    random, lengths = np.random.default_rng(7), np.array([4, 0, 2], np.int32)
    if model.feature_size is None:
        return {"inputs": random.integers(1, 10, (3, 4)).astype(np.int32), "length": lengths}
    return {"inputs": random.normal(size=(3, 4, 5)).astype(np.float32), "length": lengths}


@pytest.mark.parametrize("name", MODELS)
def test_a_kept_model_gives_the_same_logits_and_says_what_it_takes(name: str, tmp_path: Path) -> None:
    model = model_of(MODELS[name])
    keep(model, tmp_path)
    batch = batch_of(model)
    logits = _load_pyfunc(str(tmp_path / "model.keras")).predict(batch)
    np.testing.assert_array_equal(logits, model(batch).numpy())
    assert len(set(np.round(logits.ravel(), 6))) > 3, "else equal logits say nothing"
    takes = ["int32", [-1, -1]] if model.feature_size is None else ["float32", [-1, -1, 5]]
    assert json.loads((tmp_path / "model_signature.json").read_text()) == {
        "inputs": {"inputs": takes, "length": ["int32", [-1]]},
        "outputs": {"logits": ["float32", STEPS[model.task]]},
    }


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_logits_are_of_the_dtype_that_the_signature_says(dtype: str, tmp_path: Path) -> None:
    model = model_of(MODELS["ids, tag"], dtype)
    keep(model, tmp_path)
    said = json.loads((tmp_path / "model_signature.json").read_text())["outputs"]["logits"][0]
    assert _load_pyfunc(str(tmp_path / "model.keras")).predict(batch_of(model)).dtype == said


_WRITES = """
import sys
from pathlib import Path
from workbench.tracking import kept_model
folder = Path(sys.argv[1])
kept_model.write(folder, folder / "mlflow", "r1", {"version.tensorflow": "2.20.0", "version.numpy": "2.0.0"})
assert not {"tensorflow", "keras"} & set(sys.modules)
"""


@pytest.mark.slow  # quick: the logits above; that no import reaches TensorFlow is a contract of `make lint`
@pytest.mark.parametrize("name", ["ids, tag", "features, classify"])
def test_mlflow_loads_what_was_written_without_tensorflow(name: str, tmp_path: Path) -> None:
    import mlflow.pyfunc
    import tensorflow as tf

    model = model_of(MODELS[name])
    keep(model, tmp_path)
    subprocess.run([sys.executable, "-c", _WRITES, str(tmp_path)], check=True)
    assert "tensorflow==2.20.0" in (tmp_path / "mlflow/requirements.txt").read_text()
    batch = batch_of(model)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "mlflow"))
    assert loaded.metadata.signature.outputs.input_names() == ["logits"]
    np.testing.assert_array_equal(loaded.predict(batch), model(tf.nest.map_structure(tf.constant, batch)))
