"""Where a cell's name stands in the code: adding one touches the files that CONTRIBUTING lists, and no other."""

import re
from pathlib import Path

import pytest

import workbench
from workbench.cells import CELLS

ROOT = Path(workbench.__file__).parent
CODE = {
    path.relative_to(ROOT).as_posix(): re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
    for path in ROOT.rglob("*.py")
    if path.name != "former_names.py"  # what old records call them
}
# The table, the schema, the names in TF 1.15.
FOR_EVERY_CELL = {"cells/__init__.py", "options/cell.py", "cells/tf1_layouts.py", "cells/tf1_names.py"}
BESIDE = {
    "config/rules.py": {"lstm", "gru", "lstm_block", "gru_block"},  # what cuDNN and the fused ops cannot do
    "rnn/cudnn.py": {"lstm", "gru"},  # what cuDNN has
    "cells/keras_step.py": {"lstm", "gru", "basic_rnn"},  # what Keras has
}


def file_of(kind):
    return Path(kind.__module__.replace(".", "/")).relative_to("workbench").as_posix() + ".py"


@pytest.mark.parametrize("name", CELLS)
def test_no_other_room_knows_which_cell_it_has(name):
    kind = CELLS[name]
    names = re.compile(rf'(?<!keras\.layers\.)\b{kind.__name__}\b|"{name}"')
    found = {file for file, text in CODE.items() if names.search(text)}
    families = {file_of(other) for other in CELLS.values() if issubclass(other, kind)}
    beside = {file for file, cells in BESIDE.items() if name in cells}
    assert {file_of(kind), "cells/__init__.py", "options/cell.py"} | beside <= found
    assert found <= FOR_EVERY_CELL | families | beside
