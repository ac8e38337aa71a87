"""However a run diverges, it has failed: by exit code, closing lines, table, page, MLflow's order, on resume.

The command as a person types it, but for its children, which run in this process: one import of TensorFlow for all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml

from workbench import entry, measured, run
from workbench.__main__ import main
from workbench.measure import device
from workbench.process.channel import Channel
from workbench.process.child import Outcome, _outcome
from workbench.provenance import code_version
from workbench.record.frames import frame_of
from workbench.record.tags import ARM
from workbench.sweep import conduct
from workbench.tracking import Tracker

KINDS = {
    "a loss": ({"optimizer.learning_rate": 1e38}, "step 2: its loss is nan"),
    "a loss, each logged": (
        {"optimizer.learning_rate": 1e38, "training.log_every": 1},
        "step 2: its loss is nan",
    ),
    "not clipped": (
        {"optimizer.learning_rate": 1e38, "optimizer.clip_norm": None},
        "step 2: its loss is nan",
    ),
    "half precision": (
        {"optimizer.learning_rate": 1e38, "model.dtype": "mixed_bfloat16"},
        "step 2: its loss is nan",
    ),
    "double precision": (
        {"optimizer.learning_rate": 1e308, "model.dtype": "float64"},
        "step 2: its loss is nan",
    ),
    "the state": (
        {"cell": "basic_rnn", "cell.activation": "relu", "optimizer.learning_rate": 1e30},
        "step 2: its loss is nan",
    ),
    "the last update": (
        {"optimizer.learning_rate": 1e39, "training.max_steps": 1},
        "step 1: after its update embedding/embeddings is not finite, nor are 6 others",
    ),
    "evaluation": (  # of weights that are finite: what overflows is their product, on every CPU
        {
            "cell": "basic_rnn",
            "cell.activation": "relu",
            "optimizer.learning_rate": 1e30,
            "training.max_steps": 1,
        },
        "step 1: loss/train_per_token is nan (and 5 more)",
    ),
    "validation alone": ({"label": "validation"}, "step 4: loss/validation_per_token is nan"),
    "a probe": ({"label": "probe"}, "step 4: correctness/loss_change_padding_longer is inf"),
    "the timed window": (
        {"label": "timed", "measure.timing": True},
        "step 4: in the timed window after it, of the timed window 4 losses",
    ),
}
SMALL = ("data=synthetic", "optimizer=sgd", "workbench.start=fresh")
OPTIONS = {
    "data": {"examples": 60, "longest": 12, "mean": 5, "batch_size": 16},
    "cell": {"units": 8},
    "model": {"embedding_size": 8},
    "measure": {"timing": False, "correctness_batches": 0, "warmup_steps": 1, "quiet_steps": 1, "passes": 1},
}
LOGGED = ("metrics.loss/step", "metrics.data/valid_tokens", "metrics.epoch")


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., Any]:
    """Type a command: its exit code and what it says."""

    def in_process(
        arguments: Sequence[str], *, output: Path, on_message: Callable[..., None], **_: Any
    ) -> Outcome:
        last: dict[str, Any] = {}

        def send(self: Channel, kind: str, **values: Any) -> None:
            message = json.loads(json.dumps({"kind": kind, **values}))
            last.update(message) if kind in ("result", "failure") else on_message(message)

        monkeypatch.setattr(Channel, "send", send)
        output.touch()
        return _outcome(entry.main(list(arguments)), last, False, None, 0.0, output)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(conduct, "run_child", in_process)
    monkeypatch.setattr(run, "CODE", code_version())
    monkeypatch.setattr(device, "configure", lambda *_, **__: {"device": "cpu", "intra_threads": 1})

    def type_in(*words: str) -> SimpleNamespace:
        code = main([*words])
        said = capsys.readouterr()
        assert code != 2, said.err  # an exit that says why on stderr alone
        return SimpleNamespace(code=code, said=said.out)

    return type_in


def experiment(folder: Path, arms: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """An experiment of one's own whose grids are these arms, and the overrides that ask for it."""
    (folder / "experiment").mkdir(parents=True)
    grids = [{name: [value] for name, value in arm.items()} for arm in arms]
    options = {**OPTIONS, "name": "div", "sweep": {"grids": grids}}
    (folder / "experiment" / "div.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(options)}")
    return "--config-dir", str(folder), "+experiment=div", "-m", "seed=1", *SMALL


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no option brings about, by the run's label."""
    evaluated, corrected, timed = measured._evaluated, measured._correct, measured._timed

    def evaluate(config: Any, *given: Any) -> dict[str, Any]:
        nan = {"loss/validation_per_token": math.nan} if config.label == "validation" else {}
        return evaluated(config, *given) | nan

    def correct(config: Any, *given: Any) -> dict[str, Any]:
        inf = {"correctness/loss_change_padding_longer": math.inf} if config.label == "probe" else {}
        return corrected(config, *given) | inf

    def time(config: Any, step: Any, *given: Any) -> Any:
        weights = step.variables[0]
        weights.assign(np.full(weights.shape, np.nan))
        return timed(config, step, *given)

    for name, function in (("_evaluated", evaluate), ("_correct", correct), ("_timed", time)):
        monkeypatch.setattr(measured, name, function)


