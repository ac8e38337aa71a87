"""Many short sequences in a CSV: `python -m experiments.scale.sequences --examples 10000000 --out all.csv`.

Lengths are geometric of mean 8, cut at 30; the words are drawn from 200, and the label says whether more than half
of them are odd, so that a model can learn it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

MEAN, LONGEST, WORDS, BLOCK = 8, 30, 200, 100_000


def rows(examples: int, seed: int = 0) -> Iterator[str]:
    """Lines of the CSV, without its head; the same for the same arguments."""
    draw = np.random.default_rng(seed)
    while examples > 0:
        lengths = np.minimum(draw.geometric(1 / MEAN, min(BLOCK, examples)), LONGEST)
        numbers, begin = draw.integers(0, WORDS, int(lengths.sum())), 0
        for length in lengths.tolist():
            own = numbers[begin : begin + length].tolist()
            label = "odd" if 2 * sum(one % 2 for one in own) > length else "even"
            yield f"{' '.join(f'w{one}' for one in own)},{label}\n"
            begin += length
        examples -= len(lengths)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m experiments.scale.sequences", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--examples", type=int, required=True, metavar="N")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    given = parser.parse_args(arguments)
    with given.out.open("w", encoding="utf-8") as stream:
        stream.write("text,label\n")
        stream.writelines(rows(given.examples))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
