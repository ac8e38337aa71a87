"""READMEs, conf/, the code and the results name the same things."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from workbench.config import GROUPS

ROOT = Path(__file__).resolve().parents[2]
TABLE_OF_CELLS = (ROOT / "workbench" / "cells" / "README.md").read_text()
CONF = (ROOT / "conf" / "README.md").read_text()
ROOMS = {"cell": "cells", "rnn": "rnn", "data": "data", "padding": "data"}
"""Groups whose variants stand in the README of a room."""


@pytest.mark.parametrize("group", GROUPS)
def test_the_table_of_groups_lists_every_variant(group: str) -> None:
    (row,) = re.findall(rf"^\| `{group}` \| (.*?) \|", CONF, re.MULTILINE)
    if group in ROOMS:
        place = f"workbench/{ROOMS[group]}/README.md"
        assert row.endswith(f"(../{place})")
        (row,) = re.findall(rf"^\| `{group}` \| (.*?) \|", (ROOT / place).read_text(), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(GROUPS[group])


def test_the_numbers_of_readme_are_those_of_the_results() -> None:
    """Each measured number of the five answers stands in experiments/, with the interval that it has there."""
    section = (ROOT / "README.md").read_text().partition("## Five answers")[2].partition("![")[0]
    results = ("README.md", "peers/results/report.md", "padding_map/results/report.md")
    found = " ".join((ROOT / "experiments" / name).read_text() for name in results)
    said = " ".join(section.split())
    numbers = re.findall(r"\d+\.\d+(?:e-\d+)?(?:x \[[\d., ]+\]|%)?|\d+%", said.replace("95% interval", ""))
    assert len([number for number in numbers if "[" in number]) == 14
    for number in numbers:
        assert number in found or number.replace("x [", " [") in found, number


COST = json.loads((ROOT / "experiments" / "cell_cost" / "results" / "cells.json").read_text())["cells"]
ROWS = {
    name.strip("`"): (paper, options, parameters, ratio)
    for name, paper, options, parameters, ratio in re.findall(
        r"^\| (`\w+`|lstm, [^|]+) \|([^|]*)\|([^|]*)\| ([\d,]+) \| ([\d.]+) \|$",
        TABLE_OF_CELLS,
        re.MULTILINE,
    )
}


def test_the_table_of_cells_is_the_code_and_the_benchmark() -> None:
    """Options, papers and parameters are the code's; what a cell costs is what the benchmark's results have."""
    from workbench.cells import CELLS
    from workbench.options.cell import SCHEMAS, Cell

    assert set(ROWS) == {row["cell"] for row in COST} >= set(CELLS)
    for row in COST:
        *_, parameters, ratio = ROWS[row["cell"]]
        assert (int(parameters.replace(",", "")), float(ratio)) == (row["parameters"], row["ratio"])
    shared, options = {field.name for field in fields(Cell)}, {}
    for name, kind in CELLS.items():
        paper, told, parameters, _ = ROWS[name]
        cell = kind(64)
        cell.build((None, 64))
        assert cell.count_params() == int(parameters.replace(",", ""))
        like = re.match(r"\s*as (\w+)", told)
        options[name] = set(re.findall(r"`(\w+)`", told)) | (options[like[1]] if like else set())
        assert options[name] == {field.name for field in fields(SCHEMAS[name])} - shared
        source = Path(inspect.getfile(kind)).read_text()
        assert all(link in source for link in re.findall(r"\]\((.*?)\)", paper))


def test_readme_says_which_cells_are_not_in_one_step_form() -> None:
    from workbench.cells import CELLS, WRAPPERS, StepCell

    (said,) = re.findall(r"What cannot be put so (.*?)\n\n", TABLE_OF_CELLS, re.DOTALL)
    steps = {name: kind(4) for name, kind in CELLS.items() if issubclass(kind, StepCell)}
    never = {name for name in CELLS if name not in steps or not steps[name].has_step(training=False)}
    drawing = {"layer_norm_lstm"}
    assert not CELLS["layer_norm_lstm"](4, dropout_keep_prob=0.5).has_step(training=True)
    assert set(re.findall(r"`(\w+)`", said)) == never | drawing | {"call", "dropout_keep_prob"}
    for name, wrapper in WRAPPERS.items():
        assert not issubclass(wrapper, StepCell)
        assert name == "multi" or name in said


def test_every_make_target_has_a_line_of_help_and_there_are_at_most_eight() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    targets = phony[1].split()
    assert len(targets) <= 8
    assert all(re.search(rf"^{target}:.*## ", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-extras.txt"])
def test_a_lock_has_hashes_and_no_addresses(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    assert all("--hash" in block for block in re.split(r"\n(?=\S)", lock) if "==" in block.splitlines()[0])
