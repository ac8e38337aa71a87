"""Claims on runs that the workbench did not make: metrics, arms and block are what the file says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from workbench.claims import ClaimError, PairingError, judge_table, load
from workbench.claims.others import known_metrics
from workbench.record import METRICS, Run
from workbench.record.frames import runs_of
from workbench.report import results, said
from workbench.report.__main__ import main
from workbench.report.recorded import ReportError

EXAMPLE = Path(__file__).parents[2] / "experiments" / "scikit_learn"


@pytest.fixture
def file(tmp_path):
    """The example's claims with a text replaced, as a path."""

    def make(old: str = "", new: str = "") -> Path:
        text = (EXAMPLE / "claims.yaml").read_text()
        assert old in text
        path = tmp_path / "claims.yaml"
        path.write_text(text.replace(old, new))
        return path

    return make


def _runs(**columns):
    """What the example's sweep logs, with made-up accuracies: scaling is worth 0.3, less some of each seed."""
    rows = [
        {
            "run_id": f"{seed}-{scaling}-{cache}",
            "status": "FINISHED",
            "start_time": pd.Timestamp(seed, unit="s", tz="UTC"),
            "params.split_seed": str(seed),
            "params.scaling": scaling,
            "params.cache_size": str(cache),
            "metrics.accuracy": 0.6 + (scaling == "standard") * (0.3 + 0.01 * (seed % 3)),
            **{name: value(seed) if callable(value) else value for name, value in columns.items()},
        }
        for seed in range(8)
        for scaling in ("none", "standard")
        for cache in (100, 200)
    ]
    return pd.DataFrame(rows)


def test_runs_of_any_origin_are_judged_by_the_file(file):
    before = set(METRICS)
    measured, exact = judge_table(load(file()), _runs())
    assert (measured.verdict, exact.verdict) == ("reproduced", "reproduced")
    # seeds 0..7 give 0.30, 0.31, 0.32, 0.30, ...: a mean of (3 * 0.30 + 3 * 0.31 + 2 * 0.32) / 8
    assert measured.effect == pytest.approx(0.30875)
    assert set(METRICS) == before  # what a file names is known to that file alone


def test_an_accuracy_of_others_that_does_not_vary_is_decided_by_its_grain(file):
    runs = _runs()
    runs["metrics.accuracy"] = 0.6 + 0.01 * (runs["params.split_seed"].astype(int) % 3)
    same = file("direction: higher", "direction: not_lower")
    (measured, *_) = judge_table(load(same), runs)
    assert measured.interval[0] < 0.0 < measured.interval[1]
    assert measured.spread() == pytest.approx(0.01)


def test_every_param_is_part_of_the_key_but_those_ignored(file):
    runs = _runs()
    runs["params.folder"] = runs["run_id"]
    with pytest.raises(PairingError, match=r"differ in more than they name: folder"):
        judge_table(load(file()), runs)
    assert judge_table(load(file("ignore: []", "ignore: [folder]")), runs)[0].verdict == "reproduced"
    with pytest.raises(PairingError, match=r"cache_size varies \(100, 200\); name it in `over`"):
        judge_table(load(file("  over: {cache_size: [100, 200]}\n")), runs.drop(columns="params.folder"))


def test_the_parent_of_a_search_is_left_out(file):
    parent = pd.DataFrame([{"run_id": "p", "status": "FINISHED", "params.best_scaling": "standard"}])
    both = pd.concat([_runs(), parent])
    assert judge_table(load(file()), both) == judge_table(load(file()), _runs())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "block: split_seed",
            "block: splitseed",
            "block=splitseed: none of 32 runs.*did you mean split_seed",
        ),
        ("block: split_seed", "block: fold", "name the one that tells repeats apart.*they have cache_size"),
        ("accuracy", "acuracy", "metric=acuracy: no run has it; they have accuracy"),
    ],
)
def test_what_no_run_has_is_named(file, old, new, words):
    with pytest.raises(PairingError, match=words):
        judge_table(load(file(old, new)), _runs())


