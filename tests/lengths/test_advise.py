"""python -m workbench.advise: which padding and batch, from lengths alone."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import advice, advise
from workbench.data.lengths import settled
from workbench.data.padding import plan
from workbench.options.padding import Bucket, Padding, Pooled

LONG_TAIL = {length: max(1, int(400 * 0.9**length)) for length in range(1, 60)} | {300: 2}


def test_what_is_foretold_is_what_batches_come_to() -> None:
    """Within a percentage point of the mean over random orders, for each padding, by examples and by tokens."""
    lengths = np.repeat(list(LONG_TAIL), list(LONG_TAIL.values()))
    paddings = {
        "batch": Padding("batch"),
        "bucket": Bucket(),
        "pooled": Pooled(),
    }
    budgets = {name: type(one)(name, token_budget=2000) for name, one in paddings.items()}
    for row in advice.advise(LONG_TAIL, [32], [2000]):
        if row.padding == "global":
            continue
        padding = (budgets if "tokens" in row.batch else paddings)[row.padding]
        padding = settled(padding, LONG_TAIL, 32)
        shares = []
        for seed in range(20):
            order = np.random.default_rng(seed).permutation(len(lengths))
            epoch = plan(padding, lengths, order, batch_size=32)
            shares.append(1 - lengths.sum() / sum(len(one.indices) * one.padded_length for one in epoch))
        assert row.share == pytest.approx(np.mean(shares), abs=0.01), row


def test_the_override_is_taken_by_the_command() -> None:
    from workbench.config import Config, load
    from workbench.sweep.compose import Composer

    compose = Composer()
    for row in advice.advise({3: 40, 9: 8}, [8, 16], [64]):
        tree, wrong = load(compose(row.override.split()))
        assert not wrong
        assert Config.of(tree).padding.name == row.padding


def test_the_best_has_the_least_padding_and_few_shapes() -> None:
    rows = advice.advise(LONG_TAIL, [16, 32])
    chosen = advice.best(rows)
    assert chosen.share <= min(row.share for row in rows) + 0.01
    assert all(chosen.shapes <= row.shapes for row in rows if row.share <= min(r.share for r in rows) + 0.01)


def test_the_largest_budget_fits_and_one_more_does_not() -> None:
    per_position = advice.bytes_per_position(64, 64)
    budget = advice.largest_budget(LONG_TAIL, 5, per_position)
    assert budget * per_position <= 5e6 < (budget + 1) * per_position
    assert max(row.megabytes(per_position) for row in advice.advise(LONG_TAIL, [], [budget])) <= 5
    with pytest.raises(ValueError, match=r"the longest example, of 300 steps, takes 0\.\d+ MB alone"):
        advice.largest_budget(LONG_TAIL, 0.001, per_position)


def test_lengths_are_read_from_whatever_holds_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("3\n\n1\n3\n")
    (tmp_path / "a.csv").write_text("name,length\nx,3\ny,1\nz,3\n")
    treebank = "# text\n1\tw\n2\tw\n2-3\tww\n3\tw\n\n1\tw\n\n1\tw\n2\tw\n2.1\tempty\n3\tw\n"
    (tmp_path / "a.conllu").write_text(treebank)
    with gzip.open(tmp_path / "b.conllu.gz", "wt") as file:
        file.write(treebank)
    for name, column in (("a.txt", None), ("a.csv", "length"), ("a.conllu", None), ("b.conllu.gz", None)):
        assert advise.read_lengths(str(tmp_path / name), column, []) == {3: 2, 1: 1}
    assert advise.read_lengths("-", None, io.StringIO("3\n1\n3\n")) == {3: 2, 1: 1}
    (tmp_path / "a.csv").rename(tmp_path / "A.CSV")
    (tmp_path / "a.conllu").rename(tmp_path / "A.CONLLU")
    (tmp_path / "b.conllu.gz").rename(tmp_path / "B.CONLLU.GZ")
    for name, column in (("A.CSV", "length"), ("A.CONLLU", None), ("B.CONLLU.GZ", None)):
        assert advise.read_lengths(str(tmp_path / name), column, []) == {3: 2, 1: 1}


def test_a_cell_may_be_long_and_has_an_end(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.csv").write_text(f"length,t\n3,{'x' * 200_000}\n")
    assert advise.read_lengths(str(tmp_path / "a.csv"), None, []) == {3: 1}
    monkeypatch.setattr(advise, "LONGEST_LINE", 100_000)
    with pytest.raises(advise.LengthsError, match="line 2: field larger than field limit"):
        advise.read_lengths(str(tmp_path / "a.csv"), None, [])


def test_a_mark_in_front_of_a_text_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeff3\n1\n")
    (tmp_path / "a.csv").write_text("\ufefflength,id\n3,x\n1,y\n")
    for name, column in (("a.txt", None), ("a.csv", "length")):
        assert advise.read_lengths(str(tmp_path / name), column, []) == {3: 1, 1: 1}
    assert advise.read_lengths("-", None, io.StringIO("\ufeff3\n1\n")) == {3: 1, 1: 1}


@pytest.mark.parametrize(
    ("name", "text", "more", "words"),
    [
        ("a.txt", "3\nx\n", [], "line 2: 'x' is no length"),
        ("a.txt", "3\n1_000\n", [], "line 2: '1_000' is no length"),
        ("a.txt", "3\n\u0663\n", [], "line 2: '\u0663' is no length"),
        ("a.txt", "3\n-1\n", [], "line 2: -1 is no length"),
        ("a.txt", "\n", [], "holds no length"),
        ("a.csv", "a,b\n1,2\n", ["--column", "c"], "has no column 'c'; there are a, b"),
        ("a.csv", "3\n4\n", [], "its first line is no head"),
        ("a.csv", "a,b\n1\n", ["--column", "b"], "line 2: '' is no length"),
        ("a.txt", "3\n", ["--max-memory", "0.0000001"], "takes"),
        (
            "a.txt",
            "3\n9\n",
            ["--budget", "20", "8"],
            "--budget 8: is less than the longest example has, 9 steps",
        ),
        ("a.txt", "0\n0\n", [], "all lengths are 0"),
        ("none.txt", None, [], "No such file"),
        ("a.txt.gz", "not gzip", [], "Not a gzipped file"),
        ("a.txt.gz", gzip.compress(b"3\n" * 9, mtime=0)[:-9], [], "ended before the end-of-stream marker"),
        ("a.txt.gz", gzip.compress(b"3\n", mtime=0)[:10] + b"\xff" * 20, [], "it is cut, or damaged"),
        (
            "a.csv",
            'length,t\n3,a\n3,"a\n3,a\n',
            [],
            "line 4: unexpected end of data; no CSV: is a quote left open?",
        ),
        ("a.txt", "3\n", ["--column", "length"], "is no .csv, and --column names a column of one"),
        ("", None, ["--column", "length"], "is no .csv, and --column names a column of one"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, capsys, name: str, text: str | bytes | None, more: list[str], words: str
) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert advise.main(["--data", str(tmp_path / name), *more]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "inf", "nan", "1e308", "many"])
def test_a_memory_that_is_none_is_refused(capsys, number: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        advise.main(["--data", "-", f"--max-memory={number}"])
    assert "must be a number of megabytes above 0" in capsys.readouterr().err


def test_the_page_ends_in_what_to_type(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{length}\n" for length in range(1, 200)))
    assert advise.main(["--data", str(tmp_path / "a.txt"), "--batch-size", "8", "--budget", "400"]) == 0
    out = capsys.readouterr().out
    assert "199 sequences, 19,900 steps: shortest 1, median 100, longest 199" in out
    assert "4 buckets: padding.boundaries=[" in out
    assert out.splitlines()[-1].startswith("least padding: python -m workbench padding=")


def test_of_one_length_nothing_is_divided(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.txt").write_text("7\n7\n")
    assert advise.main(["--data", str(tmp_path / "a.txt"), "--batch-size", "1"]) == 0
    assert "boundaries" not in capsys.readouterr().out


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.sampled_from([".txt", ".csv", ".conllu"]))
def test_no_text_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str, kind: str) -> None:
    path = tmp_path_factory.mktemp("any") / f"a{kind}"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        found = advise.read_lengths(str(path), None, [])
    except advise.LengthsError:
        return
    assert found
    assert all(length >= 0 and count > 0 for length, count in found.items())
