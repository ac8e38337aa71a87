"""The method as workbench/claims/README.md tells it: its tables are the schema's, its examples load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import workbench.claims
from workbench.claims import load
from workbench.claims.schema import CLAIM_FIELDS, FILE_FIELDS, REQUIRED, Field

METHOD = (Path(workbench.claims.__file__).parent / "README.md").read_text()


def _default(field: Field) -> str:
    if field.default is REQUIRED:
        return "required"
    if isinstance(field.default, tuple):
        return f"[{', '.join(field.default)}]"
    return "null" if field.default is None else str(field.default).lower()


@pytest.mark.parametrize("fields", [FILE_FIELDS, CLAIM_FIELDS], ids=["file", "claim"])
def test_the_table_of_fields_is_the_schema(fields):
    rows = [f"| `{name}` | {_default(one)} | {one.meaning} |" for name, one in fields.items()]
    assert "\n".join(["| field | default | meaning |", "| --- | --- | --- |", *rows]) + "\n\n" in METHOD


def test_the_example_is_a_claims_file(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", METHOD, re.DOTALL)
    (tmp_path / "claims.yaml").write_text(example)
    assert [one.name for one in load(tmp_path / "claims.yaml")] == [
        "batch_padding_is_faster",
        "outputs_past_the_end_are_zero",
    ]


def test_every_section_that_the_code_cites_is_there():
    root = Path(workbench.claims.__file__).parents[1]
    cited = {
        section
        for path in root.rglob("*.py")
        for text in re.findall(r"README\.md, sections? ([\d., and]+)", path.read_text())
        for section in re.findall(r"\d(?:\.\d)?", text)
    }
    assert cited
    headings = set(re.findall(r"^#+ (\d(?:\.\d)?)", METHOD, re.MULTILINE))
    assert cited <= headings
