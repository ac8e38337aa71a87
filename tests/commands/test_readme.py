"""README, conf/ and the code name the same things."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench.config import GROUPS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("group", GROUPS)
def test_the_table_of_groups_lists_every_variant(group: str) -> None:
    (row,) = re.findall(rf"^\| `{group}` \| (.*?) \|", README, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(GROUPS[group])


def test_the_table_of_cells_lists_every_cell() -> None:
    from workbench.cells import CELLS

    assert set(re.findall(r"^\| `(\w+)` \| .* \|.*\| [\d,]+ \| [\d.]+ \|$", README, re.MULTILINE)) == set(
        CELLS
    )


def test_every_make_target_has_a_line_of_help_and_there_are_at_most_eight() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    targets = phony[1].split()
    assert len(targets) <= 8
    assert all(re.search(rf"^{target}:.*## ", makefile, re.MULTILINE) for target in targets)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-extras.txt"])
def test_a_lock_has_hashes_and_no_addresses(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    assert all("--hash" in block for block in re.split(r"\n(?=\S)", lock) if "==" in block.splitlines()[0])
