"""The folder of a report: complete, byte-identical for equal input, true about what is missing."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from workbench.claims import Claim, judge_table
from workbench.config import load
from workbench.record import Run, unfinished
from workbench.record.frames import read_csv, runs_of
from workbench.record.plan import Job, Plan
from workbench.report import arms, assemble, figures, page, recorded, results, tables
from workbench.sweep.compose import Composer


def contents(folder):
    return {
        str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()
    }


@pytest.mark.slow  # quick: tests/report/test_html.py
def test_equal_input_gives_equal_bytes(tmp_path, verdicts, sweep_runs, facts):
    written = page.write_report(tmp_path / "a", verdicts, runs_of(sweep_runs), facts)
    shuffled = sweep_runs.sample(frac=1, random_state=5)
    page.write_report(tmp_path / "b", verdicts, runs_of(shuffled), dict(reversed(facts.items())))
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert sorted(first) == sorted(str(one.relative_to(tmp_path / "a")) for one in written)
    drawn = ("effects", "speed_over_padding", "memory", "block_by_block", "padding")
    assert set(first) == {"verdicts.json", "verdicts.csv", "report.md", "report.html"} | {
        f"figures/{name}.{kind}" for name in drawn for kind in ("svg", "png")
    }


def test_the_json_is_the_verdicts(tmp_path, verdicts, sweep_runs, facts):
    page.write_report(tmp_path, verdicts, runs_of(sweep_runs), facts)
    text = (tmp_path / "verdicts.json").read_text(encoding="utf-8")
    assert json.loads(text) == [json.loads(json.dumps(one.to_json())) for one in verdicts]


def test_the_answer_stands_first(verdicts, sweep_runs, facts):
    text = page.page_markdown(verdicts, runs_of(sweep_runs), facts | {"question": "What does padding cost?"})
    head = text[: text.index("## Verdicts")]
    assert "What does padding cost?" in head
    assert "Of 5 claims: 3 reproduced, 1 contradicted, 1 inconclusive." in head
    assert (
        "longest of the data set. **reproduced** (faster: 3.53x [3.47, 3.60]; worth the name from 1.2x; 8 of 8"
        in head
    )
    for words in (
        "A/A: instrument ok",
        "](figures/effects.svg)",
        "not judged",
        "rnn.allow_retrace=true asks for it",
        "| gru-batch-3 | killed: out of memory | abc123 |",
        "residual beyond 5 MAD",
        "Some CPU, 2 cores, 8 GB",
        "python 3.11.9, tensorflow 2.21.0",
        "dbab1c5 (with changes not committed)",
        "7.4 minutes",
        "the second block was queued again",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("batches", "is_epoch", "warned"),
    [(62, False, True), (62, True, False), (200, False, False), (None, False, False)],
)
def test_a_short_window_is_said(sweep_runs, facts, batches, is_epoch, warned):
    runs = sweep_runs.assign(**{"metrics.speed/batches": batches})
    text = page.page_markdown([], runs_of(runs), facts | {"window_is_epoch": is_epoch})
    assert ("neither a whole epoch nor 200 batches" in text) is warned


@pytest.mark.parametrize(("steps", "warned"), [(20, False), (None, False), (5, True)])
def test_a_short_warmup_is_said_with_its_arms(sweep_runs, facts, steps, warned):
    runs = sweep_runs.assign(**{"metrics.speed/warmup_steps": 20.0})
    runs.loc[runs["params.padding.name"] == "bucket", "metrics.speed/warmup_steps"] = steps
    text = page.page_markdown([], runs_of(runs), facts)
    words = "was 5 steps at the shortest, fewer than 20, in gru, bucket; lstm, bucket: the first"
    assert (words in text) is warned
    assert ("warm-up" in text) is warned


@pytest.fixture
def calm(sweep_runs):
    """Timed runs on a machine at rest."""
    return sweep_runs.assign(
        **{
            "metrics.speed/calibration_before_gflops": 100.0,
            "metrics.speed/calibration_after_gflops": 109.0,
            "metrics.speed/foreign_cpu_share": 0.05,
            "tags.workbench.requeued": None,
        }
    )[sweep_runs["run_id"] != "parent"]


def test_a_calm_machine_is_said(calm, sweep_runs, facts):
    gate = "disturbed, by the calibration gate (calibrations 10% apart, or foreign CPU over 5%)"
    text = page.page_markdown([], runs_of(calm), facts)
    assert f"| {gate} | none of 56 timed runs |" in text
    assert "disturbed" not in page.page_markdown([], runs_of(sweep_runs), facts)  # nothing was timed


def test_disturbed_runs_are_counted_by_block_and_named(calm, facts):
    def at(run_id):
        return calm["run_id"] == run_id

    calm.loc[at("lstm-global-0-3"), "metrics.speed/calibration_after_gflops"] = 111.0
    calm.loc[at("lstm-global-1-3"), "metrics.speed/calibration_after_gflops"] = 90.0  # the control again
    calm.loc[at("gru-batch-0-7"), "metrics.speed/foreign_cpu_share"] = 0.051
    calm.loc[at("gru-batch-0-0"), "metrics.speed/foreign_cpu_share"] = 0.9  # the throw-away block
    said = "3 of 56 timed runs: block 3: 2 (lstm-glo, lstm-glo); block 7: 1 (gru-batc)"
    assert f"| {said} |" in page.page_markdown([], runs_of(calm), facts)
    calm.loc[at("gru-batch-0-7"), "tags.workbench.requeued"] = "true"
    text = page.page_markdown([], runs_of(calm), facts)
    assert f"| {said.replace(':', ' (1 of them set aside and run again):', 1)} |" in text


@pytest.mark.slow  # quick: the others of this file
def test_nothing_to_say_is_said(tmp_path, verdicts, sweep_runs, facts):
    page.write_report(tmp_path, verdicts, runs_of(sweep_runs), facts)
    written = page.write_report(tmp_path, [], [], {})
    assert [one.name for one in written] == ["verdicts.json", "verdicts.csv", "report.md", "report.html"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "No claim was judged." in text
    assert "No run finished." in text
    assert "![" not in text
    assert list((tmp_path / "figures").iterdir()) == []  # those of the first report are gone


def test_all_failed(tmp_path, verdicts, sweep_runs, facts):
    dead = [
        replace(
            one,
            effect=None,
            interval=None,
            decision_interval=None,
            verdict="inconclusive",
            pairs=0,
            by_condition=(),
        )
        for one in verdicts
    ]
    runs = sweep_runs.assign(status="FAILED")
    written = page.write_report(tmp_path, dead, runs_of(runs), facts)
    assert all(one.parent.name != "figures" for one in written)
    assert "Of 5 claims: 5 inconclusive." in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow  # quick: one metric missing
def test_numbers_that_are_none(tmp_path, verdicts, sweep_runs, facts):
    odd = [
        replace(
            verdicts[0], effect=math.inf, interval=(1.0, math.inf), decision_interval=(math.nan, math.inf)
        ),
        replace(verdicts[1], effect=math.nan, interval=None, decision_interval=None),
        replace(verdicts[2], interval=(0.9, math.inf), decision_interval=(0.0, 1e200)),
        replace(verdicts[3], effect=0.0, interval=(0.0, 0.0), decision_interval=(0.0, 0.0), smallest=0.0),
    ]
    page.write_report(tmp_path, odd, runs_of(sweep_runs), facts)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "infinite [1, infinite]" in text
    assert "not a number" in text
    assert json.loads((tmp_path / "verdicts.json").read_text())[0]["effect"] is None


@pytest.mark.slow  # quick: the others here
def test_foreign_and_long_words(tmp_path, verdicts, sweep_runs, facts):
    odd = [
        replace(verdicts[0], claim="更快_" + "long_" * 40, statement="naïve $x$ | y\nz " * 40),
        *verdicts[1:],
    ]
    page.write_report(tmp_path, odd, runs_of(sweep_runs), facts)
    table = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "更快" in table
    assert (tmp_path / "figures" / "effects.png").stat().st_size > 10_000


def test_one_metric_missing(verdicts, sweep_runs):
    runs = sweep_runs.drop(
        columns=["metrics.speed/valid_tokens_per_s", "metrics.data/predicted_padding_share"]
    )
    assert figures.drawn(verdicts, runs_of(runs)) == ["effects", "memory", "padding"]


def test_a_run_that_another_attempt_made_good_is_no_failure() -> None:
    runs = pd.DataFrame(
        {
            "run_id": ["a", "b", "c", "d"],
            "status": ["KILLED", "FINISHED", "FAILED", "KILLED"],
            "start_time": [1, 2, 3, 4],
            "tags.workbench.block": ["1", "1", "2", "2"],
            "tags.workbench.arm": ["x", "x", "x", "x"],
        }
    )
    assert [run.run_id for run in unfinished(runs_of(runs))] == ["d"]
    assert unfinished(runs_of(runs[:2])) == unfinished([]) == []


def test_what_was_set_aside_and_not_made_good_is_a_failure() -> None:
    runs = pd.DataFrame(
        {
            "run_id": ["a", "b", "c", "d", "e"],
            "status": ["FINISHED", "FAILED", "FINISHED", "FINISHED", "FINISHED"],
            "start_time": [1, 2, 3, 4, 5],
            "tags.workbench.block": ["1", "1", "2", "2", "3"],
            "tags.workbench.arm": ["x", "x", "x", "x", "x"],
            "tags.workbench.requeued": ["true", None, "true", None, "true"],
            "tags.mlflow.runName": ["1 x", "1 x", "2 x", "2 x", "3 x"],
        }
    )
    facts = assemble._facts(Run("p", "FINISHED", {"name": "y"}), runs_of(runs), Plan([], [], 3, False), None)
    assert facts["failures"] == [("1 x", "FAILED", "b"), ("3 x", "set aside, and not run again since", "e")]


def test_a_job_that_no_run_was_begun_of_stays_in_the_table_with_no_run(sweep_runs) -> None:
    tree, wrong = load(Composer()(["cell=basic_rnn", "padding=global"]))
    assert not wrong
    again, other = Job(98, "x", 1, 1, tree), Job(99, "cell=basic_rnn padding=global", 1, 0, tree)
    jobs = sweep_runs[sweep_runs["tags.workbench.kind"] == "run"]
    jobs = jobs[jobs["tags.workbench.repeat"] == "0"].assign(**{"tags.workbench.arm": "x"})
    shown = [*runs_of(jobs), *assemble.not_begun(runs_of(jobs), [again, other])]
    assert [run.run_id for run in shown[-2:]] == ["(job 98)", "(job 99)"]
    table = {arm: n for arm, n, _ in tables.summarised(shown, ["cell.name", "padding.name"])[0]}
    assert table.pop("basic_rnn, global") == 0
    assert set(table.values()) == {8}
    assert assemble.not_begun(shown, [again, other]) == []


def test_who_has_no_sweep_is_told_of_an_experiment_only_where_it_is_one() -> None:
    tracker: Any = SimpleNamespace(
        runs=lambda name: [],
        sweeps=lambda **_: [],
        deleted_experiment=lambda name: "",
        uri="sqlite:///x.db",
    )
    for name, said in (
        ("padding_ablation", "run it first: python -m workbench +experiment=padding_ablation -m"),
        ("mine", "run it first"),
    ):
        with pytest.raises(recorded.ReportError, match=re.escape(f"at sqlite:///x.db; {said}") + "$"):
            recorded.latest_sweep(tracker, name)


@pytest.mark.parametrize(
    ("metric", "is_said"),
    [("speed/valid_tokens_per_s", True), ("loss/validation_per_token", False), (None, False)],
)
def test_the_history_of_controls_is_said_below_a_timed_sweep_with_a_control_only(
    verdicts, metric, is_said
) -> None:
    rows = [
        replace(one, metric=metric or one.metric) for one in verdicts if one.kind != "instrument" or metric
    ]
    assert assemble.has_timed_control(rows) is is_said


def test_published_runs_name_no_place_of_this_machine(sweep_runs) -> None:
    places = {
        "params.data.path": "/here/data",
        "tags.workbench.command": "python -m workbench data.path=/here/data",
        "tags.workbench.owner": "here/boot:1:2",
        "artifact_uri": "/here/artifacts",
    }
    text = results.published(runs_of(sweep_runs.assign(**places)))
    assert "here" not in text
    assert "params.padding.name" in text.splitlines()[0]
    assert "params.data.path" not in text


def test_which_data_an_arm_read_is_published_without_where_it_lay() -> None:
    runs = [Run(str(i), "FINISHED", {"data.path": f"/here/{name}"}) for i, name in enumerate(("b", "a", "b"))]
    rows = csv.DictReader(results.published(runs).splitlines())
    assert [row["params.data.path"] for row in rows] == ["2", "1", "2"]


def test_a_path_that_claims_hold_equal_is_published_by_number() -> None:
    runs = [Run(str(i), "FINISHED", {"data.path": "/here/a"}) for i in range(2)]
    claim = Claim(
        "x", "", "", "loss/step", {"rnn": "a"}, {"rnn": "b"}, "lower", 1.1, "", equal=("data.path",)
    )
    rows = csv.DictReader(results.published(runs, [claim]).splitlines())
    assert [row["params.data.path"] for row in rows] == ["1", "1"]


@pytest.mark.parametrize(
    ("name", "equal"), [("data.path", ()), ("padding.name", ("mlflow.source.git.commit",))]
)
def test_published_runs_are_judged_like_those_of_the_sweep(tmp_path, name, equal) -> None:
    """Though a claim may name what else is not published."""
    metric = "loss/validation_per_token"
    arms_of = {name: "/data/clean"}, {name: "/data/raw"}
    claim = Claim(
        *("cleaned", "Clean data teach more.", "ours", metric, *arms_of, "lower", 1.05, "a test"),
        pairs=6,
        equal=equal,
        control_again=False,
    )
    runs = [
        Run(
            f"{block}{arm[name]}",
            "FINISHED",
            {**arm, "seed": str(block)},
            {metric: loss + 0.01 * (block % 3)},
            {"workbench.kind": "run", "workbench.block": str(block), "mlflow.source.git.commit": "8cba477"},
            start=float(block),
        )
        for block in range(1, 7)
        for arm, loss in zip(arms_of, (0.5, 1.0), strict=True)
    ]
    (tmp_path / "runs.csv").write_text(results.published(runs, [claim]))
    first, again = judge_table([claim], runs), judge_table([claim], read_csv(tmp_path / "runs.csv"))
    assert first[0].verdict == "reproduced"
    assert (again[0].verdict, again[0].interval, again[0].flags) == (
        first[0].verdict,
        first[0].interval,
        first[0].flags,
    )


@pytest.mark.parametrize("note", ["10%\r20%\rdone", "a\r\nb", 'a\n"b", c'])
def test_words_of_any_lines_are_published_as_they_are(tmp_path, note: str) -> None:
    runs = [
        Run(f"r{i}", "FINISHED", {"note": note}, {"score": 0.5 + i}, start=float(i + 1)) for i in range(2)
    ]
    (tmp_path / "runs.csv").write_text(results.published(runs))
    again = read_csv(tmp_path / "runs.csv")
    assert [(run.run_id, run.params["note"]) for run in again] == [("r0", note), ("r1", note)]


def test_a_sweep_without_a_run_of_a_job_is_published_all_the_same() -> None:
    assert results.published([]) == "end_time,run_id,start_time,status\n"


def test_a_block_that_is_no_number_is_no_block() -> None:
    runs = [Run(str(n), "FINISHED", {"seed": seed}) for n, seed in enumerate(("1", "abc", "null", "1"))]
    assert [run.run_id for run in arms.counted([*runs, Run("4", "FINISHED")])]
    assert {block: len(of) for block, of in arms.by_block(runs).items()} == {1.0: 2}
    assert Run("r", "FINISHED", tags={"workbench.block": "x"}).block == 0


def test_pictures_of_ones_own_in_the_folder_stay(tmp_path, verdicts, sweep_runs, facts):
    (tmp_path / "figures").mkdir()
    for name in ("mine.png", "effects_9.svg"):
        (tmp_path / "figures" / name).write_text("x")
    page.write_report(tmp_path, verdicts, runs_of(sweep_runs), facts)
    assert (tmp_path / "figures" / "mine.png").read_text() == "x"
    assert not (tmp_path / "figures" / "effects_9.svg").exists()


def test_arms_that_would_be_called_alike_have_their_whole_names():
    """Layers of the cell in one, of the model in the other."""
    params = [("1", "1"), ("2", "1"), ("1", "2")]
    runs = [
        Run(str(i), "FINISHED", {"cell.layers": one, "model.layers": other, "seed": str(block)})
        for block in range(2)
        for i, (one, other) in enumerate(params, 10 * block)
    ]
    found = arms.by_arm(runs, ["cell.layers", "model.layers"])
    assert [len(of_arm) for of_arm in found.values()] == [2, 2, 2]
    assert {"cell.layers=2, model.layers=1", "cell.layers=1, model.layers=2"} <= {*found}


def test_the_machines_are_those_of_the_runs_and_not_the_one_that_the_sweep_was_typed_at() -> None:
    def on(cpu: str, name: str) -> Run:
        return Run(
            name, "FINISHED", tags={"machine.cpu": cpu, "machine.cores": "2", "machine.memory_gb": "8"}
        )

    plan, own = Plan([], [], 1, False), on("laptop", "sweep")
    assert assemble._facts(own, [on("node", "a")], plan, None)["machine"] == "node, 2 cores, 8 GB"
    assert assemble._facts(own, [], plan, None)["machine"] == "laptop, 2 cores, 8 GB"


@pytest.mark.parametrize(
    ("commit", "dirty", "told", "again"),
    [
        ("a1" * 20, "false", "a1" * 20, True),
        ("a1" * 20, "true", "a1" * 20 + " (with changes not committed)", True),
        (f"{'a1' * 20} and {'b2' * 20}", "false and true", "(with changes not committed)", False),
    ],
)
def test_a_sweep_that_went_on_with_other_code_is_repeated_by_no_checkout(
    commit: str, dirty: str, told: str, again: bool
) -> None:
    rows = dict(page._fact_rows({"commit": commit, "dirty": dirty, "command": "x", "sweep": "s"}))
    assert told in rows["commit"]
    assert commit in rows["commit"]
    assert any("git checkout" in text for text in rows.values()) == again
