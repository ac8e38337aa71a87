"""`training.keep`: a run's model is with it, and MLflow loads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.tracking import Tracker


@pytest.mark.slow  # quick: tests/training/test_kept.py, the logits; tests/training, which weights are kept
@pytest.mark.command
def test_a_run_keeps_its_best_epochs_model_and_again_it_is_the_same(tmp_path: Path, type_in, small) -> None:
    import keras
    import mlflow.pyfunc

    import workbench.model  # noqa: F401 makes its class known to Keras

    words = ("training.epochs=4", "training.keep=best", "training.patience=1", "optimizer.learning_rate=0.5")
    done = type_in(tmp_path, *small, *words, "measure=off", "name=kept")
    assert done.returncode == 0, done.stdout + done.stderr
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    tracker = Tracker(uri)
    (run,) = tracker.runs("kept")
    curve = tracker.history(run.run_id, "loss/validation_epoch")
    best = int(np.argmin([value for _, value in curve]))
    assert run.tags["training.best_epoch"] == str(best + 1)
    assert run.metrics["loss/validation_per_token"] == curve[best][1], "evaluated as it is kept"
    assert ("training.ended_early" in run.tags) == (len(curve) < 4)

    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.run_id}/model")
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0]], np.int32)
    batch = {"inputs": ids, "length": np.array([4, 2], np.int32)}
    logits = loaded.predict(batch)
    (file,) = tmp_path.glob("mlruns/hydra/kept/*/*/model.keras")
    np.testing.assert_array_equal(logits, keras.saving.load_model(file)(batch).numpy())
    assert np.ptp(logits) > 0
    assert loaded.metadata.run_id == run.run_id
    assert [spec.name for spec in loaded.metadata.signature.inputs.inputs] == ["inputs", "length"]
    assert "model.keras" in tracker.files(run.run_id)

    again = type_in(tmp_path, run.run_id, module="workbench.rerun")
    assert again.returncode == 0, again.stdout + again.stderr
