"""A cell by its name, wrapped: what the guide composed, and anyone's class."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from workbench.cells import CELLS
from workbench.cells.composition import compose_cell
from workbench.cells.wrappers import AttentionWrapper, DropoutWrapper, MultiRNNCell, ResidualWrapper
from workbench.options.cell import GRU, LSTM, SCHEMAS, Custom
from workbench.rnn import RNNS


def test_the_configuration_offers_every_cell_of_the_table() -> None:
    assert set(SCHEMAS) == set(CELLS) | {"custom"}


def test_the_guides_own_composition_has_four_cells_of_its_own() -> None:
    made = compose_cell(LSTM(units=64, layers=4, output_keep_prob=0.5))
    assert isinstance(made, MultiRNNCell)
    assert all(isinstance(layer, DropoutWrapper) for layer in made.cells)
    assert len({id(layer.cell) for layer in made.cells}) == 4


def test_wrappers_stand_from_the_inside_out() -> None:
    made = compose_cell(GRU(units=5, residual=True, input_keep_prob=0.9, attention_length=3))
    assert isinstance(made, AttentionWrapper)
    assert isinstance(made.cell, DropoutWrapper)
    assert isinstance(made.cell.cell, ResidualWrapper)


def test_layers_draw_different_noise() -> None:
    made = compose_cell(GRU(units=5, layers=2, output_keep_prob=0.5), seed=7)
    assert made.cells[0].seed != made.cells[1].seed


def test_a_custom_class_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours_elsewhere.py").write_text(
        "import keras\n\nclass Mine(keras.layers.GRUCell):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    made = compose_cell(Custom(units=4, target="ours_elsewhere:Mine", options={"reset_after": False}))
    assert isinstance(made, keras.layers.GRUCell)
    assert not made.reset_after
    outputs, _ = RNNS["dynamic"](made, np.ones((2, 3, 5), "float32"), np.array([1, 3]))
    assert np.all(outputs[0, 1:] == 0)
    assert np.any(outputs[1] != 0)
    sys.modules.pop("ours_elsewhere")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (None, "must be module:Class"),
        ("json", "must be module:Class"),
        ("no_such_module_here:Cell", "cannot import no_such_module_here"),
        ("json:Cell", "json has no Cell"),
    ],
)
def test_a_class_that_is_not_there_is_named(target: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compose_cell(Custom(units=4, target=target))


def test_options_that_a_class_does_not_take_are_named() -> None:
    with pytest.raises(ValueError, match=r"cell=custom with units=4 .*wrong"):
        compose_cell(Custom(units=4, target="keras.layers:GRUCell", options={"wrong": 1}))


def test_what_a_class_makes_must_be_a_cell() -> None:
    with pytest.raises(TypeError, match=r"cell=custom needs a cell with Keras' cell contract .*not <Dense"):
        compose_cell(Custom(units=4, target="keras.layers:Dense"))
