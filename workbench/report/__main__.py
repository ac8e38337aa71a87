"""Verdicts again from tracked runs: `python -m workbench.report NAME`; nothing is run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from workbench import claims as claims_room
from workbench.places import claims_file
from workbench.report import assemble
from workbench.tracking import Tracker, TrackingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge and print; exit code 0, or 2 where there is nothing to judge."""
    parser = argparse.ArgumentParser(prog="python -m workbench.report", description=__doc__)
    parser.add_argument("name", help="the experiment's name")
    parser.add_argument("--sweep", help="a sweep's id; the last one where it is not given")
    parser.add_argument("--claims", type=Path, help="another claims.yaml (its verdicts are exploratory)")
    parser.add_argument("--uri", default="sqlite:///mlruns/mlflow.db", help="MLflow tracking URI")
    parser.add_argument("--out", type=Path, help="where to write; below mlruns/ where it is not given")
    parser.add_argument(
        "--commit-results", action="store_true", help="also copy into experiments/NAME/results/"
    )
    given = parser.parse_args(arguments)
    try:
        path = given.claims or claims_file(given.name)
        claims = claims_room.load(path) if path else None
        tracker = Tracker(given.uri, create=False)
        sweep = given.sweep or assemble.latest_sweep(tracker, given.name)
        folder = given.out or Path("mlruns").resolve() / "hydra" / given.name / sweep / "report"
        found = assemble.report(tracker, given.name, sweep, claims, folder)
    except (
        claims_room.ClaimError,
        claims_room.PairingError,
        assemble.ReportError,
        TrackingError,
        OSError,
    ) as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(str(error), style="red", highlight=False, markup=False)
        return 2
    found.show(Console())
    if given.commit_results:
        print(f"copied to {found.commit_results(given.name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
