"""Measurements beside the sweeps: each finds what it needs, though nothing but a person runs it."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for name in ("measure", "protocol")
    for path in ROOT.glob(f"experiments/*/{name}.py")
    if "__main__" in path.read_text()
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_protocol_can_be_imported(script: str) -> None:
    assert callable(importlib.import_module(script).main)
