"""An option's default stands in workbench/options; where a public constructor has one too, it is the same value."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

import keras
import pytest

from workbench.cells import CELLS, WRAPPERS
from workbench.data.padding import PADDINGS
from workbench.losses import LOSSES, MASKS
from workbench.options import cell, data, loss, measure, model, optimizer, padding, rnn, training
from workbench.record import METRICS
from workbench.rnn import RNNS, PackedRNN
from workbench.training import OPTIMIZERS

ROOMS = {
    "cells": [cell],
    "rnn": [rnn],
    "losses": [loss],
    "model": [model, cell, rnn],
    "data": [data, padding],
    "training": [training, optimizer, loss],
    "measure": [measure, training],
    "probes": [loss, measure],
}
"""The options that a room is handed."""
APART = {
    (
        "data.convert.from_python.write_dataset",
        "shards",
    ): 1,  # a person's own data set, written as it is given: in one file,
    ("data.convert.schema.Schema.__init__", "min_count"): 1,
    ("data.sources.Corpus.__init__", "min_count"): 1,  # with every symbol that it has
    ("training.scores.F1.__init__", "average"): "macro",  # scikit-learn's word, over classes
}
UNSAID = (inspect.Parameter.empty, None)
"""No default, or one that says that nothing was said: a checkpoint's own, a manifest's own, the model's own."""
NAMES_OF_TF1 = {
    "attn_length": "attention_length",
    "attn_size": "attention_size",
    "attn_vec_size": "attention_vector_size",
}


def defaults(schema: type) -> dict[str, Any]:
    """An option's name -> its default; without the first, which names the variant."""
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(schema)[1:]
    }


def taken(make: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a function, or of a class and its parents here: name -> default."""
    kinds = [kind.__init__ for kind in make.__mro__] if isinstance(make, type) else [make]
    found: dict[str, Any] = {}
    for function in kinds:
        for name, one in inspect.signature(function).parameters.items():
            found.setdefault(name, one.default)
    return found


def differ(make: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Where a default is not the option's: name -> both."""
    both = {name: (value, options[name]) for name, value in taken(make).items() if name in options}
    return {
        name: pair
        for name, pair in both.items()
        if inspect.Parameter.empty not in pair and pair[0] != pair[1]
    }


@pytest.mark.parametrize(
    ("table", "schemas", "beside"),
    [
        (CELLS, cell.SCHEMAS, {"custom"}),
        (RNNS, rnn.SCHEMAS, set()),
        (PADDINGS, padding.SCHEMAS, set()),
        (OPTIMIZERS, optimizer.SCHEMAS, set()),
        (MASKS, loss.SCHEMAS, set()),
    ],
    ids=["cells", "runners", "paddings", "optimizers", "masks"],
)
def test_a_rooms_table_and_its_options_have_the_same_names(
    table: Mapping[str, Any], schemas: Mapping[str, Any], beside: set[str]
) -> None:
    assert set(schemas) == set(table) | beside
    assert {field.name: field.metadata["choices"] for field in fields(loss.Loss)}["average"] == list(LOSSES)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_takes_its_options_with_the_defaults_that_they_have(name: str) -> None:
    options = cell.SCHEMAS[name]()
    assert set(options.own()) <= set(taken(CELLS[name]))
    assert differ(CELLS[name], defaults(type(options))) == {}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_has_the_defaults_of_every_cells_options(name: str) -> None:
    options = {**defaults(cell.Cell), **{old: defaults(cell.Cell)[new] for old, new in NAMES_OF_TF1.items()}}
    assert differ(WRAPPERS[name], options) == {}


@pytest.mark.parametrize("name", RNNS)
def test_a_runner_takes_its_options_with_the_defaults_that_they_have(name: str) -> None:
    options = rnn.SCHEMAS[name]()
    assert set(options.own()) <= set(taken(RNNS[name]))
    assert differ(RNNS[name], defaults(type(options))) == {}


def test_the_layer_has_the_defaults_of_its_runners_options() -> None:
    assert set(rnn.Packed().own()) <= set(taken(PackedRNN))
    assert differ(PackedRNN, defaults(rnn.Packed)) == {}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_takes_its_options_and_none_but_momentum_has_another_default_than_keras(
    name: str,
) -> None:
    options = optimizer.SCHEMAS[name](name)
    assert set(options.own()) <= set(taken(OPTIMIZERS[name]))
    assert set(differ(OPTIMIZERS[name], options.own())) == ({"momentum"} if name == "momentum" else set())


@pytest.mark.parametrize("function", [*PADDINGS.values(), *LOSSES.values(), *MASKS.values()])
def test_a_padding_and_a_loss_have_no_default_of_their_own(function: Callable[..., Any]) -> None:
    assert {value for value in taken(function).values() if value is not inspect.Parameter.empty} <= {None}


def kind_of(value: Any) -> type:
    """What a value is; of another kind than an option's it is no value of it (`vocabulary`: how many, or which)."""
    return float if type(value) is int else type(value)


def functions_of(room: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """All that a room defines and that can be called."""
    package = importlib.import_module(f"workbench.{room}")
    paths = getattr(package, "__path__", [])
    names = [
        package.__name__,
        *(found.name for found in pkgutil.walk_packages(paths, f"{package.__name__}.")),
    ]
    for module in map(importlib.import_module, names):
        for one in vars(module).values():
            if getattr(one, "__module__", None) != module.__name__:
                continue
            members = vars(one).values() if isinstance(one, type) else [one]
            for function in members:
                if inspect.isfunction(function):
                    yield f"{module.__name__.removeprefix('workbench.')}.{function.__qualname__}", function


@pytest.mark.parametrize("room", ROOMS)
def test_no_function_of_a_room_has_another_default_for_an_option_that_it_is_handed(room: str) -> None:
    known: dict[str, list[Any]] = {}
    for group in ROOMS[room]:
        for schema in group.SCHEMAS.values():
            for name, value in defaults(schema).items():
                known.setdefault(name, []).append(value)
    drifted = {
        (where, name): one.default
        for where, function in functions_of(room)
        for name, one in inspect.signature(function).parameters.items()
        if name in known
        and one.default not in (*known[name], *UNSAID)
        and kind_of(one.default) in set(map(kind_of, known[name]))
    }
    assert drifted == {key: value for key, value in APART.items() if key[0].split(".")[0] == room}


def test_a_default_that_drifts_is_found() -> None:
    class Drifted(keras.layers.Layer):
        def __init__(self, units: int, *, forget_bias: float = 0.0) -> None: ...

    assert differ(Drifted, defaults(cell.LSTM)) == {"forget_bias": (0.0, 1.0)}


def test_what_a_metric_needs_is_an_option_of_measure_and_each_that_measures_has_its_own():
    needs = {name: one.needs for name, one in METRICS.items() if one.needs}
    of_measure = {field.name for field in fields(measure.Measure)}
    assert set(needs.values()) == {"timing", "correctness_batches", "reading", "storage"} <= of_measure
    assert {name for name, option in needs.items() if option == "reading"} == {
        "speed/read_examples_per_s",
        "speed/shards_examples_per_s",
    }
    of_probes = {name for name, option in needs.items() if option == "correctness_batches"}
    assert of_probes == {name for name in METRICS if name.startswith("correctness/")}
