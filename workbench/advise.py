"""Which padding and batch size suit your lengths, and with --measure how fast each would train here.

python -m workbench.advise --data FOLDER                    # shards with their manifest
python -m workbench.advise --data lengths.txt               # a length a line; of a CSV, --column NAME
python -m workbench.advise --data train.conllu              # a treebank
cut -f2 sizes.tsv | python -m workbench.advise --data -     # from a pipe
python -m workbench.advise --data FOLDER --measure cell=gru rnn=packed cell.units=128

--measure takes overrides of the workbench, and times some steps of that model on made-up batches of your lengths.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import shlex
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from workbench import advice
from workbench.console import command_line, on_stderr, on_stdout, say, whole_from_1
from workbench.data.convert.rows import LONGEST_LINE
from workbench.data.errors import DataError
from workbench.data.given import whole_numbers
from workbench.data.lengths import Histogram, profile
from workbench.data.manifest import load_manifest
from workbench.foretell import TimedModel, foretold
from workbench.wording import typed

_BARS = 20


class LengthsError(ValueError):
    """The lengths cannot be read; the message says where and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the lengths, print histogram, table and the override to paste; 2 where they cannot be read."""
    given = _parser().parse_args(arguments)
    console, errors = on_stdout(), on_stderr()
    try:
        histogram = read_lengths(given.data, given.column, sys.stdin)
        manifest = load_manifest(Path(given.data)) if Path(given.data).is_dir() else None
        width = manifest.feature_size if manifest and manifest.inputs == "features" else None
        per_position = advice.bytes_per_position(width or given.embedding, given.units)
        budgets, whole = list(given.budget), manifest.longest if manifest else None
        if given.max_memory is not None:
            budgets.append(advice.largest_budget(histogram, given.max_memory, per_position, whole))
        rows = advice.advise(histogram, given.batch_size, budgets, longest=whole)
    except (LengthsError, DataError, ValueError, OSError) as error:
        errors.print(_why(given.data, error), style="red")
        return 2
    speeds: list[float] = []
    if given.measure is not None:
        model = _model(given)
        try:
            with console.status("timing some steps"):
                speeds = foretold(histogram, rows, given.measure, model)
        except ValueError as error:
            errors.print(f"--measure: {error}", style="red")
            return 2
    _print(console, histogram, rows, per_position, given.buckets, speeds)
    if speeds:
        fastest = rows[max(range(len(rows)), key=speeds.__getitem__)]
        data = (
            ["data=tfrecord", typed("data.path", str(Path(given.data).absolute()))]
            if Path(given.data).is_dir()
            else []
        )
        words = shlex.join(["python", "-m", "workbench", *data, *fastest.override.split(), *given.measure])
        say(console, f"fastest here: {words}", style="bold")
    return 0


def _why(data: str, error: Exception) -> str:
    """In a line, that names the data once."""
    words = (isinstance(error, OSError) and error.strerror) or str(error)
    return f"--data {words}" if words.startswith(data) else f"--data {data}: {words}"


def _model(given: argparse.Namespace) -> TimedModel:
    """What of the data set the model depends on: a manifest says it, of lengths alone the options do."""
    path = Path(given.data)
    if not path.is_dir():
        return TimedModel("tag", given.classes, given.vocabulary, None)
    manifest = load_manifest(path)
    ids = manifest.inputs == "ids"
    return TimedModel(
        manifest.task,
        len(manifest.labels),
        len(manifest.vocabulary) if ids else None,
        None if ids else manifest.feature_size,
    )


def _parser() -> argparse.ArgumentParser:
    parser = command_line("workbench.advise", __doc__)
    parser.add_argument(
        "--data", required=True, help="folder of shards, .conllu, .csv, text of lengths, or - for stdin"
    )
    parser.add_argument(
        "--column",
        help="of a CSV: the column of the lengths; else its only one, or the one called length or lengths",
    )
    parser.add_argument(
        "--batch-size", type=whole_from_1, nargs="+", default=[16, 32, 64, 128], metavar="N", help="examples"
    )
    parser.add_argument(
        "--budget",
        type=whole_from_1,
        nargs="+",
        default=[],
        metavar="N",
        help="tokens a batch, padding included",
    )
    parser.add_argument(
        "--buckets",
        type=whole_from_1,
        nargs="+",
        default=[4, 8, 16],
        metavar="K",
        help="show best boundaries",
    )
    parser.add_argument(
        "--max-memory", type=_megabytes, metavar="MB", help="find the largest token budget that fits"
    )
    parser.add_argument(
        "--units", type=whole_from_1, default=64, help="of the cell, for the memory of a batch"
    )
    parser.add_argument(
        "--embedding", type=whole_from_1, default=64, help="size of the inputs of the cell, likewise"
    )
    parser.add_argument(
        "--measure", nargs="*", metavar="OVERRIDE", help="time some steps, of the model that these make"
    )
    parser.add_argument(
        "--vocabulary",
        type=whole_from_1,
        default=10_000,
        help="of the timed model, where --data is no data set",
    )
    parser.add_argument("--classes", type=whole_from_1, default=10, help="likewise")
    return parser


def read_lengths(data: str, column: str | None, stdin: Iterable[str]) -> Histogram:
    """length -> examples, of whatever `data` names.

    Raises:
        LengthsError: with the line and what is wrong there.
    """
    path = Path(data)
    zipped = path.suffix.lower() == ".gz"
    kind = (path.with_suffix("") if zipped else path).suffix.lower()
    if column is not None and (kind != ".csv" or path.is_dir()):
        raise LengthsError("is no .csv, and --column names a column of one: leave it out")
    if data == "-":
        found = _of_lines(_unmarked(stdin))
    elif path.is_dir():
        found = Counter(load_manifest(path).splits["train"].histogram)
    else:
        readers: dict[str, Callable[[Iterable[str]], Counter[int]]] = {
            ".conllu": _of_treebank,
            ".csv": partial(_of_csv, column=column),
        }
        read = readers.get(kind, _of_lines)
        opened = gzip.open if zipped else open
        try:
            with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as lines:
                found = read(lines)
        except (EOFError, zlib.error) as error:
            raise LengthsError(f"{error}: it is cut, or damaged; get the file again") from None
    if not found:
        raise LengthsError("holds no length")
    return dict(found)


def _unmarked(lines: Iterable[str]) -> Iterator[str]:
    """Without the mark that some programs put in front of UTF-8."""
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix("\ufeff")


def _of_lines(lines: Iterable[str]) -> Counter[int]:
    found: Counter[int] = Counter()
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            found[_length(text, number)] += 1
    return found


def _of_csv(lines: Iterable[str], column: str | None) -> Counter[int]:
    csv.field_size_limit(LONGEST_LINE)
    table = csv.reader(lines, strict=True)
    try:
        return _of_rows(table, column)
    except csv.Error as error:
        raise LengthsError(f"line {table.line_num}: {error}; no CSV: is a quote left open?") from None


def _of_rows(rows: Iterator[list[str]], column: str | None) -> Counter[int]:
    head = next(rows, [])
    if column is None and head and head[0].strip().isdigit():
        raise LengthsError("its first line is no head; give a text file for lengths without one")
    named = [
        one for one in head if one.strip().lower() in ("length", "lengths", "sequence_length", "n_tokens")
    ]
    if column is None and len(head) > 1 and len(named) != 1:
        raise LengthsError(
            f"has several columns ({', '.join(map(repr, head[:10]))}): say by --column which is the length"
        )
    name = column or (named or head or [""])[0]
    if name not in head:
        raise LengthsError(f"has no column {name!r}; there are {', '.join(head) or 'none'}: give --column")
    at = head.index(name)
    return Counter(
        _length(row[at].strip() if at < len(row) else "", n) for n, row in enumerate(rows, 2) if row
    )


def _of_treebank(lines: Iterable[str]) -> Counter[int]:
    """Words of each sentence: lines that begin with a whole number."""
    found: Counter[int] = Counter()
    words = 0
    for line in lines:
        if line.strip():
            words += line.split("\t", 1)[0].isdigit()
        elif words:
            found[words] += 1
            words = 0
    if words:
        found[words] += 1
    return found


def _length(text: str, line: int) -> int:
    try:
        (length,) = whole_numbers([text])
    except ValueError:
        raise LengthsError(
            f"line {line}: {text[:40]!r} is no length; a whole number a line is wanted"
        ) from None
    if not 0 <= length < 2**31:
        raise LengthsError(f"line {line}: {length} is no length; 0 to 2,147,483,647 are")
    return length


def _print(
    console: Console,
    histogram: Histogram,
    rows: Sequence[advice.Advice],
    per_position: int,
    buckets: Sequence[int],
    speeds: Sequence[float] = (),
) -> None:
    facts = {name: f"{value:,}" for name, value in profile(histogram).items()}
    words = "{examples} sequences, {tokens} steps: shortest {shortest}, median {median}, longest {longest}"
    console.print(words.format(**facts), highlight=False)
    _print_histogram(console, histogram)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for head in ("padding", "batch", "padded", "steps", "shapes", "largest batch, MB"):
        table.add_column(head, justify="left" if head == "padding" else "right")
    if speeds:
        table.add_column("tokens/s here", justify="right")
    for number, row in enumerate(rows):
        size = f"{row.megabytes(per_position):,.3g}"
        cells = [row.padding, row.batch, f"{row.share:.1%}", f"{row.steps:,.0f}", f"{row.shapes:,}", size]
        table.add_row(*cells, *([f"{speeds[number]:,.0f}"] if speeds else []))
    console.print(table)
    divided = [
        one for one in advice.boundaries(histogram, buckets) if len(one[1]) > 1
    ]  # of one length nothing is
    for number, limits, share in divided:
        listed = ",".join(map(str, limits[:-1]))
        words = (
            f"{number} buckets: padding.boundaries=[{listed}] ({share:.1%} where each is padded to its limit)"
        )
        say(console, words)
    chosen = advice.best(rows)
    console.print(
        f"least padding: python -m workbench {chosen.override}", style="bold", highlight=False, soft_wrap=True
    )


def _print_histogram(console: Console, histogram: Histogram) -> None:
    longest = max(histogram)
    width = max(1, -(-(longest + 1) // _BARS))
    counts: Counter[int] = Counter()
    for length, count in histogram.items():
        counts[length // width] += count
    most = max(counts.values())
    for at in range(max(counts) + 1):
        bar = "█" * round(40 * counts[at] / most) or ("▏" if counts[at] else "")
        span = f"{at * width}" if width == 1 else f"{at * width}-{(at + 1) * width - 1}"
        console.print(f"{span:>13} {bar} {counts[at]:,}", highlight=False, markup=False)


def _megabytes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number > 0 and math.isfinite(number * 1e6)):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of megabytes above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
