"""What a reader sees: rendered to 100 columns, read back from CSV, and with input that is far from nice."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console
from rich.markup import escape

from workbench.record import Run
from workbench.record.frames import runs_of
from workbench.report import arms, numbers, summary, tables, terminal


def text_of(thing, width=100):
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(thing)
    return console.export_text(styles=False)


def styled(thing):
    console = Console(
        width=100, record=True, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    console.print(thing)
    return console.export_text(styles=True)


def test_the_terminal_table_fits_a_hundred_columns_and_says_all(verdicts):
    text = text_of(terminal.verdict_table(verdicts))
    assert max(map(len, text.splitlines())) <= 100
    together = " ".join(text.split())
    for words in (
        "reproduced",
        "contradicted",
        "inconclusive",
        "3.53x [3.47, 3.60]",
        "-73 MB [-90, -56]",
        "8 of 8",
    ):
        assert words in together
    assert "A/A: instrument ok" in together
    assert "95% interval" in together
    assert "control_again" not in together  # the A/A row is the line below, not a claim
    assert "…" not in text


def test_a_verdict_is_a_colour_and_a_word(verdicts):
    text = styled(terminal.verdict_table(verdicts))
    for code, word in (("1;32", "reproduced"), ("1;31", "contradicted"), ("1;33", "inconclusive")):
        assert f"\x1b[{code}m{word}" in text


def test_markup_in_a_statement_is_text(verdicts):
    odd = replace(verdicts[0], statement="Is [red]it[/red] | faster?", claim="a[bold]b")
    text = text_of(terminal.verdict_table([odd]))
    assert "[red]it[/red]" in text
    assert escape("[red]") != "[red]"  # rich would have taken it for a style
    assert "a[bold]b" in text
    line = tables.verdict_markdown([odd]).splitlines()[-1]
    assert line.replace("\\|", "").count("|") == 7


def test_long_and_foreign_words_wrap_whole(verdicts):
    statement = "Bucketing, naïve or not, 比…更快, " + "is faster than " * 30 + "nothing"
    odd = replace(verdicts[0], claim="x" * 90, statement=statement, reasons=("a reason of its own",))
    text = text_of(terminal.verdict_table([odd]))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("x") >= 90
    assert "比" in text
    assert "a reason of its" in text


def test_no_verdicts_is_said():
    assert "unchecked" in text_of(terminal.verdict_table([]))
    assert tables.verdict_markdown([]) == "No claim was judged."
    assert tables.verdict_csv([]).startswith("claim,label,")
    assert tables.breakdown_markdown([]) == ""


@pytest.mark.parametrize(
    ("effect", "interval", "words"),
    [
        (None, None, "–"),
        (math.inf, None, "infinite"),
        (math.nan, None, "not a number"),
        (1.8e308, (1.0, math.inf), "infinite [1, infinite]"),
        (1.5, (math.nan, math.nan), "1.5x [not a number, not a number]"),
        (1.00043, (1.00031, 1.00055), "1.00043x [1.00031, 1.00055]"),
        (151.2, (120.0, 190.0), "151x [120, 190]"),
        (0.5, (0.49, 0.51), "0.500x [0.490, 0.510]"),
        (2.0, (2.0, 2.0), "2x [2, 2]"),
    ],
)
def test_effects_in_words(verdicts, effect, interval, words):
    odd = replace(verdicts[0], effect=effect, interval=interval)
    assert numbers.effect_words(odd) == words
    assert "pairs" in text_of(terminal.verdict_table([odd]))


def test_the_csv_reads_back_as_the_numbers_that_were_computed(verdicts):
    rows = list(csv.DictReader(io.StringIO(tables.verdict_csv(verdicts))))
    assert [row["claim"] for row in rows] == [one.claim for one in verdicts]
    for row, one in zip(rows, verdicts, strict=True):
        assert float(row["effect"]) == one.effect
        assert int(row["pairs"]) == one.pairs
        ends = [float(row[name]) for name in ("interval_low", "interval_high") if row[name]]
        assert ends == list(one.interval or ())


def test_the_breakdown_is_labelled_not_judged(verdicts):
    text = tables.breakdown_markdown(verdicts)
    assert text.count("not judged") == 2
    assert "cell.name=gru" in text


def test_the_instrument_line_of_a_difference_and_of_a_failure(verdicts):
    row = verdicts[-1]
    assert row.kind == "instrument"
    broken = replace(row, verdict="instrument failed", reasons=("memory differs too",))
    assert tables.instrument_line([broken]).startswith("A/A: instrument failed: ")
    assert tables.instrument_line([broken]).endswith("; memory differs too")
    off = replace(row, scale="difference", unit="MB", effect=3.0, interval=(-1.0, 7.0))
    assert "is off by +3.0 MB [-1.0, 7.0]" in tables.instrument_line([off])


def test_a_line_an_arm_with_mean_spread_and_unit(sweep_runs):
    summary, names, metrics = tables.summarised(runs_of(sweep_runs))
    assert names == ["cell.name", "padding.name"]
    assert [arm for arm, _, _ in summary] == [
        f"{cell}, {padding}" for cell in ("gru", "lstm") for padding in ("batch", "bucket", "global")
    ]
    own = sweep_runs[
        (sweep_runs["params.cell.name"] == "lstm")
        & (sweep_runs["params.padding.name"] == "global")
        & (sweep_runs["params.repeat"] == "0")
        & (sweep_runs["tags.workbench.block"] != "0")
    ]["metrics.speed/valid_tokens_per_s"]
    arm, count, cells = summary[-1]
    assert (arm, count) == ("lstm, global", 8)  # neither the throw-away block nor the A/A runs
    assert cells[metrics.index("speed/valid_tokens_per_s")] == f"{own.mean():,.0f} ± {own.std():,.0f}"
    text = text_of(terminal.runs_table(runs_of(sweep_runs), names))
    assert max(map(len, text.splitlines())) <= 100
    assert "tokens/s" in text


def test_an_arm_with_a_long_name_breaks_between_its_values(sweep_runs):
    other = sweep_runs.assign(**{"params.data.name": "synthetic"})
    other["run_id"] = "other-" + other["run_id"]
    text = text_of(terminal.runs_table(runs_of(pd.concat([sweep_runs, other], ignore_index=True))))
    assert max(map(len, text.splitlines())) <= 100
    assert "python_source," in text


def test_missing_metrics_and_infinite_ones_stay_out_of_means(sweep_runs):
    runs = sweep_runs.drop(columns=["metrics.memory/rss_growth_mb"])
    runs.loc[runs["run_id"] == "lstm-global-0-3", "metrics.loss/validation_per_token"] = 1.8e308
    summary, _, metrics = tables.summarised(runs_of(runs))
    assert "memory/rss_growth_mb" not in metrics
    cells = next(cells for arm, _, cells in summary if arm == "lstm, global")
    assert cells[metrics.index("loss/validation_per_token")].endswith("(n 7)")


def test_no_run_finished(sweep_runs):
    failed = sweep_runs.assign(status="FAILED")
    assert "no run finished" in text_of(terminal.runs_table(runs_of(failed), []))
    assert tables.summarised(runs_of(failed))[0] == [
        (f"{cell}, {padding}", 0, []) for cell in ("gru", "lstm") for padding in ("batch", "bucket", "global")
    ]
    assert tables.runs_markdown([]) == "No run finished."


def test_what_counts_among_runs(sweep_runs):
    kept = arms.counted(runs_of(sweep_runs))
    assert len(kept) == 8 * 2 * 3
    assert kept == arms.counted(runs_of(sweep_runs.sample(frac=1, random_state=3)))
    tagged = sweep_runs.assign(**{"tags.workbench.diverged": "true"})
    assert arms.counted(runs_of(tagged)) == []


def test_an_arm_without_a_run_that_finished_stays_and_what_a_run_finds_out_names_no_arm(sweep_runs):
    runs = sweep_runs.assign(**{"params.device": "cpu", "params.task": "tag", "params.threads": "2"})
    lost = (runs["params.padding.name"] == "bucket") & (runs["params.cell.name"] == "lstm")
    runs.loc[lost, "status"] = ["FAILED", "KILLED", "RUNNING"] * 3
    metrics = [name for name in runs if name.startswith("metrics.")]
    runs.loc[
        lost, ["params.device", "params.task", "params.threads", "params.data.fingerprint", *metrics]
    ] = None
    runs.loc[runs["run_id"] == "gru-batch-0-1", "tags.workbench.diverged"] = "true"
    summary, _, shown = tables.summarised(runs_of(runs))
    assert {arm: count for arm, count, _ in summary} == {
        "gru, batch": 7,
        "gru, bucket": 8,
        "gru, global": 8,
        "lstm, batch": 8,
        "lstm, bucket": 0,
        "lstm, global": 8,
    }
    (cells,) = [cells for arm, _, cells in summary if arm == "lstm, bucket"]
    assert cells == [numbers.NOTHING] * len(shown)
    assert f"| lstm, bucket | 0 | {numbers.NOTHING} |" in tables.runs_markdown(runs_of(runs))


def test_the_table_takes_the_attempt_of_a_job_that_a_claim_takes(sweep_runs):
    """A run that was deleted, run again by a resume, and then restored: two that finished, of one job."""
    first = sweep_runs[sweep_runs["run_id"] == "lstm-batch-0-3"]
    loss = "metrics.loss/validation_per_token"
    later = first.assign(
        run_id="a-restored", start_time=first["start_time"] + pd.Timedelta(days=1), **{loss: 99.0}
    )
    both = pd.concat([later, sweep_runs], ignore_index=True)
    assert tables.summarised(runs_of(both)) == tables.summarised(runs_of(sweep_runs))
    assert arms.counted(runs_of(both)) == arms.counted(runs_of(sweep_runs))
    diverged = both.copy()
    diverged.loc[diverged["run_id"] == "lstm-batch-0-3", "tags.workbench.diverged"] = "true"
    kept = arms.counted(runs_of(diverged))
    assert len(kept) == 8 * 2 * 3 - 1, "a diverged run is a result that no other replaces"
    assert max(run.metrics["loss/validation_per_token"] for run in kept) < 99
    aside = both.assign(
        **{"tags.workbench.requeued": (both["run_id"] == "lstm-batch-0-3").map({True: "true"})}
    )
    assert "a-restored" in {run.run_id for run in arms.counted(runs_of(aside))}


def test_values_that_do_not_say_what_they_are_bring_their_name():
    params = [{"padding.name": "batch", "rnn.pass_lengths": value} for value in ("true", "false")]
    runs = [Run("", "", one) for one in (*params, {"padding.name": "batch"})]
    assert [arms.label(run, ["padding.name", "rnn.pass_lengths"]) for run in runs] == [
        "batch, lengths",
        "batch, no lengths",
        "batch, pass_lengths=none",
    ]


def test_skipped_and_failed_are_named():
    assert tables.skipped_markdown([]) == tables.failures_markdown([]) == "None."
    skipped = tables.skipped_markdown(
        [({"rnn.unroll": "static"}, "new | graph"), (["a=1", "b=2"], "why"), ("arm", "x")]
    )
    assert "| rnn.unroll=static | new \\| graph |" in skipped
    assert "| a=1, b=2 | why |" in skipped
    assert "| job | died | abc |" in tables.failures_markdown([("job", "died", "abc")])


METRICS_OF_A_RUN = {
    "speed/valid_tokens_per_s": 51234.5,
    "speed/padded_tokens_per_s": 130000.0,
    "speed/step_p50_ms": 12.25,
    "loss/validation_per_token": 0.4321,
    "loss/train_per_token": 0.4,
    "accuracy/validation_per_token": 0.873,
    "accuracy/test_per_token": 0.869,
    "data/padding_share": 0.61,
    "data/predicted_padding_share": 0.6095,
    "correctness/max_abs_error_output_without_lengths": 0.73,
    "correctness/max_abs_error_output_with_lengths": 1.2e-7,
    "correctness/max_abs_error_state_without_lengths": 0.91,
}


def test_the_summary_of_a_run():
    params = {"data.name": "python_source", "padding.name": "batch", "cell.name": "lstm", "seed": "1"}
    text = text_of(summary.summary_of_run(params, METRICS_OF_A_RUN, "abc", "sqlite:///mlruns/mlflow.db"))
    lines = summary.summary_lines(params, METRICS_OF_A_RUN, "abc", "sqlite:///mlruns/mlflow.db")
    plain = "\n".join(f"{head}: {words}" for head, words in lines)
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        "data python_source, padding batch, cell lstm, seed 1",
        "51,234 tokens/s (valid)",
        "median step 12.25 ms",
        "validation 0.4321 nats",
        "validation 87.3%, test 86.9% (per token)",
        "61.0% of positions (predicted 61.0%)",
        "outputs 0.73 (with lengths 1.2e-07), final states 0.91",
        "run abc at sqlite:///mlruns/mlflow.db",
    ):
        assert words in plain
        assert words.split()[0] in text


def test_the_summary_makes_up_nothing():
    alone = {"correctness/max_abs_error_output_with_lengths": 0.0}
    assert (
        "no batch that is evaluated has padding"
        in dict(summary.summary_lines({}, alone, "a", "b"))["without lengths"]
    )
    assert summary.summary_lines({}, {}, "abc", "here") == [("ran", "–"), ("recorded", "run abc at here")]
    lines = dict(summary.summary_lines({}, {"loss/validation_per_token": math.nan}, "abc", "here"))
    assert "not a number" in lines["loss"]
    assert "accuracy" not in lines


def test_what_was_timed_of_a_part_of_a_run_stands_in_no_mean():
    metrics = {
        "speed/valid_tokens_per_s": 100.0,
        "loss/validation_per_token": 1.0,
        "memory/rss_growth_mb": 5.0,
    }
    runs = [
        Run(str(n), "FINISHED", {"seed": str(n)}, metrics, {"training.resumed_from_step": "24"} if n else {})
        for n in range(2)
    ]
    assert arms.values(runs, "speed/valid_tokens_per_s") == [100.0]
    assert arms.values(runs, "memory/rss_growth_mb") == [5.0]
    assert arms.values(runs, "loss/validation_per_token") == [1.0, 1.0]
