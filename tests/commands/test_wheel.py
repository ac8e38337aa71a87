"""The built wheel, installed elsewhere: conf/ and claims travel in it, and it judges a recorded sweep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.places import experiments
from workbench.sweep.compose import Composer
from workbench.sweep.grid import expand

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "padding_ablation" / "results"
SCRIPT = """
import json, sys
from pathlib import Path
import pandas as pd
import workbench
from workbench import claims, places
from workbench.sweep.compose import Composer
from workbench.sweep.grid import expand
names = places.experiments()
arms = {name: len(expand(Composer(), ["+experiment=" + name]).arms) for name in names}
declared = claims.load(places.claims_file("padding_ablation"))
verdicts = claims.judge_table(declared, pd.read_csv(sys.argv[1], low_memory=False))
print(json.dumps({
    "package": workbench.__file__, "conf": str(places.CONF), "arms": arms,
    "verdicts": [verdict.to_json() for verdict in verdicts],
}))
"""


@pytest.mark.slow
@pytest.mark.command
def test_the_wheel_composes_every_experiment_and_judges_from_elsewhere(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(RESULTS / "runs.csv")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["package"].startswith(str(site))
    assert found["conf"].startswith(str(site))
    rooms = {path.relative_to(ROOT) for path in (ROOT / "workbench").rglob("README.md")}
    assert len(rooms) >= 7
    assert rooms == {path.relative_to(site) for path in (site / "workbench").rglob("README.md")} - {
        path.relative_to(site) for path in (site / "workbench" / "_shipped").rglob("README.md")
    }
    assert (site / "workbench" / "_shipped" / "conf" / "README.md").is_file()
    for name in ("page.html", "page.css", "page.js"):
        assert (site / "workbench" / "report" / "html" / name).is_file()
    guide = [sys.executable, "-m", "workbench.report", "--guide"]
    shown = subprocess.run(guide, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "### Which padding?" in shown.stdout
    here = {name: len(expand(Composer(), [f"+experiment={name}"]).arms) for name in experiments()}
    assert found["arms"] == here
    assert max(here.values()) > 1
    assert found["verdicts"] == json.loads((RESULTS / "verdicts.json").read_text())
