"""The gain of batch, bucket and pooled padding over global, by the spread of lengths and the batch size.

python -m experiments.padding_map                    # README.md says how long; nothing else should run
python -m experiments.padding_map --sets uniform geometric --batch-sizes 8 32 --out /tmp/tried     # some of it
python -m experiments.padding_map --draw             # the table and figures again, from what was measured
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.about import about, made_by
from experiments.padding_map import sets
from experiments.padding_map.figure import draw
from experiments.padding_map.measure import (
    BATCH_SIZES,
    PADDINGS,
    RUNNERS,
    Point,
    alike,
    foretold_of,
    from_json,
    point,
    to_json,
)
from workbench.console import command_line

RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Time every point; each is written as it is there."""
    parser = command_line("experiments.padding_map", __doc__)
    parser.add_argument("--sets", nargs="+", choices=sets.NAMES, default=list(sets.NAMES))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(BATCH_SIZES))
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=list(RUNNERS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw what --out holds")
    given = parser.parse_args(arguments)
    file = given.out / "points.json"
    if given.draw:
        if not file.is_file():
            print(f"--draw: {file} is not there; measure first", file=sys.stderr)
            return 2
        written(json.loads(file.read_text()), given.out)
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"typed": sys.argv[1:], "about": about(["tensorflow"]), "points": []}
    begin = time.perf_counter()
    for runner in given.runners:
        for name in given.sets:
            for size in given.batch_sizes:
                one = point(name, size, runner)
                found["points"].append(to_json(one))
                found["minutes"] = round((time.perf_counter() - begin) / 60, 1)
                file.write_text(json.dumps(found, indent=1) + "\n")
                gains = ", ".join(f"{padding} {gain.times:.2f}x" for padding, gain in one.gains.items())
                print(f"{runner}, {name}, batches of {size}: {gains}", flush=True)
    written(found, given.out)
    return 0


def written(found: Mapping[str, Any], folder: Path) -> None:
    """The table and a figure a runner."""
    points = [from_json(one) for one in found["points"]]
    for runner in dict.fromkeys(one.runner for one in points):
        draw(points, runner, folder / f"{runner}.svg")
    (folder / "report.md").write_text(markdown(found, points))


def markdown(found: Mapping[str, Any], points: Sequence[Point]) -> str:
    """Every point measured, and foretold by the costs at the other sets."""
    lines = [
        "# A map for padding\n",
        f"{made_by('experiments.padding_map', found)}.\n",
        "Valid tokens/s over those of global padding [95% interval over the passes]; in brackets what the costs "
        "seen at the other sets, with batches of the same size, foretell.\n",
    ]
    off: list[float] = []
    for runner in dict.fromkeys(one.runner for one in points):
        lines += [
            f"## rnn={runner}\n",
            f"![gain by spread and batch size]({runner}.svg)\n",
            f"| lengths | spread | batch size | padding, global | {' | '.join(PADDINGS)} |",
            "| --- | ---: | ---: | ---: |" + " --- |" * len(PADDINGS),
        ]
        for one in (each for each in points if each.runner == runner):
            others = any(two.lengths != one.lengths for two in alike(one, points))
            said = foretold_of(one, points) if others else {}
            cells = []
            for padding in PADDINGS:
                gain = one.gains[padding]
                text = f"{gain.times:.2f}x [{gain.low:.2f}, {gain.high:.2f}]"
                if said:
                    off.append(abs(said[padding] / gain.times - 1))
                    text += f" ({said[padding]:.2f}x)"
                cells.append(text)
            lines.append(
                f"| {one.lengths} | {one.spread:.2f} | {one.batch_size} | {one.padding['global']:.0%} "
                f"| {' | '.join(cells)} |"
            )
        lines.append("")
    if off:
        within = sum(one <= 0.15 for one in off)
        lines.append(
            f"Foretold against measured: median off by {statistics.median(off):.0%}, within 15% in {within} of "
            f"{len(off)}, the largest {max(off):.0%}."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
