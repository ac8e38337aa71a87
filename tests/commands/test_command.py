"""The command that a person types, and what it leaves in MLflow; every exit code."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from workbench.__main__ import main
from workbench.console import on_stdout
from workbench.record import METRICS, TAGS
from workbench.record.frames import frame_of
from workbench.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = """
schema: 1
pairs: 2
equal: [data.fingerprint, device, threads, speed/valid_tokens]
claims:
- name: padding_changes_no_result
  kind: exact
  statement: How far a batch is padded does not change what is learnt.
  source: "guide, passing sequence_length"
  metric: loss/validation_per_token
  scale: difference
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: same
  smallest: 0
  tolerance: 0.00001
  why_smallest: only the order of sums may differ
- name: batch_padding_pads_as_much
  kind: exact
  statement: A claim that is wrong.
  source: "nobody"
  metric: data/padding_share
  scale: difference
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: same
  smallest: 0
  why_smallest: it is wrong
"""
EXPERIMENT = """
# @package _global_
name: tiny
sweep:
  claims: {claims}
  grids: [{{padding: [global, batch], rnn: [dynamic, static]}}]
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory, type_in, small):
    """A whole sweep with claims, typed once."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "claims.yaml").write_text(CLAIMS)
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "tiny.yaml").write_text(
        EXPERIMENT.format(claims=folder / "claims.yaml")
    )
    words = ["+experiment=tiny", "--config-dir", "mine", "-m", *small, "rnn=dynamic"]
    # tests/reproducibility runs the probes, tests/sweep a throw-away block
    words += ["measure.correctness_batches=0", "measure.passes=1", "sweep.throw_away=false"]
    return folder, type_in(folder, *words)


@pytest.mark.command
class TestSweep:
    def test_ends_well_and_shows_its_verdicts(self, swept) -> None:
        _, done = swept
        assert done.returncode == 0, done.stdout + done.stderr
        assert "6 jobs in 2 blocks, 2 claims" in done.stdout
        assert "reproduced" in done.stdout
        assert "contradicted" in done.stdout

    def test_parent_and_children_are_in_mlflow(self, swept) -> None:
        folder, _ = swept
        runs = frame_of(Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").runs("tiny"))
        assert set(runs["status"]) == {"FINISHED"}
        parent = runs[runs["tags.workbench.kind"] == "sweep"]
        children = runs[runs["tags.workbench.kind"] == "run"]
        assert (len(parent), len(children)) == (1, 6)
        assert set(children["tags.mlflow.parentRunId"]) == set(parent["run_id"])
        assert len(set(children["tags.workbench.identity"])) == 6
        assert children["tags.workbench.block"].value_counts().to_dict() == {"1": 3, "2": 3}
        assert set(children["params.device"]) <= {"cpu", "gpu"}
        recorded = {c.removeprefix("metrics.") for c in children if c.startswith("metrics.")}
        of_claims = {name for name in recorded if name.startswith("claim/")}
        assert recorded - of_claims - {"epoch"} <= set(METRICS)
        assert of_claims
        assert children[[f"metrics.{name}" for name in of_claims]].isna().all(axis=None), (
            "the sweep's own run has them"
        )
        tags = {c.removeprefix("tags.") for c in runs if c.startswith("tags.") and "mlflow" not in c}
        assert {tag for tag in tags if tag not in TAGS and f"{tag.partition('.')[0]}." not in TAGS} == set()
        for name in ("speed/valid_tokens_per_s", "memory/peak_rss_mb", "loss/validation_per_token"):
            assert children[f"metrics.{name}"].notna().all()

    def test_the_frozen_grid_and_the_claims_lie_with_the_parent(self, swept) -> None:
        folder, _ = swept
        tracker = Tracker(f"sqlite:///{folder}/mlruns/mlflow.db")
        runs = frame_of(tracker.runs("tiny"))
        (parent,) = runs[runs["tags.workbench.kind"] == "sweep"]["run_id"]
        frozen = json.loads(tracker.read_text(parent, "grid.json"))
        assert [job["block"] for job in frozen["jobs"]] == [1, 1, 1, 2, 2, 2]
        assert tracker.read_text(parent, "claims.yaml") == CLAIMS
        verdicts = json.loads(tracker.read_text(parent, "verdicts.json"))
        assert [v["verdict"] for v in verdicts[:2]] == ["reproduced", "contradicted"]

    def test_the_control_again_is_bit_identical_to_the_control(self, swept) -> None:
        folder, _ = swept
        runs = frame_of(Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").runs("tiny"))
        control = runs[
            (runs["params.padding.name"] == "global") & (runs["tags.workbench.block"].isin(["1", "2"]))
        ]
        for _, pair in control.groupby("params.seed"):
            assert sorted(pair["params.repeat"]) == ["0", "1"]
            for digest in ("losses", "weights", "order"):
                assert pair[f"tags.digest.{digest}"].nunique() == 1
        assert control["tags.digest.losses"].nunique() == 2

    def test_the_arms_of_a_block_see_the_same_examples_in_the_same_order(self, swept) -> None:
        folder, _ = swept
        runs = frame_of(Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").runs("tiny"))
        children = runs[runs["tags.workbench.kind"] == "run"]
        assert (children.groupby("params.seed")["tags.digest.order"].nunique() == 1).all()

    @pytest.mark.slow  # quick: tests/report/test_page.py
    def test_report_gives_the_same_bytes_again_and_runs_nothing(self, swept, type_in) -> None:
        folder, _ = swept
        (first,) = folder.glob("mlruns/hydra/tiny/*/report/verdicts.json")
        again = type_in(
            folder, "tiny", "--claims", "claims.yaml", "--out", "again", module="workbench.report"
        )
        assert again.returncode == 0, again.stderr
        for name in ("verdicts.json", "verdicts.csv", "report.md", "runs.csv"):
            assert (folder / "again" / name).read_bytes() == first.with_name(name).read_bytes()
        assert len(Tracker(f"sqlite:///{folder}/mlruns/mlflow.db").runs("tiny")) == 7

    def test_the_published_runs_judge_alike_and_name_no_place(self, swept) -> None:
        from workbench.claims import judge_table, load

        folder, _ = swept
        (path,) = folder.glob("mlruns/hydra/tiny/*/report/runs.csv")
        assert str(folder) not in path.read_text()
        verdicts = judge_table(load(folder / "claims.yaml"), pd.read_csv(path, dtype={"params.seed": str}))
        assert [v.verdict for v in verdicts[:2]] == ["reproduced", "contradicted"]


@pytest.mark.slow  # quick: the digests of TestSweep, and tests/process/test_child.py for both ways to start a child
@pytest.mark.command
def test_one_run_fresh_or_forked_gives_the_same_bits(tmp_path: Path, type_in, small) -> None:
    """On a treebank whose test file holds the dev file's sentences twice, so that both must come out alike."""
    digests = []
    words = [
        f"{n}\t{word}\t_\t{tag}\n" for n, (word, tag) in enumerate([("it", "PRON"), ("rains", "VERB")], 1)
    ]
    for split, count in (("train", 40), ("dev", 8), ("test", 16)):
        sentences = ["".join(words[: 1 + n % 2]) for n in range(count)]
        text = "\n".join(sentences) + "\n"
        (tmp_path / f"xx-ud-{split}.conllu").write_text(text)
    rest = [word for word in small if not word.startswith("data")]
    treebank = ["data=ud_english_ewt", f"data.path={tmp_path}", "data.test=true", "data.batch_size=16"]
    for start in ("fork", "fresh"):
        done = type_in(tmp_path, *rest, *treebank, f"workbench.start={start}", "name=one", "measure=off")
        assert done.returncode == 0, done.stdout + done.stderr
        for word in ("ran", "loss", "accuracy", ", test ", "recorded"):
            assert word in done.stdout
    runs = frame_of(Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db").runs("one"))
    assert sorted(runs["tags.workbench.start"]) == ["fork", "fresh"]
    digests = [runs[f"tags.digest.{name}"].nunique() for name in ("losses", "weights", "order")]
    assert digests == [1, 1, 1]
    for metric in (
        "loss/{}_per_token",
        "loss/{}_per_example",
        "accuracy/{}_per_token",
        "accuracy/{}_per_example",
    ):
        held_out, test = (runs[f"metrics.{metric.format(split)}"] for split in ("validation", "test"))
        assert 0 < held_out[0] == pytest.approx(test[0], rel=1e-6)


@pytest.mark.slow  # quick: tests/sweep/test_conduct.py and test_divergence.py
@pytest.mark.command
def test_a_job_that_fails_costs_no_other_and_the_exit_code_says_so(tmp_path: Path, type_in, small) -> None:
    done = type_in(
        tmp_path, "-m", *small, "measure=off", "name=failing", "cell=time_freq_lstm", "cell.feature_size=8,9"
    )
    assert done.returncode == 1
    runs = frame_of(Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db").runs("failing"))
    children = runs[runs["tags.workbench.kind"] == "run"].set_index("params.cell.feature_size")
    assert children.loc["8", "status"] == "FINISHED"
    assert children.loc["9", "status"] == "FAILED"
    assert "feature_size=9 is over the 8 features" in children.loc["9", "tags.workbench.error"]
    assert children.loc["9", "run_id"] in done.stdout
    assert runs[runs["tags.workbench.kind"] == "sweep"]["status"].item() == "FAILED"


REFUSED = [
    (["training.epoch=3"], "did you mean training.epochs?"),
    (["+experiment=padding_ablatoin", "-m"], "padding_ablatoin"),
    (["seed=1,2"], "several values make a sweep: add -m"),
    (["workbench.resume=true"], "workbench.resume=true: it is a sweep that goes on: add -m"),
    (["workbench.resume='a b'", "-m"], "workbench.resume='a b': must be letters, digits"),
    (["workbench.commit_results=true"], "a single run has no report: add -m"),
    (["+experiment=padding_ablation"], "experiment 'padding_ablation' is a sweep: add -m"),
    (["workbench.start=fork,fresh", "-m"], "workbench.start=fork,fresh: says how a sweep is run"),
    (["name=a,b", "-m"], "name=a,b: says how a sweep is run or recorded"),
    (["--multirunn"], "no such flag"),
    (["--config-dir", "nowhere"], "is not a folder"),
    (["tracking.uri=http://127.0.0.1:9"], "nothing answers there"),
    (["tracking.uri=http://127.0.0.1:port"], "tracking.uri=http://127.0.0.1:port: is no address"),
    (["tracking.uri=mlruns"], "must be sqlite:///FILE"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_bad_input_is_refused_before_anything_is_recorded(
    tmp_path: Path, monkeypatch, capsys, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.slow  # quick: tests/sweep/test_asked.py
@pytest.mark.command
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=ud_english_ewt"], "give data.path"),
        pytest.param(["data=tfrecord", "data.path=nowhere"], "nowhere", marks=pytest.mark.slow),
    ],
)
def test_data_that_is_not_there_is_refused_before_a_run_is_recorded(
    tmp_path: Path, type_in, words: list[str], message: str
) -> None:
    done = type_in(tmp_path, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as connection:
        assert connection.execute("select count(*) from runs").fetchone() == (0,)


def test_a_misspelt_metric_in_claims_is_refused_with_its_line(
    tmp_path: Path, monkeypatch, capsys, small
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "claims.yaml").write_text(CLAIMS.replace("data/padding_share", "data/paddin_share"))
    assert main(["-m", *small, "padding=global,batch", "sweep.claims=claims.yaml"]) == 2
    said = capsys.readouterr().err
    assert "claims.yaml:" in said
    assert "data/padding_share" in said


@pytest.mark.parametrize("in_its_place", [TypeError, None])
def test_an_interruption_is_one_also_where_a_library_makes_another_error_of_it(
    in_its_place, monkeypatch
) -> None:
    def composer(folders):
        try:
            raise KeyboardInterrupt
        finally:
            if in_its_place:
                raise in_its_place

    monkeypatch.setattr("workbench.__main__.Composer", composer)
    assert main([]) == 130


def test_a_dry_run_lists_and_stops(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "+experiment=padding_ablation", "workbench.dry_run=true"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "24 blocks after a throw-away block" in said
    assert "skipped: data=python_source padding=batch rnn=static" in said
    assert "claim P2_batch_padding_is_faster: 24 pairs, fewer where a look at 6 or 12 decides" in said
    assert "time: not known: nothing is tracked yet; at 6 s a job" in said
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.command
def test_the_parent_imports_no_tensorflow(tmp_path: Path, type_in) -> None:
    (tmp_path / "look.py").write_text(
        "import sys\nfrom workbench.__main__ import main\ncode = main(['workbench.dry_run=true'])\n"
        "print(code, sorted(m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras')))\n"
    )
    done = type_in(tmp_path, module="look")
    assert done.stdout.strip().endswith("0 []")


@pytest.mark.slow  # quick: tests/sweep/test_conduct.py and tests/process/test_child.py
@pytest.mark.command
def test_a_job_that_asks_for_more_memory_than_its_limit_fails_with_its_traceback_and_ends_a_fail_fast_sweep(
    tmp_path: Path, type_in, small
) -> None:
    done = type_in(
        tmp_path,
        "-m",
        *small,
        "measure=off",
        "name=memory",
        "cell.units=8,6000",
        "sweep.order_seed=3",
        "seed=1,2",
        "workbench.memory_limit_mb=900",
        "workbench.fail_fast=true",
    )
    assert done.returncode == 1
    assert "stopped at the first failure: 2 jobs were not run" in done.stdout
    runs = frame_of(Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db").runs("memory"))
    children = runs[runs["tags.workbench.kind"] == "run"].set_index("params.cell.units")
    assert children["status"].to_dict() == {"8": "FINISHED", "6000": "FAILED"}
    assert "OOM when allocating" in children.loc["6000", "tags.workbench.error"]
    assert "(under workbench.memory_limit_mb=900)" in children.loc["6000", "tags.workbench.error"]


def test_what_was_typed_is_shown_as_it_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """`module:X: ...` holds what rich takes for an emoji's name."""
    assert main(["cell=:X:"]) == 2
    assert "cell=:X:" in capsys.readouterr().err
    console = on_stdout(width=100)
    with console.capture() as printed:
        console.print("cell.target=nomod:X: cannot import nomod")
    assert printed.get() == "cell.target=nomod:X: cannot import nomod\n"


ASCII = {"PYTHONIOENCODING": "ascii", "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.mark.slow  # a sweep of three jobs; quick: a file on a full disk, tests/sweep/test_conduct.py
@pytest.mark.parametrize("reader", ["goes away", "has no such letters"])
def test_who_reads_a_sweep_s_lines_does_not_end_it(tmp_path, reader):
    label = '"größe"' if reader == "has no such letters" else "plain"
    command = [
        sys.executable, "-m", "workbench", "-m", "name=read", f"label={label}", "data=synthetic", "seed=1,2,3",
        "data.examples=64", "data.batch_size=8", "measure=off", "cell.units=4",
    ]  # fmt: skip
    environment = {**os.environ, **ASCII, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as sweep:
        first = sweep.stdout.readline()
        if reader == "goes away":
            sweep.stdout.close()
        else:
            assert rb"mean \xb1 standard deviation" in sweep.stdout.read()
        said = sweep.stderr.read().decode()
    assert (sweep.returncode, first.isascii()) == (0, True), said
    runs = Tracker(f"sqlite:///{tmp_path}/mlruns/mlflow.db", create=False).matching("", "read")
    assert sorted(run.status for run in runs) == ["FINISHED"] * 4
