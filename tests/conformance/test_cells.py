"""Every cell of CELLS, in every variant below, through every check and every runner of the tables."""

import pytest

from workbench.cells import CELLS
from workbench.probes.cell_checks import CHECKS, RUNNER_CHECKS, Batch
from workbench.rnn import RNNS

# Keras' own conversion of a variable to an array, with NumPy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)

# What is tried beside a cell's defaults; a cell that is not here is tried with units=5 alone.
VARIANTS = {
    "gru": [{}, {"reset_after": True}],
    "lstm_block": [{}, {"use_peepholes": True, "cell_clip": 2.0}],
    "coupled_lstm": [{}, {"use_peepholes": True, "num_proj": 3, "proj_clip": 0.2}],
    "time_freq_lstm": [
        {},
        {"units": 3, "feature_size": 2, "frequency_skip": 2, "use_peepholes": True, "cell_clip": 0.4},
        {"units": 3, "feature_size": 3, "frequency_skip": 1},
    ],
    "grid_lstm": [
        {},
        {"units": 3, "feature_size": 2, "use_peepholes": True, "cell_clip": 0.4},
        {"units": 3, "feature_size": 2, "use_peepholes": True, "share_weights": True, "couple_gates": True},
        {"units": 3, "feature_size": 2, "frequency_skip": 1, "groups": [[0, 4], [2, 6]]},
    ],
    "bidirectional_grid_lstm": [
        {},
        {"units": 2, "feature_size": 2, "backward_slice_offset": 1, "use_peepholes": True},
        {"units": 2, "feature_size": 2, "backward_slice_offset": -1},
    ],
    "nas": [{}, {"use_bias": True, "num_proj": 3}],
    "lstm": [
        {},
        {"use_peepholes": True, "cell_clip": 0.3, "num_proj": 4, "proj_clip": 0.3, "forget_bias": 0.5},
    ],
}
DTYPES = {"lstm_block": "float32", "gru_block": "float32"}  # where float64 cannot be
CASES = {
    f"{name}-{i}": (name, options) for name in CELLS for i, options in enumerate(VARIANTS.get(name, [{}]))
}


@pytest.fixture(params=CASES)
def batch(request):
    name, options = CASES[request.param]
    return Batch(CELLS[name](**{"units": 5, "dtype": DTYPES.get(name, "float64"), **options}))


@pytest.mark.parametrize("check", CHECKS)
def test_cell(batch, check):
    CHECKS[check](batch)


@pytest.mark.parametrize("rnn", RNNS)
@pytest.mark.parametrize("check", RUNNER_CHECKS)
def test_cell_in_runner(batch, check, rnn):
    RUNNER_CHECKS[check](batch, rnn, RNNS[rnn])


def test_variants_are_of_known_cells():
    assert set(VARIANTS) | set(DTYPES) <= set(CELLS)
