"""The levels of reproducibility that claims/README.md promises and that one machine can show: V0 and V1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from workbench import claims
from workbench.config import load
from workbench.places import claims_file
from workbench.sweep.compose import Composer

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = [path.parent for path in ROOT.glob("experiments/*/results*/verdicts.json")]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_v0_the_committed_verdicts_follow_from_the_committed_runs_byte_for_byte(folder: Path) -> None:
    from workbench.report.page import verdicts_json

    runs = pd.read_csv(folder / "runs.csv", low_memory=False)
    path = claims_file(folder.parent.name)
    assert path is not None
    verdicts = claims.judge_table(claims.load(path), runs.sample(frac=1.0, random_state=1))
    assert verdicts_json(verdicts) == (folder / "verdicts.json").read_text()


def digests(tmp_path: Path, cache: Path, *overrides: str) -> dict[str, str]:
    """The digests of one run in a process of its own."""
    tree, wrong = load(Composer()(["measure=off", f"data.cache_dir={cache}", *overrides]))
    assert not wrong
    frozen = tmp_path / "frozen.yaml"
    frozen.write_text(yaml.safe_dump(tree))
    done = subprocess.run(
        [sys.executable, "-m", "workbench.entry", str(frozen)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    return {name: value for name, value in result["tags"].items() if name.startswith("digest.")}


@pytest.mark.slow  # quick: test_two_processes_with_determinism_end_in_the_same_bits of tests/training
@pytest.mark.command
def test_v1_one_seed_gives_the_same_bits_in_two_processes_and_another_seed_others(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    overrides = ("optimizer=adam", "model.dropout=0.3")  # sgd: the quick test
    cache = tmp_path_factory.getbasetemp() / "reproducibility-cache"
    sizes = ("data.max_examples=200", "data.max_length=40", "training.epochs=2", "data.batch_size=64")
    first = digests(tmp_path, cache, *sizes, *overrides)
    again = digests(tmp_path, cache, *sizes, *overrides)
    other = digests(tmp_path, cache, *sizes, *overrides, "seed=2")
    assert set(first) == {"digest.losses", "digest.order", "digest.weights"}
    assert first == again
    assert all(first[name] != other[name] for name in first)
