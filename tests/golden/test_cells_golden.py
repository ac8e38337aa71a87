"""Every golden case of TensorFlow 1.15: values, final states and gradients, through the loader of its
weights."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS, load_tf1_weights, tf1_states, tf1_variables, weight_paths
from workbench.rnn import RNNS, bidirectional_rnn, fused_rnn, kernels_of, packed_rnn
from workbench.rnn.packing import kernel
from workbench.rnn.table import EVERYWHERE

# Ours for each of TF 1.15's.
RUNNERS = {
    "static": "static",
    "dynamic": "dynamic",
    "fused": "fused",
    "bidirectional_dynamic": "dynamic",
    "static_bidirectional": "static",
}
ROOT = Path(__file__).parents[2]
OWN = Path(__file__).parent / "data"
FOLDER = Path(os.environ.get("WORKBENCH_GOLDEN_DIR", OWN))
CASES = sorted(path.stem for path in FOLDER.glob("*__*.npz"))
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
# Files that are no cases of a cell, and who holds them.
OTHERS = {
    "losses.npz": "tests/golden/test_losses_golden.py",
    "tagging.tfrecord": "tests/golden_data/test_golden_data.py",
    "tagging.tfrecord.gz": "tests/golden_data/test_golden_data.py",
    "tagging_expected.npz": "tests/golden_data/test_golden_data.py",
    "batch_padding.npz": "tests/golden_data/test_golden_data.py",
}
# Names of the tables that TF 1.15 gave no numbers of, and who holds them.
WITHOUT_CASE = {
    "bidirectional_grid_lstm": "tests/cells/test_frequency_cells.py",  # from two grid LSTMs
    "dropout": "tests/cells/test_wrappers.py",  # random
}
# Tracing takes most of the time, and conformance holds graphs against eager for each cell; so a few of each runner.
TRACED = {
    "lstm_full__dynamic__len",
    "lstm_full__dynamic__nolen",
    "gru__static__len",
    "gru__bidirectional_dynamic__len",
    "multi_residual__dynamic__len",
    "lstm_block_peephole__fused__len",
}
# Packed cases inside a graph, so by XLA: one of each family of cells in one-step form; each compiles for seconds.
COMPILED = {
    "basic_rnn__dynamic__nolen",
    "coupled_lstm_proj__dynamic__len",
    "grid_lstm_peephole__dynamic__len",
    "gru__bidirectional_dynamic__len",
    "layer_norm_lstm__dynamic__len",
    "lstm_full__dynamic__len",
    "nas__dynamic__len",
    "ugrnn__dynamic__len",
}
SAME_AS = {"basic_lstm": "lstm"}
OPTIONS = {
    "num_units": "units",
    "use_peephole": "use_peepholes",
    "share_time_frequency_weights": "share_weights",
    "couple_input_forget_gates": "couple_gates",
    "use_biases": "use_bias",
}
GROUPS = ("start_freqindex_list", "end_freqindex_list")
IMPLIED = {"num_frequency_blocks", "state_is_tuple", *GROUPS}  # by our cell


def make_cell(spec, dtype):
    """One of our cells for a case's spec."""
    given = spec.get("kwargs", {})
    options = {OPTIONS.get(key, key): value for key, value in given.items() if key not in IMPLIED}
    if given.get(GROUPS[0]):
        options["groups"] = list(zip(*(given[key] for key in GROUPS), strict=True))
    if "cells" in spec:
        return WRAPPERS[spec["cell"]]([make_cell(inner, dtype) for inner in spec["cells"]], **options)
    if "inner" in spec:
        return WRAPPERS[spec["cell"]](make_cell(spec["inner"], dtype), **options)
    return CELLS[SAME_AS.get(spec["cell"], spec["cell"])](dtype=dtype, **options)


class Case:
    """A case's numbers, and ours for them by a runner."""

    def __init__(self, name, rnn):
        with np.load(FOLDER / f"{name}.npz") as data:
            self.data = dict(data)
        self.meta = json.loads(str(self.data["meta"]))
        self.lengths = self.data["lengths"] if self.meta["sequence_length"] else None
        self.rnn = rnn
        scopes = [None]
        if "bidirectional" in self.meta["runner"]:
            scopes = ["bidirectional_rnn/fw", "bidirectional_rnn/bw"]
        self.scopes = scopes
        self.cells = [make_cell(self.meta["spec"], self.meta["dtype"]) for _ in scopes]
        for cell, scope in zip(self.cells, scopes, strict=True):
            cell.build((None, self.data["inputs"].shape[-1]))
            load_tf1_weights(cell, self.part("weights"), scope=scope)

    def part(self, key):
        """What lies under `key/`, by name."""
        return {k.removeprefix(key + "/"): v for k, v in self.data.items() if k.startswith(key + "/")}

    def flat(self, key):
        """`key/0`, `key/1`, ... in order."""
        return [self.data[f"{key}/{i}"] for i in range(len(self.part(key)))]

    def run(self, inputs):
        """Our outputs and states, flat, in TF 1.15's order."""
        if len(self.cells) == 1:
            outputs, state = (RNNS | {"fused": fused_rnn})[self.rnn](self.cells[0], inputs, self.lengths)
            return tf.nest.flatten(outputs), tf1_states(self.cells[0], state)
        outputs, states = bidirectional_rnn(*self.cells, inputs, self.lengths, rnn=self.rnn)
        return list(outputs), [
            s for c, state in zip(self.cells, states, strict=True) for s in tf1_states(c, state)
        ]


