"""workbench/claims/README.md, the method as it ships: its tables are the schema's, its sections the cited ones."""

import re
from pathlib import Path

import workbench
from workbench.claims.schema import CLAIM_FIELDS, FILE_FIELDS, REQUIRED

PACKAGE = Path(workbench.__file__).parent
METHOD = (PACKAGE / "claims" / "README.md").read_text(encoding="utf-8")


def shown(default):
    if default is REQUIRED:
        return "required"
    if default is None or isinstance(default, bool):
        return {None: "none", True: "true", False: "false"}[default]
    if isinstance(default, tuple | dict):
        return ", ".join(default) or "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_the_tables_of_fields_are_the_schema():
    for head, table in (("of the file", FILE_FIELDS), ("of a claim", CLAIM_FIELDS)):
        rows = [f"| `{name}` | {shown(one.default)} | {one.meaning} |" for name, one in table.items()]
        made = "\n".join([f"| field {head} | default | what it is |", "| --- | --- | --- |", *rows])
        assert f"\n{made}\n\n" in METHOD, made


def test_every_section_that_the_code_cites_is_there():
    there = set(re.findall(r"^##+ ([\d.]+?)\.? ", METHOD, re.MULTILINE))
    cited = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "VALIDITY" not in text, f"{path}: that file is not part of the product"
        for match in re.findall(r"claims/README\.md,\s+sections?\s+([\d., and]+\d)", text):
            cited |= set(re.findall(r"\d(?:\.\d)?", match))
    assert len(cited) >= 9
    assert cited <= there
