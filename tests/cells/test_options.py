"""Every option of every public cell, wrapper and layer has an effect, or is refused: one without fails here."""

import functools
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, WRAPPERS
from workbench.rnn import PackedRNN, dynamic_rnn
from workbench.rnn.packing import tiles

INPUTS = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32") * 3
STEP = {
    "activation": "relu",
    "kernel_initializer": "ones",
    "recurrent_initializer": "ones",
    "bias_initializer": "ones",
}
LSTM = {"use_peepholes": True, "cell_clip": 0.1, "num_proj": 2, "forget_bias": 3.0, "proj_clip": 0.01}
GRID = {"feature_size": 2, "frequency_skip": 1, "groups": [[0, 2], [2, 4]], "use_peepholes": True}
ALL: dict[str, object] = {
    **STEP,
    **LSTM,
    **GRID,
    "gate_bias": -3.0,
    "reset_after": True,
    "share_weights": True,
}
ALL |= {
    "couple_gates": True,
    "allow_unseen": True,
    "backward_slice_offset": 1,
    "norm_gain": 2.0,
    "norm_shift": 1.0,
}
ALL |= {
    "epsilon": 1.0,
    "dropout_keep_prob": 0.5,
    "seed": 7,
    "use_bias": True,
    "attn_length": 3,
    "attn_size": 2,
}
ALL |= {
    "attn_vec_size": 2,
    "input_size": 2,
    "input_keep_prob": 0.5,
    "state_keep_prob": 0.5,
    "output_keep_prob": 0.5,
}
ALL |= {"variational": True, "units": 4}
# What an option needs beside it to act.
BESIDE = {
    "proj_clip": {"num_proj": 2},
    "frequency_skip": {"feature_size": 2},
    "variational": {"output_keep_prob": 0.5, "seed": 1},
    ("NASCell", "bias_initializer"): {"use_bias": True},
    ("DropoutWrapper", "seed"): {"output_keep_prob": 0.5},
    ("LayerNormLSTMCell", "seed"): {"dropout_keep_prob": 0.5},
    "allow_unseen": {"feature_size": 3},
}
INSIDE = ("cell", "cells")  # not an option: what is wrapped


def options_of(kind):
    found = {}
    for parent in kind.__mro__:
        if parent.__module__.startswith("workbench") and "__init__" in vars(parent):
            found |= {
                name: parameter
                for name, parameter in inspect.signature(parent.__init__).parameters.items()
                if name != "self" and parameter.kind is not parameter.VAR_KEYWORD and name not in INSIDE
            }
    return sorted(found)


KINDS = {**CELLS, **WRAPPERS}
CASES = [(name, option) for name, kind in KINDS.items() for option in options_of(kind)]


def make(name, options):
    kind = KINDS[name]
    if name == "multi":
        one = CELLS["gru"](4)
        return kind([one, one] if options.get("share_weights") else [one], **options)
    if name in WRAPPERS:
        needs = {"attn_length": 2} if name == "attention" else {}
        return kind(CELLS["gru"](4), **{**needs, **options})
    return kind(**{"units": 3, **options})


def seen(name, options):
    """All that a cell shows of itself: its weights at the start, and what it computes; or the refusal."""
    keras.utils.set_random_seed(1)
    try:
        cell = make(name, options)
        results = [dynamic_rnn(cell, INPUTS, training=way) for way in (False, True)]
    except ValueError as error:
        return str(error)
    return [np.asarray(x) for x in (*cell.get_weights(), *tf.nest.flatten(results))]


@functools.cache
def without(name, options):
    """What most options of a cell are held against."""
    return seen(name, dict(options))


def differ(one, other):
    if isinstance(one, str) or isinstance(other, str):
        return one is not other
    return len(one) != len(other) or not all(map(np.array_equal, one, other))


@pytest.mark.parametrize(("name", "option"), CASES)
def test_of_a_cell(name, option):
    beside = BESIDE.get((KINDS[name].__name__, option), BESIDE.get(option, {}))
    beside = {key: value for key, value in beside.items() if key in options_of(KINDS[name])}
    assert differ(seen(name, {**beside, option: ALL[option]}), without(name, tuple(beside.items())))


@pytest.mark.parametrize("name", CELLS)
def test_an_activity_regularizer_belongs_to_the_layer(name):
    with pytest.raises(ValueError, match=r"activity_regularizer is no option of .*: .* give it to PackedRNN"):
        CELLS[name](3, activity_regularizer="l2")


def test_a_bias_initializer_without_a_bias_is_refused():
    for name in ("nas", "layer_norm_lstm"):
        with pytest.raises(ValueError, match="bias_initializer"):
            CELLS[name](3, bias_initializer="ones")


@pytest.mark.parametrize("name", ["grid_lstm", "bidirectional_grid_lstm"])
def test_a_forget_bias_without_a_forget_gate_is_refused(name):
    with pytest.raises(ValueError, match=r"forget_bias=0\.0 does nothing with couple_gates=True"):
        CELLS[name](3, couple_gates=True, forget_bias=0.0)


def packed(**options):
    keras.utils.set_random_seed(1)
    layer = PackedRNN(CELLS["gru"](3), **options)
    run = tf.function(lambda: layer(INPUTS), autograph=False).get_concrete_function()
    ops = sorted(op.type for op in run.graph.get_operations())
    return [np.asarray(x) for x in tf.nest.flatten(run())], ops


PLAIN = {"kernel": "plain"}  # which XLA does not compile
OF_THE_LAYER = {
    "return_sequences": (PLAIN, True),
    "return_state": (PLAIN, True),
    "go_backwards": (PLAIN, True),
    "output_order": ({**PLAIN, "go_backwards": True, "return_sequences": True}, "steps"),
    "kernel": ({}, "masked"),
    "batch_size": ({}, 64),
    "chains": ({"batch_size": 64}, 1),
}


def test_the_layers_options_are_all_here():
    assert sorted([*OF_THE_LAYER, "stateful", "unroll_steps"]) == options_of(PackedRNN)


def test_a_stateful_layer_goes_on():
    inputs, same = tf.ones([2, 3, 4]), {}
    for stateful in (False, True):
        layer = PackedRNN(CELLS["lstm"](2), stateful=stateful, kernel="plain")
        same[stateful] = np.array_equal(layer(inputs), layer(inputs))
    assert same == {False: True, True: False}


@pytest.mark.parametrize("steps", [1, 4])
def test_the_steps_a_turn_reach_what_is_compiled(monkeypatch, steps):
    """They show inside XLA only (tests/rnn/test_tiles.py looks there)."""

    class ReachedError(Exception):
        pass

    seen = []

    def tile_of(cell, weights, features, together):
        seen.append(together)
        raise ReachedError

    monkeypatch.setattr(tiles, "tile_of", tile_of)
    with pytest.raises(ReachedError):
        PackedRNN(CELLS["lstm"](2), kernel="tiles", unroll_steps=steps)(tf.zeros([2, 3, 4]))
    assert seen == [steps]


@pytest.mark.parametrize(
    "option",
    [
        pytest.param(one, marks=pytest.mark.slow) if one in ("batch_size", "chains", "kernel") else one
        for one in OF_THE_LAYER
    ],
)
def test_of_the_layer(option):
    beside, value = OF_THE_LAYER[option]
    (numbers, ops), (others, other_ops) = packed(**beside), packed(**beside, **{option: value})
    assert differ(numbers, others) or ops != other_ops
