"""`import workbench`: what it names, what that costs, and where its version stands."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import workbench

ROOT = Path(__file__).resolve().parents[2]
NAMED = (
    "PackedRNN accelerate acceleration_of restore check assert_padding_invariant check_cell load_tf1_weights "
    "judge_table"
)


def test_what_is_named_is_there_and_is_that_of_its_room():
    assert set(workbench.__all__) == set(NAMED.split()) <= set(dir(workbench))
    from workbench.cells import load_tf1_weights
    from workbench.claims import judge_table
    from workbench.probes import assert_padding_invariant
    from workbench.rnn import PackedRNN, accelerate

    assert workbench.accelerate is accelerate
    assert workbench.PackedRNN is PackedRNN
    assert workbench.load_tf1_weights is load_tf1_weights
    assert workbench.judge_table is judge_table
    assert workbench.assert_padding_invariant is assert_padding_invariant


def test_the_check_is_called_whether_its_command_was_imported_or_not():
    assert importlib.import_module("workbench.check") is workbench.check
    found = workbench.check(lambda ids, lengths: ids * 0, np.array([[1, 2, 3], [4, 0, 0]]), [3, 1])
    assert list(found) == []


def test_what_is_not_there_is_told_with_what_is():
    with pytest.raises(AttributeError, match="no attribute 'accelarate'; it has PackedRNN, accelerate,"):
        workbench.accelarate  # noqa: B018


def test_importing_it_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import workbench; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"workbench", *sys.stdlib_module_names}


def test_one_version_and_types_for_others():
    assert (ROOT / "workbench" / "py.typed").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == workbench.__version__ == "0.2.0"
    assert f"\nversion: {workbench.__version__}\n" in (ROOT / "CITATION.cff").read_text()
