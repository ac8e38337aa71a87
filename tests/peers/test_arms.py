"""Every arm does the same training step: outputs and gradients equal those of the float64 loop."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.peers import arms
from experiments.peers.ceiling import row_counts, steps_of
from experiments.peers.check import require_equal
from experiments.peers.settings import Setting
from experiments.peers.work import batch_of
from experiments.peers.worker import _without_more_padding

LENGTHS = np.array([5, 2, 3], "int32")
LSTM, GRU, BEFORE = (Setting(cell, 3, 4, "equal") for cell in ("lstm", "gru", "gru_before"))
BOTH = Setting("lstm", 3, 4, "equal", both=True)
OURS = [
    *((LSTM, arm) for arm in ("packed", "dynamic_8", "static", "keras", "keras_layer", "v1_dynamic", "v1_static")),
    *((GRU, arm) for arm in ("packed", "keras_layer")),
    *((BEFORE, arm) for arm in ("packed", "keras_layer")),
    *((BOTH, arm) for arm in ("packed", "keras_layer")),
    (Setting("lstm_peephole_proj", 3, 4, "equal"), "packed"),
]  # fmt: skip


def check(arm, setting: Setting) -> None:
    reference = arms.reference(setting)
    batch = batch_of(setting, LENGTHS, reference.outputs)
    expected = reference.result(reference.step(reference.prepare(batch)))
    found = arm.result(arm.step(arm.prepare(batch)))
    found = _without_more_padding(found, int(LENGTHS.max()))
    assert require_equal("arm", found, expected, batch, 1e-5) > 0, "float32 cannot equal float64"
    assert len(expected.gradients) == len(found.gradients)


@pytest.mark.parametrize(
    ("setting", "name"),
    [one if one == (LSTM, "dynamic_8") else pytest.param(*one, marks=pytest.mark.slow) for one in OURS],
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
def test_an_arm_computes_what_the_float64_loop_does(setting, name):
    check(arms.make_arm(name, setting, longest=7), setting)


@pytest.mark.parametrize("name", ["torch_packed", "torch_padded"])
@pytest.mark.parametrize("setting", [LSTM, GRU, BOTH], ids=lambda setting: setting.name)
def test_pytorch_computes_it_too(setting, name):
    pytest.importorskip("torch", reason="PyTorch is an extra of the benchmark: pip install torch")
    from experiments.peers import torch_arms

    if setting.both and name == "torch_padded":
        with pytest.raises(AssertionError, match="is off by"):  # it runs backward over the padding first
            check(torch_arms.make_arm(name, setting), setting)
    else:
        check(torch_arms.make_arm(name, setting), setting)


def test_the_ceiling_computes_each_running_row_and_few_others():
    lengths = np.random.default_rng(0).geometric(1 / 20, 64)
    rows = row_counts(32)
    steps = steps_of(lengths, rows)
    computed = int((steps * rows).sum())
    assert lengths.sum() <= computed < 1.35 * lengths.sum()
    ordered = sorted(lengths, reverse=True)
    assert steps.sum(1).tolist() == [ordered[0], ordered[1]], (
        "a chain takes as many steps as its longest example"
    )


@pytest.mark.parametrize("name", ["ceiling", "ceiling_plain"])
def test_the_ceiling_runs_on_batches_of_any_lengths(name):
    arm = arms.make_arm(name, LSTM)
    for lengths in (LENGTHS, np.array([1, 1, 9], "int32")):
        *_, d_inputs = arm.step(arm.prepare(batch_of(LSTM, lengths, 4)))
        assert d_inputs.shape == (lengths.sum(), 64)
