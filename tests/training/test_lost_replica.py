"""What is said of a worker that is gone: which, and where it was."""

from __future__ import annotations

import pytest
import tensorflow as tf

from workbench.process.replicas import TF_CONFIG, tf_config
from workbench.training.distribution import LostReplicaError, lost_replicas


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (["10.0.0.1:7000", "10.0.0.2:7000"], r"worker 1 \(10\.0\.0\.2:7000\) \(UnavailableError\)"),
        (None, r"in time: worker 1 \(UnavailableError\)"),
    ],
)
def test_it_is_named_with_its_address(
    monkeypatch: pytest.MonkeyPatch, cluster: list[str] | None, said: str
) -> None:
    monkeypatch.delenv(TF_CONFIG, raising=False)
    if cluster:
        monkeypatch.setenv(TF_CONFIG, tf_config(cluster, 0))
    with pytest.raises(LostReplicaError, match=said), lost_replicas():
        raise tf.errors.UnavailableError(None, None, "failed to connect to /job:worker/replica:0/task:1")