def pairs():
    """Each case with the runner that it has in TF 1.15, and with another of those that run everywhere, by turns.

    Quick is the first: that the runners give the same is held by tests/conformance for each cell, that XLA does by
    tests/rnn/test_packed_numbers.py.
    """
    for number, case in enumerate(CASES):
        own = RUNNERS[case.split("__")[1]]
        yield case, own, case in TRACED
        others = [rnn for rnn in EVERYWHERE if rnn != own]
        other = "packed" if case in COMPILED else others[number % len(others)]
        yield pytest.param(case, other, case in COMPILED, marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "rnn", "traced"), [*pairs()])
def test_case(name, rnn, traced):
    hold_case(name, rnn, traced)


ON_TILES = [case for case in CASES if "__fused__" not in case]
if os.environ.get("GOLDEN_ON_TILES") != "all":  # each compiles for itself: CI has time for one in four
    ON_TILES = ON_TILES[::4]


@pytest.mark.slow  # quick: tests/rnn/test_packed_numbers.py
@pytest.mark.parametrize("name", ON_TILES)
def test_case_as_on_a_gpu(name, monkeypatch):
    """Packed by what it takes where there is one: the kernel `tiles`, for cells in one-step form."""
    monkeypatch.setattr(kernel, "on_gpu", lambda: True)
    monkeypatch.setitem(packed_rnn.__kwdefaults__, "unroll_steps", 1)  # XLA for a CPU takes long over more
    cells = hold_case(name, "packed", traced=True).cells
    assert {choice.kernel for cell in cells for choice in kernels_of(cell)} <= {"tiles", "autodiff"}


def hold_case(name, rnn, traced):
    case = Case(name, rnn)
    variables = [{path: v.value for path, v in weight_paths(cell).items()} for cell in case.cells]

    def compute(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, states = case.run(inputs)
            cotangents = [*case.flat("cot_outputs"), *case.flat("cot_state")]
            scalar = tf.add_n(
                [tf.reduce_sum(x * c) for x, c in zip([*outputs, *states], cotangents, strict=True)]
            )
        return outputs, states, tape.gradient(scalar, (inputs, variables))

    if traced:
        compute = tf.function(compute, autograph=False)
    outputs, states, (grad_inputs, grad_weights) = compute(tf.constant(case.data["inputs"]))
    near = {"rtol": TOLERANCE[case.meta["dtype"]], "atol": TOLERANCE[case.meta["dtype"]]}
    for ours, theirs in zip([*outputs, *states], [*case.flat("outputs"), *case.flat("state")], strict=True):
        np.testing.assert_allclose(ours, theirs, **near)
    np.testing.assert_allclose(grad_inputs, case.data["grad_inputs"], **near)
    seen = set()
    for cell, scope, gradients in zip(case.cells, case.scopes, grad_weights, strict=True):
        names = [n for n in case.meta["weights"] if scope is None or n.startswith(scope + "/")]
        for key, gradient in tf1_variables(cell, names, gradients).items():
            np.testing.assert_allclose(gradient, case.data[f"grad_weights/{key}"], err_msg=key, **near)
            seen.add(key)
    assert seen == set(case.meta["weights"])
    return case


def names_in(spec):
    """The names of the cells in a spec, wrappers and wrapped."""
    inner = [*spec.get("cells", []), *([spec["inner"]] if "inner" in spec else [])]
    return {SAME_AS.get(spec["cell"], spec["cell"])}.union(*map(names_in, inner))


def test_no_file_is_left_out():
    """Each is a case, or named in the test that reads it."""
    files = {path.name for folder in (FOLDER, OWN.parent) for path in folder.iterdir()}
    cases = {f"{case}.npz" for case in CASES}
    assert {name for name in files - cases if re.search(r"\.(npz|tfrecord|gz)$", name)} == set(OTHERS)
    for name, test in OTHERS.items():
        assert name in (ROOT / test).read_text()


@pytest.mark.skipif(FOLDER != OWN, reason="WORKBENCH_GOLDEN_DIR may hold any cases")
def test_no_cell_is_left_out():
    found = set()
    for case in CASES:
        with np.load(FOLDER / f"{case}.npz") as data:
            found |= names_in(json.loads(str(data["meta"]))["spec"])
    assert found == {*CELLS, *WRAPPERS} - set(WITHOUT_CASE)
    for name, test in WITHOUT_CASE.items():
        kind = (CELLS | WRAPPERS)[name].__name__
        assert re.search(rf'"{name}"|\b{kind}\b', (ROOT / test).read_text())
    assert set(CASES) >= TRACED | COMPILED
