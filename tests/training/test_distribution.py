"""Several replicas against one on the same global batches: two worker processes on loopback, and two devices."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import places
from workbench.data.shards import prepare
from workbench.options.data import Synthetic
from workbench.process.replicas import free_addresses, tf_config

sys.path.insert(0, str(Path(__file__).parent))
import distributed

pytestmark = [pytest.mark.command, pytest.mark.slow]  # quick: tests/process/test_replicas.py
Found = dict[str, dict[str, Any]]
DEVICES = pytest.param(["devices"], id="devices")
ALL = pytest.param(["worker 0", "worker 1", "devices"], id="all")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 12, 12 and 12 examples, of which replica 0 has two."""
    return prepare(
        Synthetic(examples=40, mean=4, longest=9, cache_dir=tmp_path_factory.mktemp("data"), shards=3)
    )


@pytest.fixture(scope="module")
def found_by(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Callable[[list[str]], dict[str, Found]]:
    """process -> case -> what it found; those that have not been run yet are run at once."""
    folder, addresses = tmp_path_factory.mktemp("distributed"), free_addresses(2)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(places.PACKAGE.parent)}

    def of(names: list[str]) -> dict[str, Found]:
        children = {}
        for name in names:
            if (folder / name).exists():
                continue
            kind, number = ("mirrored", 0) if name == "devices" else ("", int(name[-1]))
            with (folder / f"{name}.log").open("w") as log:
                children[name] = subprocess.Popen(
                    [sys.executable, distributed.__file__, kind, str(number), str(data), str(folder / name)],
                    env=environment if kind else {**environment, "TF_CONFIG": tf_config(addresses, number)},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        try:
            for name, child in children.items():
                assert child.wait(timeout=480) == 0, (folder / f"{name}.log").read_text()[-3000:]
        finally:
            for child in children.values():
                child.kill()
        return {name: json.loads((folder / name).read_text()) for name in names}

    return of


@pytest.fixture(scope="module", params=[DEVICES, ALL])
def found(request, found_by) -> dict[str, Found]:
    """process -> case -> what it found."""
    return found_by(request.param)


@functools.cache
def alone(case: str, data: Path) -> dict[str, Any]:
    """What one replica finds on the same global batches."""
    return distributed.trained(case, lambda epoch: distributed.union(case, data, epoch))


@pytest.mark.parametrize("case", sorted(set(distributed.CASES) - {"dropout", "diverged"}))
def test_replicas_train_as_one_does_on_the_same_global_batches(found, data, case) -> None:
    expected = alone(case, data)
    for name, cases in found.items():
        several = cases[case]
        # float64; only the order differs in which examples are added up, which costs some ulps a step
        np.testing.assert_allclose(several["losses"], expected["losses"], rtol=1e-12, err_msg=name)
        for ours, theirs in zip(several["weights"], expected["weights"], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=name)
        assert several["objective"] == pytest.approx(expected["objective"], rel=1e-12)


def test_each_example_of_the_shards_is_trained_on_once_an_epoch(found, data) -> None:
    given = [
        [list(distributed.batches("shards", data, epoch, replica)) for epoch in range(2)]
        for replica in (0, 1)
    ]
    for epoch in range(2):
        parts = [np.concatenate([batch["index"] for batch in replica[epoch]]).tolist() for replica in given]
        assert [len(part) for part in parts] == [24, 12]
        assert sorted([*parts[0], *parts[1]]) == list(range(36))
    for cases in found.values():  # the digest is over what was trained on
        assert cases["shards"]["counts"][0] == 2 * 36
        assert cases["shards"]["counts"][3] == 2 * 6  # batches of 4: the second replica has 3
        assert cases["shards"]["order"] == order_of(given)


def test_what_was_fed_is_counted_over_all_replicas(found, data) -> None:
    given = [
        [list(distributed.batches("token", data, epoch, replica)) for epoch in range(2)] for replica in (0, 1)
    ]
    flat = [batch for replica in given for epoch in replica for batch in epoch]
    expected = [
        sum(len(batch["inputs"]) for batch in flat),
        sum(batch["inputs"].size for batch in flat),
        sum(int(batch["length"].sum()) for batch in flat),
        6,
    ]
    for cases in found.values():
        token = cases["token"]
        assert token["counts"] == expected
        assert token["order"] == order_of(given)
        assert [number for number, *_ in token["logged"]] == [2, 4, 6]
        assert token["logged"][-1][1:] == [token["losses"][-1], expected[2]]


@pytest.mark.parametrize("found", [ALL], indirect=True)
def test_all_processes_end_with_the_same_bits(found) -> None:
    assert found["worker 0"] == found["worker 1"]


def test_all_processes_see_what_their_last_update_left(found, data) -> None:
    expected = alone("diverged", data)["not finite"]
    assert expected.startswith("after its update embedding/embeddings is not finite")
    assert {cases["diverged"]["not finite"] for cases in found.values()} == {expected}


@pytest.mark.parametrize("found", [ALL], indirect=True)
def test_replicas_drop_out_other_elements_the_same_wherever_they_are(found) -> None:
    several, devices = found["worker 0"]["dropout"], found["devices"]["dropout"]
    np.testing.assert_allclose(several["losses"], devices["losses"], rtol=1e-12)


def order_of(given: list[list[list[distributed.Batch]]]) -> str:
    """The digest of an order: over those of the replicas."""
    replicas = [
        b"".join(batch["index"].astype("<i8").tobytes() for epoch in replica for batch in epoch)
        for replica in given
    ]
    return hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in replicas)).hexdigest()
