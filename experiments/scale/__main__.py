"""What sweeps of 10 to 5,000 jobs cost beside their jobs, what 1 to 16 writers get into a store, and what follows.

python -m experiments.scale                                     # SQLite; some 20 minutes
python -m experiments.scale --postgresql postgresql+psycopg2://...       # the same on PostgreSQL, beside it
python -m experiments.scale --filled 50000                     # its largest sweep again, in a store of so many runs
python -m experiments.scale --filled 50000 --only filled --out FOLDER   # that sweep alone
python -m experiments.scale --jobs 10 50 --writers 1 2 --out /tmp/tried
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.about import about, made_by
from experiments.scale import measure
from workbench.console import command_line
from workbench.provenance import without_passwords

RESULTS = Path(__file__).resolve().parent / "results"
JOBS, WRITERS = (10, 100, 1000, 5000), (1, 2, 4, 8, 16)
PARTS = ("sweeps", "writers", "filled")
EACH = 40
"""Runs of a writer."""
FORETOLD = (100_000, 1_000_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size in a process of its own, and write the table."""
    parser = command_line("experiments.scale", __doc__)
    parser.add_argument("--jobs", nargs="+", type=_tens, default=list(JOBS), metavar="N", help="whole tens")
    parser.add_argument("--writers", nargs="*", type=int, default=list(WRITERS), metavar="N")
    parser.add_argument("--postgresql", metavar="URI", help="of a database that may be written to")
    parser.add_argument("--without-sqlite", action="store_true", help="measure the other store alone")
    parser.add_argument(
        "--filled", type=int, metavar="N", help="runs that a store holds before its last sweep"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, help="parts of the whole; the rest is not measured"
    )
    parser.add_argument("--out", type=Path, help=f"default: {RESULTS.name}, where all of it is measured")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.only:
        if given.out is None:
            parser.error("--only needs --out FOLDER: a part would stand in place of all that was measured")
        if ("filled" in given.only) != bool(given.filled):
            parser.error("--filled N, the runs that a store is to hold, and --only filled go together")
    given.only, given.out = given.only or PARTS, given.out or RESULTS
    if given.one:
        print(json.dumps(_one(*json.loads(given.one))))
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    typed = [without_passwords(word) for word in sys.argv[1:]]
    found: dict[str, Any] = {"typed": typed, "about": about(["mlflow"])}
    found |= {"sweeps": {}, "writers": {}, "filled": {}}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        for part, store, asked in _parts(given, Path(scratch)):
            row = _alone(asked)
            found[part].setdefault(store, []).append(row)
            print(store, part, {name: round(value, 3) for name, value in row.items()}, flush=True)
            found["minutes"] = round((time.perf_counter() - begin) / 60, 1)
            (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
            (given.out / "report.md").write_text(markdown(found))
    return 0


def _parts(given: argparse.Namespace, scratch: Path) -> Iterator[tuple[str, str, list[Any]]]:
    """What is measured: the part of the results, the store, and the kind, number and address that are asked for."""
    stores = {"SQLite": None} if not given.without_sqlite else {}
    stores |= {"PostgreSQL": given.postgresql} if given.postgresql else {}
    for store, uri in stores.items():
        if "sweeps" in given.only:
            yield from (("sweeps", store, ["sweep", count, uri]) for count in given.jobs)
        if "writers" in given.only:
            yield from (("writers", store, ["writers", count, uri]) for count in given.writers)
        if given.filled and "filled" in given.only:
            where = uri or f"sqlite:///{scratch}/filled.db"
            yield "filled", store, ["fill", given.filled, where]
            yield "filled", store, ["sweep", max(given.jobs), where]


def _one(kind: str, count: int, uri: str | None) -> dict[str, float]:
    if kind == "fill":
        assert uri is not None
        return {"runs": count, "seconds": measure.fill(uri, count)}
    return measure.sweep(count, uri) if kind == "sweep" else measure.writers(count, EACH, uri)


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
    for store in dict.fromkeys(store for part in PARTS for store in found[part]):
        rows = found["sweeps"].get(store, [])
        lines += [f"## {store}\n", *([*_HEAD, *map(_row, rows), ""] if rows else [])]
        if len(rows) > 2:
            lines += [*_foretold(rows), ""]
        if of_writers := found["writers"].get(store):
            lines += ["| writers | runs | runs/s |", "| ---: | ---: | ---: |"]
            lines += [f"| {r['writers']:.0f} | {r['runs']:.0f} | {r['runs_per_s']:.1f} |" for r in of_writers]
            lines.append("")
        if of_filled := found["filled"].get(store):
            lines += [
                f"In a store that holds {of_filled[0]['runs']:,.0f} runs of another experiment:\n",
                *_HEAD,
            ]
            lines += [*map(_row, of_filled[1:]), ""]
    return "\n".join(lines)


_HEAD = (
    "| jobs | dry run | sweep | ms a job | of it the parent's CPU | resume, complete | read all runs | report | ui "
    "| parent's memory before, after | store |",
    "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def _row(row: Mapping[str, float]) -> str:
    size = f"{row['store_mb']:.1f} MB" if "store_mb" in row else ""
    return (
        f"| {row['jobs']:,.0f} | {row['dry_run_s']:.1f} s | {row['sweep_s']:.1f} s "
        f"| {1000 * row['sweep_s'] / row['jobs']:.0f} | {1000 * row['parent_cpu_s'] / row['jobs']:.0f} ms "
        f"| {row['resume_s']:.1f} s | {row['read_s']:.2f} s | {row['report_s']:.1f} s | {row['ui_s']:.1f} s "
        f"| {row['memory_before_mb']:.0f}, {row['memory_after_mb']:.0f} MB | {size} |"
    )


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
