"""Every cell, variant and wrapper of the suite (conftest.py) through every check and every runner."""

import pytest

from workbench.cells import CELLS, WRAPPERS
from workbench.probes.cell_checks import CHECKS, RUNNER_CHECKS
from workbench.rnn import RNNS
from workbench.rnn.table import EVERYWHERE

# Keras' own conversion of a variable to an array, with NumPy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


@pytest.mark.covering(1)
@pytest.mark.parametrize("check", CHECKS)
def test_cell(batch, check):
    CHECKS[check](batch)


# Each check, cell and runner once: that every cell in every runner gives what a loop does, whatever its padding and
# company, is held by test_properties.py.
@pytest.mark.covering(1, 1)
@pytest.mark.parametrize("rnn", EVERYWHERE)
@pytest.mark.parametrize("check", [name for name in RUNNER_CHECKS if name != "graph"])
def test_cell_in_runner(batch, check, rnn):
    RUNNER_CHECKS[check](batch, rnn, RNNS[rnn])


# tests/rnn/test_traced.py traces each cell in each runner; this is the check itself, on the deepest nest, and on
# what is not of this house.
@pytest.mark.parametrize(
    ("batch", "rnn"),
    [
        pytest.param("all", "dynamic", marks=pytest.mark.slow),
        ("gru-0", "static"),
        pytest.param("third party, one step", "packed", marks=pytest.mark.slow),
        pytest.param("third party, call only", "packed", marks=pytest.mark.slow),
    ],
    indirect=["batch"],
)
def test_cell_in_a_graph(batch, rnn):
    RUNNER_CHECKS["graph"](batch, rnn, RNNS[rnn])


def test_the_tables_are_covered(tables):
    assert set(tables["VARIANTS"]) | set(tables["DTYPES"]) <= set(CELLS)
    assert set(WRAPPERS) <= set(tables["WRAPPED"])
