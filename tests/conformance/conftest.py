"""The cells of the conformance suite: every cell of CELLS and wrapper of WRAPPERS, and two of a third party's."""

import functools
import sys
from pathlib import Path

import keras
import pytest

from workbench.cells import CELLS, WRAPPERS
from workbench.cells.composition import compose_cell
from workbench.options.cell import Custom
from workbench.probes.cell_batch import Batch

PEEPHOLES = {"use_peepholes": True}
# What is tried beside a cell's defaults; a cell that is not here is tried with its defaults alone.
VARIANTS = {
    "gru": [{}, {"reset_after": True}],
    "lstm": [{}, {**PEEPHOLES, "cell_clip": 0.3, "num_proj": 4, "proj_clip": 0.3, "forget_bias": 0.5}],
    "lstm_block": [{}, {**PEEPHOLES, "cell_clip": 2.0}],
    "coupled_lstm": [{}, {**PEEPHOLES, "num_proj": 3, "proj_clip": 0.2}],
    "nas": [{}, {"use_bias": True, "num_proj": 3}],
    "time_freq_lstm": [
        {},
        {**PEEPHOLES, "feature_size": 3, "frequency_skip": 2, "allow_unseen": True, "cell_clip": 0.4},
    ],
    "grid_lstm": [
        {},
        {**PEEPHOLES, "feature_size": 3, "share_weights": True, "couple_gates": True},
        {**PEEPHOLES, "feature_size": 2, "groups": [[0, 4], [2, 6]], "cell_clip": 0.4},
    ],
    "bidirectional_grid_lstm": [{}, {"feature_size": 3, "backward_slice_offset": -1}],
}
DTYPES = {"lstm_block": "float32", "gru_block": "float32"}  # where float64 cannot be
WRAPPED = {
    "multi": lambda: WRAPPERS["multi"]([cell("lstm"), cell("gru")]),
    "dropout": lambda: WRAPPERS["dropout"](cell("lstm"), output_keep_prob=0.5, variational=True, seed=1),
    "residual": lambda: WRAPPERS["residual"](cell("ugrnn", units=6)),
    "attention": lambda: WRAPPERS["attention"](cell("lstm"), 2, attn_size=3, attn_vec_size=4),
    "keras": lambda: WRAPPERS["multi"]([keras.layers.GRUCell(4, dtype="float64"), cell("lstm")]),
    "all": lambda: WRAPPERS["attention"](
        WRAPPERS["multi"]([WRAPPERS["dropout"](cell("lstm")), WRAPPERS["residual"](cell("gru", units=4))]), 2
    ),
}


def cell(name, **options):
    return CELLS[name](**{"units": 4, "dtype": DTYPES.get(name, "float64"), **options})


def third_party(name):
    """By the name that `cell=custom cell.target=...` takes; their module is not on the path by itself."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        return compose_cell(Custom(units=4, target=f"third_party:{name}"), dtype="float64")
    finally:
        sys.path.pop(0)


OF_OTHERS = {
    "third party, one step": lambda: third_party("MinimalGatedUnit"),
    "third party, call only": lambda: third_party("ClockedCell"),
}
CASES = (
    {
        f"{name}-{i}": lambda name=name, options=options: cell(name, **options)
        for name in CELLS
        for i, options in enumerate(VARIANTS.get(name, [{}]))
    }
    | WRAPPED
    | OF_OTHERS
)


@functools.cache
def batch_of(name):
    """No check changes its batch, so one serves all."""
    return Batch(CASES[name]())


@pytest.fixture(params=CASES)
def batch(request):
    return batch_of(request.param)


@pytest.fixture
def tables():
    """What is tried, by the name of its table."""
    return {"VARIANTS": VARIANTS, "DTYPES": DTYPES, "WRAPPED": WRAPPED}
