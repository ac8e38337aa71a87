"""Records: what counts for identity, what two records differ in, what METRICS declares."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import flatten, load
from workbench.identity import GROUPS, identity, packed, unpacked
from workbench.record import METRICS, Findings, Run, compare
from workbench.record.frames import frame_of, read_csv
from workbench.record.plan import Job
from workbench.sweep.compose import Composer


@pytest.fixture(scope="module")
def tree() -> dict:
    return load(Composer()([]))[0]


def changed(tree: dict, key: str, value: object) -> dict:
    group, _, name = key.rpartition(".")
    return {**tree, group: {**tree[group], name: value}} if group else {**tree, key: value}


def of(tree: dict, fingerprint: str = "f", code: str = "c") -> str:
    return identity(tree, fingerprint, {"code.sha256": code})


IRRELEVANT = (
    "data.cache_dir",
    "data.path",
    "training.checkpoint_every",
    "training.log_every",
    "training.worker_timeout_s",
)


def test_every_option_of_the_experiment_bears_on_the_identity_but_where_and_how_often(tree: dict) -> None:
    for key in flatten({group: tree[group] for group in GROUPS}):
        assert (of(changed(tree, key, "another")) == of(tree)) == (key in IRRELEVANT), key


@pytest.mark.parametrize("key", ["seed", "repeat", "label"])
def test_seed_repeat_and_label_bear_on_the_identity(tree: dict, key: str) -> None:
    assert of(changed(tree, key, 99)) != of(tree)


@pytest.mark.parametrize("key", ["tracking.uri", "tracking.folder", "workbench.quiet", "name", "scale.name"])
def test_tracking_progress_and_names_do_not(tree: dict, key: str) -> None:
    assert of(changed(tree, key, "another")) == of(tree)


def test_data_and_code_bear_on_the_identity(tree: dict) -> None:
    assert len({of(tree), of(tree, fingerprint="g"), of(tree, code="d")}) == 3


def test_an_undeclared_metric_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"speed/tokens is no metric of workbench.record.METRICS; did you mean"
    ):
        Findings().add({"speed/tokens": 1.0})


def test_a_value_that_is_no_number_is_named_and_a_diverged_run_keeps_no_metric() -> None:
    record = Findings()
    assert record.add({"loss/step": 1.0, "speed/batches": None}) == ""
    assert record.add({"loss/train_objective": math.nan}) == "loss/train_objective is nan"
    more = {"loss/validation_per_token": math.inf, "loss/validation_objective": 1.8e308, "data/batches": 3}
    assert record.add(more) == "loss/validation_per_token is inf (and 1 more)"
    assert record.tags == {
        "workbench.not_finite": "loss/train_objective loss/validation_per_token loss/validation_objective"
    }
    assert record.metrics == {"loss/step": 1.0, "data/batches": 3.0}
    record.diverge(7, "why")
    assert record.metrics == {}
    assert record.failure == "diverged at step 7: why"
    assert record.tags["workbench.diverged"] == "true"
    assert record.tags["workbench.diverged_at"] == "7"


def test_what_was_not_measured_leaves_no_trace() -> None:
    record = Findings()
    record.add({"memory/peak_device_mb": None, "loss/step": 1})
    assert record.metrics == {"loss/step": 1.0}


def test_compare_names_exact_differences_first() -> None:
    first = {"speed/window_s": 1.0, "loss/step": 0.5, "data/batches": 3.0, "loss/train_objective": math.nan}
    second = {"speed/window_s": 1.1, "loss/step": 0.5, "data/batches": 4.0, "loss/train_objective": math.nan}
    assert [(d.name, d.noisy) for d in compare(first, second)] == [
        ("data/batches", False),
        ("speed/window_s", True),
    ]
    assert compare({"loss/step": 1.0}, {})[0].second is None
    assert compare(first, first) == []


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_its_group_unit_and_meaning(name: str) -> None:
    metric = METRICS[name]
    assert name.split("/")[0] in (
        "speed",
        "memory",
        "correctness",
        "loss",
        "accuracy",
        "f1",
        "perplexity",
        "data",
    )
    assert metric.unit
    assert len(metric.meaning) > 10


@given(
    st.dictionaries(st.text(min_size=1), st.text("0123456789abcdef", min_size=4, max_size=64), max_size=300)
)
def test_many_sources_are_read_back_from_their_few_tags(files: dict[str, str]) -> None:
    made_by = {f"source.{name}": digest for name, digest in files.items()} | {"version.numpy": "2"}
    tags = packed(made_by)
    assert unpacked(tags) == made_by
    assert max(map(len, tags.values())) < 5000


def test_labels_of_any_signs_are_recorded_as_params(tree: dict) -> None:
    """MLflow takes few signs in a name: a run whose class weights had others could not be opened."""
    tree = changed(tree, "loss.class_weights", {"PRP$": 2.0, ",": 0.5, "/": 1.0, "X": 3.0})
    params = Job(1, "a", 1, 0, tree).params
    assert {name: value for name, value in params.items() if "class_weights" in name} == {
        "loss.class_weights.PRP:24": 2.0,
        "loss.class_weights.:2c": 0.5,
        "loss.class_weights.:2f": 1.0,
        "loss.class_weights.X": 3.0,
    }
    assert all(re.fullmatch(r"[\w.\- :]+", name) for name in params)


def test_a_table_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    """As text: a column with gaps had made 12.0 of 12, and nothing of null."""
    one = Run(
        "a", "FINISHED", {"x": "null", "threads": "2"}, {"m": 0.1}, {"training.resumed_from_step": "12"}
    )
    two = Run("b", "FAILED", {"x": "None"}, {}, {}, no_numbers=frozenset({"m"}), key_without=())
    (tmp_path / "runs.csv").write_text(frame_of([one, two]).to_csv(index=False))
    first, second = read_csv(tmp_path / "runs.csv")
    assert (dict(first.params), dict(first.metrics), dict(first.tags)) == (one.params, one.metrics, one.tags)
    assert (dict(second.params), second.no_numbers) == (two.params, two.no_numbers)