def test_the_same_run_of_two_experiments_is_no_later_attempt(file):
    runs = pd.concat([_runs(experiment_id="1"), _runs(experiment_id="2")], ignore_index=True)
    runs["run_id"] = [f"run{number}" for number in runs.index]
    with pytest.raises(PairingError, match=r"are of two experiments \(ids 1 and 2\): name one"):
        judge_table(load(file()), runs)
    apart = _runs(experiment_id=lambda seed: str(seed % 2))
    assert [one.verdict for one in judge_table(load(file()), apart)] == ["reproduced", "reproduced"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("metric: accuracy", "metric: score", "claims.yaml:15: metric: no metric score"),
        ("better: higher", "better: up", "claims.yaml:3: runs: metrics.accuracy.better: 'up' is no better"),
        ("ignore:", "ignor:", "'ignor' is none of metrics, ignore; did you mean ignore"),
        ("ignore: []", "ignore: folder", "ignore: 'folder' is no list"),
        ("    accuracy: {", "    loss/step: {", "metrics.loss/step: is the workbench's own name"),
        ("{scaling: standard}", "{scaling: 2024-06-01}", "2024-06-01 is a date to YAML; put it in quotes"),
        ("metric: accuracy", "metric: [accuracy, loss]", "is no name of a metric"),
    ],
)
def test_a_bad_section_is_refused_by_line(file, old, new, words):
    with pytest.raises(ClaimError, match=words):
        load(file(old, new))


