"""A run's kept model as MLflow has models: a file of Keras', its signature, who loads it; without TensorFlow."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

from workbench.places import KEPT_MODEL, KEPT_SIGNATURE

LOADER = "workbench.kept"
FOLDER = "model"
"""Its place among the artifacts of a run: runs:/RUN_ID/model."""
_NEEDS = ("tensorflow", "keras", "numpy")


def write(folder: Path, target: Path, run_id: str, versions: Mapping[str, str]) -> dict[str, str]:
    """Write the model that lies in a run's folder as an MLflow model; `versions` are the run's tags.

    What comes back are the tags by which MLflow shows the run to have a model.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about type hints of its own
        import mlflow.pyfunc
        from mlflow.models import Model, ModelSignature

        logging.getLogger("mlflow.utils.requirements_utils").setLevel(logging.ERROR)
        given = json.loads((folder / KEPT_SIGNATURE).read_text())
        signature = ModelSignature(inputs=_schema(given["inputs"]), outputs=_schema(given["outputs"]))
        model = Model(artifact_path=FOLDER, run_id=run_id)
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=LOADER,
            data_path=str(folder / KEPT_MODEL),
            signature=signature,
            pip_requirements=[
                f"{name}=={versions[tag]}" for name in _NEEDS if (tag := f"version.{name}") in versions
            ],
            mlflow_model=model,
        )
    return {"mlflow.log-model.history": json.dumps([model.get_tags_dict()])}


def _schema(tensors: Mapping[str, tuple[str, list[int]]]) -> object:
    import numpy as np
    from mlflow.types.schema import Schema, TensorSpec

    return Schema(
        [TensorSpec(np.dtype(dtype), tuple(shape), name) for name, (dtype, shape) in tensors.items()]
    )
