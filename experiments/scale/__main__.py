"""What sweeps of 10 to 5,000 jobs cost beside their jobs, what 1 to 16 writers get into a store, and what follows.

python -m experiments.scale                                     # SQLite; README.md says how long
python -m experiments.scale --postgresql postgresql://...       # the same on PostgreSQL, beside it
python -m experiments.scale --jobs 10 50 --writers 1 2 --out /tmp/tried
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.about import about, made_by
from experiments.scale import measure
from workbench.provenance import without_passwords

RESULTS = Path(__file__).resolve().parent / "results"
JOBS, WRITERS = (10, 100, 1000, 5000), (1, 2, 4, 8, 16)
EACH = 40
"""Runs of a writer."""
FORETOLD = (100_000, 1_000_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size in a process of its own, and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jobs", nargs="+", type=_tens, default=list(JOBS), metavar="N", help="whole tens")
    parser.add_argument("--writers", nargs="*", type=int, default=list(WRITERS), metavar="N")
    parser.add_argument("--postgresql", metavar="URI", help="of a database that may be written to")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        kind, count, uri = json.loads(given.one)
        one = measure.sweep(count, uri) if kind == "sweep" else measure.writers(count, EACH, uri)
        print(json.dumps(one))
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    typed = [without_passwords(word) for word in sys.argv[1:]]
    found: dict[str, Any] = {"typed": typed, "about": about(["mlflow"]), "sweeps": {}, "writers": {}}
    begin = time.perf_counter()
    for store, uri in {
        "SQLite": None,
        **({"PostgreSQL": given.postgresql} if given.postgresql else {}),
    }.items():
        for kind, counts in (("sweep", given.jobs), ("writers", given.writers)):
            rows = found["sweeps" if kind == "sweep" else "writers"].setdefault(store, [])
            for count in counts:
                rows.append(_alone([kind, count, uri]))
                print(store, kind, {name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
                found["minutes"] = round((time.perf_counter() - begin) / 60, 1)
                (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
                (given.out / "report.md").write_text(markdown(found))
    return 0


def _tens(text: str) -> int:
    if not text.isdigit() or int(text) < measure.ARMS or int(text) % measure.ARMS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole ten: each block has {measure.ARMS} arms")
    return int(text)


def _alone(asked: Sequence[Any]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.scale", "--one", json.dumps(asked)], stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    row: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def markdown(found: Mapping[str, Any]) -> str:
    """The tables, and what the fits foretell."""
    lines = [
        "# What a sweep costs beside its jobs\n",
        f"{made_by('experiments.scale', found)}.\n",
    ]
    for store, rows in found["sweeps"].items():
        lines += [
            f"## {store}\n",
            "| jobs | dry run | sweep | ms a job | of it the parent's CPU | resume, complete | read all runs | "
            "parent's memory before, after | store |",
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in rows:
            size = f"{row['store_mb']:.1f} MB" if "store_mb" in row else ""
            lines.append(
                f"| {row['jobs']:,.0f} | {row['dry_run_s']:.1f} s | {row['sweep_s']:.1f} s "
                f"| {1000 * row['sweep_s'] / row['jobs']:.0f} | {1000 * row['parent_cpu_s'] / row['jobs']:.0f} ms "
                f"| {row['resume_s']:.1f} s | {row['read_s']:.2f} s "
                f"| {row['memory_before_mb']:.0f}, {row['memory_after_mb']:.0f} MB | {size} |"
            )
        lines.append("")
        if len(rows) > 2:
            lines += [*_foretold(rows), ""]
        if of_writers := found["writers"].get(store):
            lines += ["| writers | runs | runs/s |", "| ---: | ---: | ---: |"]
            lines += [f"| {r['writers']:.0f} | {r['runs']:.0f} | {r['runs_per_s']:.1f} |" for r in of_writers]
            lines.append("")
    return "\n".join(lines)


def _foretold(rows: Sequence[Mapping[str, float]]) -> list[str]:
    sizes = [row["jobs"] for row in rows]
    lines = [
        "Fitted to these, a + b N + c N^2 (none below 0), and what it foretells; nobody has run that many:\n",
        "| | a, s | b, ms a job | c, ns a pair of jobs | "
        + " | ".join(f"{n:,} jobs" for n in FORETOLD)
        + " |",
        "| --- | ---: | ---: | ---: |" + " ---: |" * len(FORETOLD),
    ]
    for name, key in (
        ("dry run", "dry_run_s"),
        ("sweep", "sweep_s"),
        ("resume", "resume_s"),
        ("read", "read_s"),
    ):
        a, b, c = measure.fitted(sizes, [row[key] for row in rows])
        hours = " | ".join(f"{(a + b * n + c * n * n) / 3600:.1f} h" for n in FORETOLD)
        lines.append(f"| {name} | {a:.2f} | {1e3 * b:.2f} | {1e9 * c:.1f} | {hours} |")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
