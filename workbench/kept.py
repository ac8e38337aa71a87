"""A trained model that is kept: written where its run has its files, and loaded as MLflow loads a model.

mlflow.pyfunc.load_model("runs:/RUN_ID/model").predict({"inputs": ids, "length": lengths})   # logits
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.places import KEPT_MODEL, KEPT_SIGNATURE


def keep(model: Any, folder: Path) -> None:
    """Write a `SequenceModel` into a folder, and what it takes and gives: of each tensor dtype and shape."""
    model.save(folder / KEPT_MODEL)
    takes = {name: spec for name, spec in model.batch_signature().items() if name != "labels"}
    steps = [-1] if model.task != "classify" else []
    signature = {
        "inputs": {
            name: [spec.dtype.name, [size or -1 for size in spec.shape]] for name, spec in takes.items()
        },
        "outputs": {"logits": [model.head.compute_dtype, [-1, *steps, model.classes]]},
    }
    (folder / KEPT_SIGNATURE).write_text(json.dumps(signature, indent=1))


class Kept:
    """A kept model as MLflow asks for it: arrays in, arrays out."""

    def __init__(self, path: str) -> None:
        import keras

        from workbench import model as _  # noqa: F401 makes its class known to Keras

        self._model = keras.saving.load_model(path, compile=False)

    def predict(self, batch: Mapping[str, Any], params: Any = None) -> Any:
        """Logits of a batch: its `inputs` (ids [B, T], or features [B, T, D]) and `length` [B]."""
        return self._model({"inputs": batch["inputs"], "length": batch["length"]}, training=False).numpy()


def _load_pyfunc(path: str) -> Kept:
    """Called by MLflow."""
    return Kept(path)