def _either(why: str) -> str:
    """Whether a loss is NaN or infinite depends on the CPU."""
    return re.sub(r"is (nan|inf)\b", "is no number", why)


@pytest.mark.slow  # quick: a single run below; tests/training tells of each place where a number is looked at
def test_every_kind_of_divergence_is_a_failed_run(typed, poisoned, tmp_path: Path) -> None:
    words = experiment(
        tmp_path / "conf", [{"optimizer.learning_rate": 0.5}, *(arm for arm, _ in KINDS.values())]
    )
    done = typed(*words)
    assert done.code == 1
    tracker = Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    runs = frame_of(tracker.runs("div"))
    jobs = runs[runs["tags.workbench.kind"] == "run"].set_index("run_id")
    assert jobs["status"].value_counts().to_dict() == {"FAILED": len(KINDS), "FINISHED": 1}
    (good,) = jobs.index[jobs["status"] == "FINISHED"]
    failed = jobs.drop(index=good)
    closing = [line for line in done.said.splitlines() if line.startswith("failed: ")]
    said = sorted(line.partition("): diverged at ")[2] for line in closing)
    assert sorted(map(_either, said)) == sorted(_either(why) for _, why in KINDS.values())
    assert all(
        any(line.startswith(f"failed: {arm}, block 1") for line in closing) for arm in failed[f"tags.{ARM}"]
    )
    final = [name for name in failed if name.startswith("metrics.") and name not in LOGGED]
    assert failed[final].isna().all(axis=None)
    assert (failed["tags.workbench.diverged"] == "true").all()
    for metric in ("loss/step", "loss/train_objective", "accuracy/validation_per_token"):
        for way in ("ASC", "DESC"):
            by = [f"metrics.`{metric}` {way}"]
            order = mlflow.search_runs(["1"], "tags.`workbench.kind` = 'run'", order_by=by)
            assert order["run_id"].iloc[0] == good, by
    page = next((tmp_path / "mlruns/hydra/div").glob("*/report/report.md")).read_text()
    table = page.partition("## Runs")[2].partition("## ")[0]
    assert table.count(" | 0 | ") == len(KINDS)
    assert table.count(" | 1 | ") == 1
    assert page.count("diverged at step") == len(KINDS)

    again = typed(*words, "workbench.resume=true")
    assert again.code == 1
    assert "1 job had finished, 11 diverged, which would only come again; it is judged again" in again.said
    assert again.said.count("failed: ") == len(KINDS)
    assert len(tracker.runs("div")) == len(runs)


def test_a_single_run_that_diverges_says_so_and_ends_in_1(typed, tmp_path: Path) -> None:
    options = [f"{group}.{name}={value}" for group, of in OPTIONS.items() for name, value in of.items()]
    done = typed(*SMALL, *options, "optimizer.learning_rate=1e38")
    assert done.code == 1
    found = re.search(r"diverged at step 2: its loss is (nan|inf)\n", done.said)  # which, depends on the CPU
    assert found, done.said
    tracker = Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (one,) = tracker.runs("runs")
    assert one.status == "FAILED"
    assert np.isnan(tracker.history(one.run_id, "loss/step")[-1][1])
    assert one.error == f"diverged at step 2: its loss is {found[1]}"


@pytest.mark.slow  # quick: the single run above and tests/training
def test_the_curves_of_a_run_that_diverges_when_evaluated_close_with_no_number(
    typed, poisoned, tmp_path: Path
) -> None:
    options = [f"{group}.{name}={value}" for group, of in OPTIONS.items() for name, value in of.items()]
    done = typed(*SMALL, *options, "label=validation", "training.epochs=2", "training.log_every=3")
    assert done.code == 1
    assert done.said.count("step ") == 3 + 1, "a line for each loss that was logged on the way, and the error"
    tracker = Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (one,) = tracker.runs("runs")
    for name, steps in (
        ("loss/step", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("loss/validation_epoch", [4, 8]),
        ("accuracy/validation_epoch", [4, 8]),
    ):
        history = tracker.history(one.run_id, name)
        assert [step for step, _ in history] == [*steps, 9], name
        assert np.isfinite([value for _, value in history[:-1]]).all()
        assert np.isnan(history[-1][1])
        assert name not in one.metrics, "MLflow ranks it by its last value"
