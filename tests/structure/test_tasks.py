"""CONTRIBUTING's six tasks: each table names the files that its example stands in; no other code knows of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_TASK = re.compile(r"^### (.+?): `(.+?)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^\| `(.+?)` \|", re.MULTILINE)
TASKS = {
    task: (example, _FILE.findall(text))
    for task, example, text in _TASK.findall((ROOT / "CONTRIBUTING.md").read_text())
}
MOST = {"A metric": 2}
BESIDE = {
    "A cell": {"workbench/cells/tf1_layouts.py", "workbench/cells/tf1_names.py"},  # it had names in TF 1.15
}
"""What the text below a table says of its example."""


def test_there_are_six_tasks() -> None:
    assert list(TASKS) == [
        "A cell",
        "A padding",
        "A data source",
        "A metric",
        "A claim, an experiment",
        "A runner",
    ]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_touches_the_files_of_its_table_and_no_other_code_knows_of_its_example(task: str) -> None:
    example, files = TASKS[task]
    assert 2 <= len(files) <= MOST.get(task, 5)
    for name in files:
        assert (ROOT / name).is_file(), name
        assert example in name or example in (ROOT / name).read_text(), name
    word = re.compile(rf'"{re.escape(example)}"')
    knows = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "workbench").rglob("*.py")
        if word.search(re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL))
    }
    assert knows <= {*files, *BESIDE.get(task, ())}