# what these do with frames is tested above
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own use of SQLAlchemy
def test_the_example_of_scikit_learn(tmp_path, capsys, monkeypatch, file):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, str(EXAMPLE / "sweep.py")], check=True, capture_output=True)
    asked = ["wine", "--uri", "sqlite:///wine.db", "--claims", str(EXAMPLE / "claims.yaml")]
    assert main([*asked, "--runs", "", "--out", "kept"]) == 0
    assert "2 claims: 2 reproduced" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "kept").iterdir()}
    assert written == {
        "verdicts.json", "verdicts.csv", "runs.csv", "report.md", "report.html", "figures", "facts.json",
    }  # fmt: skip
    said = (tmp_path / "kept" / "report.md").read_text()
    assert "An SVC gets more of the wines right" in said
    assert said.count("| 8 |") >= 4, "four arms of eight seeds each"
    assert "nan" not in said
    for other in (said, (tmp_path / "kept" / "report.html").read_text()):
        assert "reproduced" in other
    assert main([*asked, "--runs", "params.scaling = 'robust'"]) == 2
    assert "finds no run" in capsys.readouterr().err
    assert main([*asked, "--runs", "params.scaling is robust"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("--runs")
    assert "Invalid clause" in said
    assert "compares by =" in said
    assert main([*asked[:-1], str(file("runs:", "# runs:")), "--runs", ""]) == 2
    capsys.readouterr()


def _plain_runs(metric="score", of=lambda seed, arm: 0.6 + 0.3 * (arm == "b") + 0.01 * (seed % 3), **params):
    """Eight seeds of two arms of a param `model`, as rows of a table."""
    return [
        {
            "run_id": f"{seed}-{arm}",
            "status": "FINISHED",
            "start_time": pd.Timestamp(seed, unit="s", tz="UTC"),
            "params.seed": str(seed),
            "params.model": arm,
            f"metrics.{metric}": of(seed, arm),
            **{f"params.{name}": value(seed, arm) for name, value in params.items()},
        }
        for seed in range(1, 9)
        for arm in ("a", "b")
    ]


@pytest.fixture
def table(tmp_path):
    """A table of one claim, b against a, with these lines, as what judges it."""

    def make(
        claim: str = "", runs: str = "", pairs: str = "8", metric: str = "score", unit: str = "1"
    ) -> list:
        path = tmp_path / "table.yaml"
        path.write_text(
            f"pairs: {pairs}\nblock: seed\ncontrol_again: false\nequal: []\n"
            f"runs: {{metrics: {{{metric}: {{unit: '{unit}'}}, speed/x: {{unit: s}}}}{runs}}}\nclaims:\n"
            f"- name: better\n  statement: b beats a\n  source: us\n  metric: {metric}\n"
            "  treatment: {model: b}\n  control: {model: a}\n  why_smallest: a test\n"
            + (claim or "  scale: difference\n  direction: higher\n  smallest: 0.1\n")
        )
        return load(path)

    return make


def judged(claims, rows):
    return judge_table(claims, pd.DataFrame(rows))[0]


HIGHER = "  scale: difference\n  direction: higher\n  smallest: 0.1\n"


def test_where_is_of_a_param_or_a_metric_of_any_name_and_never_passed_over(table):
    rows = [{**row, "metrics.n_train": 500.0, "metrics.speed/x": 2.0} for row in _plain_runs()]
    for where in ("n_train > 100", "speed/x < 3"):
        assert judged(table(f"{HIGHER}  where: ['{where}']\n"), rows).verdict == "reproduced"
    for where in ("n_train > 1000", "speed/x > 3"):
        found = judged(table(f"{HIGHER}  where: ['{where}']\n"), rows)
        assert (found.verdict, found.pairs) == ("inconclusive", 0)
        assert "no runs on this side of `where`" in found.reasons[0]
    with pytest.raises(PairingError, match=r"where: no run records n_tran; did you mean n_train"):
        judged(table(f"{HIGHER}  where: ['n_tran > 100']\n"), rows)


def test_params_of_others_may_have_slashes_in_every_place(tmp_path):
    rows = [
        {
            "run_id": f"{fold}-{depth}",
            "status": "FINISHED",
            "start_time": pd.Timestamp(fold, unit="s", tz="UTC"),
            "params.cv/fold": str(fold),
            "params.tree/depth": str(depth),
            "params.data/rows": "100",
            "metrics.test/score": 0.1 * depth + 0.001 * fold,
        }
        for fold in range(8)
        for depth in (2, 4)
    ]
    path = tmp_path / "slashes.yaml"
    path.write_text(
        "pairs: 8\nblock: cv/fold\ncontrol_again: false\nequal: [data/rows]\n"
        "runs: {metrics: {test/score: {unit: '1', scale: difference}}}\nclaims:\n"
        "- {name: deeper, statement: deeper is better, source: us, metric: test/score,\n"
        "   treatment: {tree/depth: 4}, control: {tree/depth: 2}, where: ['data/rows > 50'],\n"
        "   scale: difference, direction: higher, smallest: 0.1, why_smallest: a test}\n"
    )
    (found,) = judge_table(load(path), pd.DataFrame(rows))
    assert (found.pairs, found.effect) == (8, pytest.approx(0.2))


def test_a_param_of_like_name_is_not_free_with_the_one_that_tells_the_arms_apart(table):
    """But those of its group, which a name with a dot is of: they are chosen as a whole."""
    rows = _plain_runs(**{"model.epochs": lambda seed, arm: "10" if arm == "a" else "100"})
    with pytest.raises(PairingError, match=r"differ in more than they name: model.epochs \(100 against 10\)"):
        judged(table(), rows)


def test_a_run_that_is_made_later_moves_no_look(table):
    """Seeds are in any order: a look's pairs are those that were run first."""
    claims = table(pairs="[6, 8]")
    rows = _plain_runs(of=lambda seed, arm: 0.5 + (0.3 + 0.01 * (seed % 3)) * (arm == "b"))
    first = judged(claims, rows[:12])
    later = [{**row, "params.seed": str(-(number // 2))} for number, row in enumerate(rows[12:], 2)]
    for row in later:
        row["metrics.score"] = 0.5
    second = judged(claims, rows[:12] + later)
    assert (first.verdict, first.look) == (second.verdict, second.look) == ("reproduced", 1)
    assert first.effect == second.effect


@pytest.mark.parametrize(
    ("claim", "b", "a"),
    [
        ("  kind: exact\n  scale: difference\n  direction: higher\n  smallest: 0.1\n", 0.9, 0.8),
        (
            "  kind: exact\n  scale: difference\n  direction: same\n  smallest: 0\n  tolerance: 0.01\n",
            0.36,
            0.35,
        ),
        ("  kind: exact\n  scale: ratio\n  direction: higher\n  smallest: 1.2\n", 12.0, 10.0),
    ],
)
def test_decimals_that_lie_on_the_bound_hold(table, claim, b, a):
    """0.9 - 0.8 is 0.09999999999999998."""
    found = judged(table(claim), _plain_runs(of=lambda seed, arm: b if arm == "b" else a))
    assert found.verdict == "reproduced", found.reasons
    other = judged(
        table(claim), _plain_runs(of=lambda seed, arm: b * 0.99999 - 2e-5 if arm == "b" else a - 2e-5)
    )
    assert other.verdict == "contradicted" or "same" in claim


def test_exactly_none_means_none(table):
    claim = "  kind: exact\n  scale: difference\n  direction: same\n  smallest: 0\n"
    found = judged(table(claim), _plain_runs(of=lambda seed, arm: 1e-17 * (arm == "b")))
    assert found.verdict == "contradicted"


def test_a_block_may_be_a_tag(table):
    rows = _plain_runs()
    for row in rows:
        row["tags.seed"] = row.pop("params.seed")
    exact = "  kind: exact\n  scale: difference\n  direction: higher\n  smallest: 0.1\n"
    assert judged(table(exact), rows).verdict == "reproduced"
    assert judged(table(), rows).pairs == 8


def test_a_run_that_died_before_all_was_recorded_is_a_failed_pair_till_it_is_run_again(table):
    rows = _plain_runs(depth=lambda seed, arm: "3")
    (died,) = [row for row in rows if row["run_id"] == "4-b"]
    again = {**died, "run_id": "again", "start_time": pd.Timestamp(100, unit="s", tz="UTC")}
    died |= {"status": "FAILED", "params.depth": None, "metrics.score": None}
    found = judged(table(pairs="9"), rows)
    assert found.pairs == 7
    assert judged(table(), [*rows, again]).pairs == 8


def test_runs_of_no_arm_and_parents_take_no_block(table):
    rows = _plain_runs()
    others = [{**row, "run_id": f"{row['run_id']}c", "params.model": "c"} for row in rows[::2]]
    for row in others:
        row |= {"params.seed": f"-{row['params.seed']}", "start_time": pd.Timestamp(0, unit="s", tz="UTC")}
    assert judged(table(), [*rows, *others]).pairs == 8
    for row in rows:
        row["tags.mlflow.parentRunId"] = "search"
        row["params.model"] = None if row["params.model"] == "a" else "b"
    search = {"run_id": "search", "status": "FINISHED", "params.best": "3"}
    claims = load(_with(table, "control: {model: a}", "control: {model: null}"))
    assert judged(claims, [*rows, search]).pairs == 8


def test_a_parent_with_the_params_of_a_child_is_not_its_first_attempt(table):
    """As where each seed has a run around those of both models, which was begun first and records a mean."""
    rows = _plain_runs()
    around = [
        {**row, "run_id": f"{row['run_id']}p", "start_time": pd.Timestamp(0, unit="s", tz="UTC")}
        | {name: 99.0 for name in row if name.startswith("metrics.")}
        for row in rows
        if row["params.model"] == "a"
    ]
    of_seed = {row["params.seed"]: row["run_id"] for row in around}
    inside = [{**row, "tags.mlflow.parentRunId": of_seed[row["params.seed"]]} for row in rows]
    assert judged(table(), [*around, *inside]).effect == judged(table(), rows).effect
    alone = [row for row in inside if row["params.model"] != "a"]  # the parent is the arm
    assert judged(table(), [*around, *alone]).pairs == 8


def _with(table, old: str, new: str) -> Path:
    path = Path(table()[0].file)
    path.write_text(path.read_text().replace(old, new))
    return path


def test_a_percentage_of_somebody_elses_is_no_share(table):
    claims = table(
        "  scale: difference\n  direction: higher\n  smallest: 2\n", metric="accuracy/top5", unit="%"
    )
    rows = _plain_runs("accuracy/top5", of=lambda seed, arm: 60 + 3 * (arm == "b") + 0.1 * (seed % 3))
    found = judged(claims, rows)
    assert (found.unit, said.claimed(found)) == ("%", "at least 2 %")


def _page(folder, claims, rows):
    """The page of these runs."""
    runs = runs_of(pd.DataFrame(rows))
    with known_metrics(claims[0].runs):
        results.of_others(folder, judge_table(claims, runs), claims, runs, "x")
    return (folder / "report.md").read_text()


def test_the_page_counts_runs_that_params_of_our_names_tell_apart(table, tmp_path):
    """`seed` is part of an arm where it is no block, and so is `repeat`."""
    rows = [
        {
            **row,
            "run_id": f"{row['run_id']}-{seed}",
            "params.fold": row["params.seed"],
            "params.seed": seed,
            "params.repeat": "3",
        }
        for row in _plain_runs()
        for seed in ("1", "2")
    ]
    path = _with(table, "block: seed", "block: fold")
    path.write_text(path.read_text() + "  over: {seed: [1, 2]}\n")
    arms = _page(tmp_path / "page", load(path), rows).partition("## Runs")[2].partition("\n## ")[0]
    counts = [line.split("|")[2].strip() for line in arms.splitlines() if line.startswith("|")]
    assert counts[2:] == ["8"] * 4


def test_the_page_of_runs_whose_claims_name_a_tag_of_mlflow_is_drawn_again(table, tmp_path):
    rows = [{**row, "tags.mlflow.source.git.commit": "8cba477"} for row in _plain_runs()]
    claims = load(_with(table, "equal: []", "equal: [mlflow.source.git.commit]"))
    first = _page(tmp_path / "page", claims, rows)
    results.redraw(tmp_path / "page", claims)
    assert (tmp_path / "page" / "report.md").read_text() == first


def test_a_page_of_runs_goes_over_no_verdicts_of_other_claims(table, tmp_path):
    held = '[{"claim": "found_long_ago", "kind": "measured", "sha": "1"}]'
    (tmp_path / "verdicts.json").write_text(held)
    with pytest.raises(ReportError, match="holds verdicts on found_long_ago"):
        _page(tmp_path, table(), _plain_runs())
    assert (tmp_path / "verdicts.json").read_text() == held


def test_two_pages_of_runs_are_compared_by_their_own_metrics(table, tmp_path, capsys):
    for name, more in (("here", 0.0), ("there", 1.0)):
        rows = [{**row, "metrics.score": row["metrics.score"] + more} for row in _plain_runs()]
        _page(tmp_path / name, table(), rows)
    assert main([str(tmp_path / "here"), "--against", str(tmp_path / "there")]) == 0
    said = capsys.readouterr().out
    assert "16 runs of the same job in both results" in said
    assert "0 of 16 within" in said


def test_two_names_that_are_one_number_are_refused(file):
    """Version 1.10 is not 1.1."""
    runs = _runs().astype({"params.split_seed": str})
    runs.loc[runs["params.split_seed"] == "1", "params.split_seed"] = "10"
    once = runs["params.split_seed"] == "2"
    runs.loc[once, "params.split_seed"] = "1e1"
    with pytest.raises(PairingError, match=r"split_seed is written 1\w+ and 1\w+, which are one number"):
        judge_table(load(file()), runs)


def test_a_nan_beside_a_number_contradicts_an_exact_claim(file):
    runs = _runs()
    (_, exact) = load(file())
    before = judge_table(load(file()), runs)[1]
    assert before.verdict == "reproduced"
    typed = runs_of(runs)
    others = {name: value for name, value in typed[0].metrics.items() if name != exact.metric}
    typed[0] = replace(typed[0], metrics=others, no_numbers=frozenset([exact.metric]))
    found = judge_table(load(file()), typed)[1]
    assert found.verdict == "contradicted"
    assert "is nan in run" in found.reasons[0]


def test_conditions_that_no_run_records_are_refused(file):
    over = file("over: {cache_size: [", "over: {cash_size: [")
    with pytest.raises(PairingError, match=r"over: no run records cash_size; did you mean cache_size"):
        judge_table(load(over), _runs())


def test_an_arm_may_be_a_tag(file):
    runs = _runs()
    tagged = runs.rename(columns={"params.scaling": "tags.scaling"})
    ours, theirs = (judge_table(load(file()), one)[0] for one in (runs, tagged))
    assert (theirs.verdict, theirs.effect) == (ours.verdict, ours.effect)


def test_the_order_of_the_claims_does_not_matter_to_the_instrument(tmp_path):
    """What measures others' metrics is not known: each A/A is judged, whichever claim stands first."""
    random, runs = np.random.default_rng(0), []
    for block in range(8):
        for arm, repeat in (("t", 0), ("c", 0), ("c", 1)):
            slow = {"t": 2.0, "c": 1.0}[arm] * (3 if repeat else 1) * np.exp(random.normal(0, 0.02))
            tags = {"workbench.repeat": "1"} if repeat else {}
            metrics = {"m": 1.0 + block + (arm == "t") * 0.5, "slow": slow}
            params = {"arm": arm, "seed": str(block)}
            runs.append(
                Run(str(len(runs)), "FINISHED", params, metrics, tags, start=len(runs), experiment="1")
            )
    of = {
        "treatment": {"arm": "t"},
        "control": {"arm": "c"},
        "direction": "higher",
        "statement": "s",
        "source": "s",
    }
    one = {"name": "one", "metric": "m", "scale": "difference", "smallest": 0.1, "why_smallest": "w", **of}
    two = {"name": "two", "metric": "slow", "scale": "ratio", "smallest": 1.2, "why_smallest": "w", **of}
    for order in ([one, two], [two, one]):
        path = tmp_path / "claims.yaml"
        path.write_text(yaml.safe_dump({
            "schema": 1, "runs": {"metrics": {"m": {}, "slow": {}}}, "pairs": 8, "equal": [],
            "control_again": True, "claims": order,
        }))  # fmt: skip
        *found, instrument = judge_table(load(path), runs)
        assert instrument.verdict == "instrument failed"
        assert {each.verdict for each in found} == {"inconclusive"}


def test_texts_that_are_one_value_and_no_number_are_one_arm(table):
    rows = _plain_runs(shuffle=lambda seed, arm: "True" if seed % 2 else "true")
    assert judged(table(), rows).verdict == "reproduced"


def test_tags_of_others_are_no_settings_of_ours(table):
    """An arm may be a version that a tag tells."""
    rows = [
        {**row, "tags.version.numpy": row["params.model"], "tags.sources.x": "abc"} for row in _plain_runs()
    ]
    assert judged(table(), rows).verdict == "reproduced"


def test_the_control_again_of_others_is_judged_on_the_blocks_of_the_claims(table):
    """Earlier runs of an arm that nobody compares took the first blocks, and no pair was left to judge."""
    (claim,) = table()
    claim = replace(claim, control_again=True)
    rows = _plain_runs()
    again = [
        {**row, "run_id": f"{row['run_id']}-again", "tags.workbench.repeat": "1", "metrics.score": 3.0}
        for row in rows
        if row["params.model"] == "a"
    ]
    earlier = [
        {**row, "run_id": f"c{row['run_id']}", "params.seed": f"10{row['params.seed']}", "params.model": "c",
         "start_time": row["start_time"] - pd.Timedelta(days=1)}
        for row in rows if row["params.model"] == "a"
    ]  # fmt: skip
    found, instrument = judge_table([claim], pd.DataFrame(earlier + rows + again))
    assert instrument.verdict == "instrument failed"
    assert found.verdict == "inconclusive"
