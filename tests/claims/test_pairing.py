"""What may be compared with what, and every refusal."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from workbench.claims import PairingError, judge, normalise
from workbench.identity import NOT_IDENTITY, packed

SPEED = "speed/valid_tokens_per_s"
BATCH, GLOBAL = ({"padding.name": name} for name in ("batch", "global"))
FAST, SLOW = [150.0, 151.0, 149.0, 152.0, 148.0, 153.0], [100.0, 101.0, 99.0, 101.5, 99.5, 100.5]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1, "1.0"),
        (1e-3, "0.001"),
        ("1e3", 1000),
        (True, "True"),
        ("true", "True"),
        ("None", "null"),
        ([1, 2], "[1, 2]"),
        (["lstm", "gru"], "['lstm', 'gru']"),
        (["a"], "[a]"),
        (-0.5, "-.5"),
        (10**20, str(10**20)),
        (" batch ", "batch"),
        ((1.0, None), "[1, None]"),
    ],
)
def test_values_that_are_equal_are_equal_as_text(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "01a"), ("batch", "Batch"), ("True", "1"), ("None", "none"), ("[1]", "1"), ("nan", "null")],
)
def test_values_that_differ_differ_as_text(one, other):
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize("absent", [None, math.nan, np.float64("nan"), pd.NaT, pd.NA])
def test_what_is_not_there_is_none(absent):
    assert normalise(absent) is None


def refused(words, claim, runs, **options):
    with pytest.raises(PairingError, match=re.escape(words)):
        judge(claim, runs, **options)


def test_runs_of_two_sweeps_are_not_mixed(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs.loc[runs.index[-1], "tags.workbench.sweep"] = "sweep-b"
    refused('2 sweeps are mixed: sweep-a, sweep-b; keep one, for instance runs[runs["tags.', claim(), runs)
    runs.loc[runs.index[-1], "tags.workbench.sweep"] = None
    refused("(none), sweep-a", claim(), runs)


def test_a_factor_that_is_not_named_is_refused_with_its_values(claim, sweep):
    arms = [
        ({**arm, "cell.name": cell}, values)
        for cell in ("lstm", "gru")
        for arm, values in ((BATCH, FAST), (GLOBAL, SLOW))
    ]
    refused(
        "claim batch_is_faster: the treatment has 2 runs in block 101, because cell.name varies (lstm, gru); "
        "name it in `over`, or fix it in both arms",
        claim(),
        sweep(*arms),
    )
    fixed = claim(treatment={**BATCH, "cell.name": "gru"}, control={**GLOBAL, "cell.name": "gru"})
    assert judge(fixed, sweep(*arms)).pairs == 6


def test_other_values_of_over_are_not_used(claim, sweep):
    arms = [
        ({**arm, "cell.units": size}, values)
        for size in ("64", "128.0")
        for arm, values in ((BATCH, FAST), (GLOBAL, SLOW))
    ]
    found = judge(claim(over={"cell.units": [128]}), sweep(*arms))
    assert (found.pairs, found.unused) == (6, 12)
    assert "runs not used: 12 other values of `over`" in found.flags


def test_arms_that_differ_in_more_than_they_name_are_refused(claim, sweep):
    runs = sweep(({**BATCH, "training.epochs": 2}, FAST), ({**GLOBAL, "training.epochs": 1}, SLOW))
    refused(
        "in block 101 the arms differ in more than they name: training.epochs (2 against 1) (runs run000, run001)",
        claim(),
        runs,
    )
    missing = sweep(({**BATCH, "rnn.unroll_steps": 2}, FAST), (GLOBAL, SLOW))
    refused("rnn.unroll_steps (2 against not recorded)", claim(), missing)


def test_the_group_that_the_arms_name_may_differ_otherwise(claim, sweep):
    runs = sweep(
        ({**BATCH, "padding.boundaries": "[8, 16]"}, FAST), ({**GLOBAL, "padding.boundaries": None}, SLOW)
    )
    assert judge(claim(), runs).verdict == "reproduced"


def test_a_group_that_both_arms_fix_alike_may_not_differ_otherwise(claim, sweep):
    runs = sweep(
        ({**BATCH, "rnn.unroll": "static", "rnn.steps": 1}, FAST),
        ({**GLOBAL, "rnn.unroll": "static", "rnn.steps": 2}, SLOW),
    )
    both = claim(treatment={**BATCH, "rnn.unroll": "static"}, control={**GLOBAL, "rnn.unroll": "static"})
    refused("rnn.steps (1 against 2)", both, runs)


@pytest.mark.parametrize(
    "name",
    [
        "tracking.uri",
        "workbench.quiet",
        "hydra.job",
        "sweep.blocks",
        "name",
        "scale.name",
        *sorted(NOT_IDENTITY),
    ],
)
def test_how_a_run_was_run_is_no_part_of_the_key(claim, sweep, name):
    assert judge(claim(), sweep(({**BATCH, name: "a"}, FAST), ({**GLOBAL, name: "b"}, SLOW))).pairs == 6


def test_arms_may_differ_by_label_alone(claim, sweep):
    """The negative control: two configs that differ only in a label."""
    runs = sweep(({"label": "a"}, [value * 1.001 for value in SLOW[::-1]]), ({"label": "b"}, SLOW))
    found = judge(claim(treatment={"label": "a"}, control={"label": "b"}), runs)
    assert (found.verdict, found.finding.split(":")[0]) == ("contradicted", "no difference")


@pytest.mark.parametrize(
    "kind", ["params.threads", "tags.threads", "tags.workbench.threads", "metrics.speed/valid_tokens"]
)
def test_what_must_be_equal_is_found_wherever_it_is_recorded(claim, sweep, kind):
    name = "speed/valid_tokens" if kind.startswith("metrics") else "threads"
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs[kind] = [1.0, 1.0] * 5 + [1.0, 2.0]
    refused(
        f"claim batch_is_faster: in block 106 {name} must be equal in both arms and is 1 in the treatment "
        "(run run010) and 2 in the control (run run011)",
        claim(equal=[name]),
        runs,
    )
    runs[kind] = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0] * 2
    assert judge(claim(equal=[name]), runs).verdict == "reproduced"


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("code.sha256", ("aa", "bb")),
        ("source.lab/steps.py", ("aa", "bb")),
        ("version.numpy", ("2.4.6", "9.9.9")),
        ("environment.TF_ENABLE_ONEDNN_OPTS", ("0", None)),
    ],
)
def test_arms_of_a_block_that_were_made_otherwise_are_refused_by_name(claim, sweep, tag, values):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    column = f"tags.{tag}"
    runs[column] = [values[0]] * 12
    assert judge(claim(), runs).verdict == "reproduced"
    runs.loc[2:, column] = values[1]  # from block 102 on: blocks may differ, the arms of one may not
    assert judge(claim(), runs).verdict == "reproduced"
    runs.loc[2, column] = values[0]
    other = values[1] or "not set"
    refused(f"in block 102 the arms were not made alike: {tag} ({values[0]} against {other})", claim(), runs)
    runs.loc[2, "status"] = "FAILED"
    assert judge(claim(), runs).pairs == 5, "a run without a number is no pair that could be refused"


def test_what_belongs_to_an_arm_and_noise_do_not_refuse_a_pair(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs["tags.source.lab/cells.py"] = ["aa", None] * 6
    runs["tags.environment.padding_bytes"] = [str(n) for n in range(12)]
    runs["tags.version.mlflow"] = ["3", "4"] * 6
    assert judge(claim(), runs).verdict == "reproduced"


def test_two_cells_of_one_large_package_are_a_pair_while_the_files_of_both_are_alike(claim, sweep):
    """Their tags list the files, a hundred in a few values, and are compared file by file."""
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))

    def tagged(arm: str, shared: str) -> dict[str, str]:
        files = {f"source.lab/f{n}.py": f"{n:016x}" for n in range(100)}
        return packed({**files, "source.lab/f7.py": shared, f"source.lab/{arm}.py": "aa"})

    arms = [tagged("a", "one"), tagged("b", "one")]
    assert len(arms[0]) < 5
    for name in arms[0]:
        runs[f"tags.{name}"] = [arms[n % 2][name] for n in range(12)]
    assert judge(claim(), runs).verdict == "reproduced"
    for name, value in tagged("a", "two").items():
        runs.loc[2, f"tags.{name}"] = value
    refused("in block 102 the arms were not made alike: source.lab/f7.py (two against one)", claim(), runs)


def test_what_one_arm_alone_records_is_not_equal(claim, sweep):
    runs = sweep(({**BATCH, "threads": 2}, FAST), (GLOBAL, SLOW))
    refused("threads must be equal in both arms and is 2 in the treatment", claim(equal=["threads"]), runs)


def test_what_no_run_records_is_said(claim, sweep):
    found = judge(claim(equal=["threads"]), sweep((BATCH, FAST), (GLOBAL, SLOW)))
    assert "not checked to be equal, as no run records it: threads" in found.flags


def test_a_failed_pair_is_not_refused_for_what_it_could_not_record(claim, sweep):
    runs = sweep((BATCH, [None, *FAST[1:]]), (GLOBAL, SLOW), **{"params.device": "CPU"})
    runs.loc[0, "params.device"] = None
    assert judge(claim(equal=["device"]), runs).pairs == 5


def test_the_fingerprint_of_the_data_is_refused_by_name(claim, sweep):
    runs = sweep(({**BATCH, "data.fingerprint": "aa"}, FAST), ({**GLOBAL, "data.fingerprint": "bb"}, SLOW))
    refused("data.fingerprint must be equal in both arms and is aa", claim(equal=["data.fingerprint"]), runs)
    assert judge(claim(), runs).pairs == 6


def test_a_condition_is_fixed_before_the_arm(claim, sweep):
    share = "metrics.data/padding_share"
    runs = sweep(({**BATCH, share: 0.2}, FAST), ({**GLOBAL, share: 0.9}, SLOW))
    refused(
        "data/padding_share differs between the arms in block 101 (0.2 and 0.9); `where` needs what is fixed",
        claim(where=["data/padding_share > 0.5"]),
        runs,
    )


def test_a_condition_divides_conditions_not_blocks(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs["metrics.data/padding_share"] = [0.6] * 6 + [0.4] * 6
    refused(
        "`where` holds in block 101 and not in block 104; put the bound where it divides conditions",
        claim(where=["data/padding_share > 0.5"]),
        runs,
    )


@pytest.mark.parametrize(
    "condition", ["data.name == ud", "data.name != code", "data.size >= 3", "data.size < 4"]
)
def test_conditions_on_params(claim, sweep, condition):
    arms = [
        ({**arm, "data.name": name, "data.size": size}, values)
        for name, size in (("ud", 3), ("code", 3 if ">=" in condition or "<" in condition else 9))
        for arm, values in ((BATCH, FAST), (GLOBAL, SLOW))
    ]
    over = {"data.name": ["ud", "code"]} if "name" in condition else {"data.name": ["ud"]}
    assert judge(claim(over=over, where=[condition]), sweep(*arms)).pairs == 6


def test_the_parent_and_the_throw_away_block_are_no_data(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    parent = {
        "run_id": "parent",
        "status": "RUNNING",
        "tags.workbench.kind": "sweep",
        "tags.workbench.sweep": "other",
    }
    thrown = sweep((BATCH, [1.0]), (GLOBAL, [1000.0]), first=0, start=70)
    assert judge(claim(), pd.concat([pd.DataFrame([parent]), thrown, runs])) == judge(claim(), runs)


def test_the_first_finished_attempt_counts(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    died = sweep((BATCH, [None] * 6), start=80, **{"tags.workbench.attempt": "0"})
    later = sweep((BATCH, [900.0] * 6), start=90, **{"tags.workbench.attempt": "2"})
    found = judge(claim(), pd.concat([later, died, runs]))
    expected = judge(claim(), runs)
    assert (found.effect, found.interval, found.unused) == (expected.effect, expected.interval, 6)
    assert "runs not used: 6 later attempts" in found.flags


def test_what_was_run_again_because_it_changed_is_no_data(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    old = sweep(
        ({**BATCH, "training.epochs": 9}, FAST), start=50, **{"tags.workbench.superseded": "config changed"}
    )
    assert judge(claim(), pd.concat([old, runs])) == judge(claim(), runs)


def test_a_run_that_was_resumed_within_its_training_gives_no_time(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs.loc[0, "tags.training.resumed_from_step"] = "18"
    (failed,) = judge(claim(), runs).failed
    assert "not timed as a whole: resumed from step 18" in str(failed)
    for metric, fails in (("loss/validation_per_token", 0), ("memory/peak_rss_mb", 1)):
        runs[f"metrics.{metric}"] = 2.0
        assert len(judge(claim(metric=metric), runs).failed) == fails


def test_a_window_that_may_not_have_been_alone_gives_no_time(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs.loc[0, "tags.window.not_alone"] = "the lock cannot be had"
    (failed,) = judge(claim(), runs).failed
    assert "perhaps timed beside another run" in str(failed)
    runs["metrics.loss/validation_per_token"] = 2.0
    assert judge(claim(metric="loss/validation_per_token"), runs).failed == ()


def test_attempts_without_a_number_are_in_order_of_start(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    later = sweep((BATCH, [900.0] * 6), start=90)
    both = pd.concat([later, runs]).drop(columns="tags.workbench.attempt")
    assert judge(claim(), both).effect == judge(claim(), runs).effect


def test_a_diverged_attempt_is_a_result_that_no_other_replaces(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs.loc[0, "tags.workbench.diverged"] = "true"
    later = sweep((BATCH, FAST), start=90, **{"tags.workbench.attempt": "2"})
    assert judge(claim(), pd.concat([runs, later])).pairs == 5


def test_an_attempt_that_the_gate_set_aside_does_not_count(claim, sweep):
    gated = sweep((BATCH, [1.0] * 6), **{"tags.workbench.requeued": "true"})
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW), start=50, **{"tags.workbench.attempt": "2"})
    assert judge(claim(), pd.concat([gated, runs])).effect == judge(claim(), runs).effect


def test_a_key_of_which_all_attempts_were_set_aside_has_failed(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs["tags.workbench.requeued"] = None
    runs.loc[4, "tags.workbench.requeued"] = "true"  # block 3, the treatment
    again = runs.loc[[4]].assign(**{"run_id": "again", "tags.workbench.attempt": "2"})
    found = judge(claim(), pd.concat([runs, again]))
    assert (found.pairs, found.planned) == (5, 6)
    assert [(one["block"], one["arm"], one["why"], one["runs"]) for one in found.failed] == [
        ("103", "treatment", "set aside by the calibration gate", ["run004"])
    ]
    kept = judge(claim(), pd.concat([runs, again.assign(**{"tags.workbench.requeued": None})]))
    assert (kept.pairs, kept.failed) == (6, ())


def test_the_first_blocks_count_by_number_whatever_their_seeds(claim, sweep):
    runs = sweep((BATCH, [*FAST, 1.0]), (GLOBAL, [*SLOW, 1.0]))
    runs["params.seed"] = [str(900 - int(block)) for block in runs["tags.workbench.block"]]
    assert judge(claim(), runs).effect == judge(claim(), sweep((BATCH, FAST), (GLOBAL, SLOW))).effect
    gap = runs[runs["tags.workbench.block"] != "3"]  # block 7 does not stand in for block 3
    assert (judge(claim(), gap).pairs, judge(claim(), gap).unused) == (5, 2)


def test_without_numbers_seeds_count_in_their_order(claim, sweep):
    runs = sweep((BATCH, [*FAST, 1.0]), (GLOBAL, [*SLOW, 1.0])).drop(columns="tags.workbench.block")
    assert judge(claim(), runs).effect == judge(claim(), sweep((BATCH, FAST), (GLOBAL, SLOW))).effect


def test_another_replicate_than_the_seed(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs["params.day"] = runs["params.seed"]
    runs["params.seed"] = "1"
    assert judge(claim(block="day"), runs).pairs == 6
    refused(
        "block 1 has two values of week: a and b; judge one sweep",
        claim(block="week"),
        runs.assign(**{"params.week": list("abcd" * 3)}),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda runs: runs.drop(columns="run_id"), "the runs have no column run_id"),
        (lambda runs: runs.drop(columns="status"), "the runs have no column status"),
        (lambda runs: runs.drop(columns="params.seed"), "run run000 has no param seed, which is the block"),
        (lambda runs: pd.concat([runs, runs]), "a run_id stands twice"),
        (
            lambda runs: runs.assign(**{"params.seed": [*"111222333444"]}),
            "block 2 has two values of seed: 1 and 2",
        ),
        (
            lambda runs: runs.assign(**{"tags.workbench.planned_pairs": ["6", "7"] * 6}),
            "the runs disagree on workbench.planned_pairs: 6, 7",
        ),
    ],
)
def test_frames_that_are_no_sweep_are_refused(claim, sweep, change, words):
    refused(words, claim(), change(sweep((BATCH, FAST), (GLOBAL, SLOW))))


def test_a_number_for_each_scale_needs_the_runs_scale(claim, sweep):
    refused(
        "pairs is given for each scale (full, quick) and the runs say none; pass planned=",
        claim(pairs={"quick": 6, "full": 12}),
        sweep((BATCH, FAST), (GLOBAL, SLOW)),
    )


def test_no_runs_at_all(claim, sweep):
    found = judge(claim(), sweep((BATCH, FAST), (GLOBAL, SLOW)).iloc[:0])
    assert (found.verdict, found.pairs, found.planned) == ("inconclusive", 0, 6)
    assert found.reasons[0].startswith("no runs of the treatment padding.name=batch; no run records it")
    refused("no column run_id", claim(), pd.DataFrame())


def test_values_that_are_there_and_never_together_are_no_runs(claim, sweep):
    runs = sweep(({**BATCH, "cell.name": "gru"}, FAST), ({**GLOBAL, "cell.name": "lstm"}, SLOW))
    found = judge(
        claim(treatment={**BATCH, "cell.name": "lstm"}, control={**GLOBAL, "cell.name": "lstm"}), runs
    )
    assert found.reasons == ("no runs of the treatment padding.name=batch, cell.name=lstm",)


def test_a_condition_unknown_for_a_failed_pair_is_known_from_its_other_blocks(claim, sweep):
    runs = sweep((BATCH, [*FAST[:5], None]), (GLOBAL, [*SLOW[:5], None]))
    runs["metrics.data/padding_share"] = [0.6] * 10 + [math.nan] * 2
    found = judge(claim(where=["data/padding_share > 0.5"]), runs)
    assert (found.pairs, [one["block"] for one in found.failed]) == (5, ["106"])
    assert judge(claim(where=["data/padding_share < 0.5"]), runs).unused == 12


def test_blocks_named_by_words_are_in_the_order_of_the_words(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW)).drop(columns="tags.workbench.block")
    runs["params.day"] = [day for day in "fedcba" for _ in range(2)]
    runs["params.seed"] = "1"
    found = judge(claim(block="day"), runs, planned=4)
    assert (found.pairs, found.unused) == (4, 4)
    assert found.effect == pytest.approx(np.exp(np.mean(np.log(FAST[2:]) - np.log(SLOW[2:]))))


def test_a_negative_value_has_no_ratio(claim, sweep):
    found = judge(claim(), sweep((BATCH, [*FAST[:5], -1.0]), (GLOBAL, SLOW)))
    assert [one["why"] for one in found.failed] == ["no ratio of -1 to 100.5; `scale: difference` needs none"]


def test_arms_that_differ_in_where_their_data_lay_alone_are_no_attempts_of_one(claim, sweep):
    """A key leaves the path out, and what the data was: the first of two arms stood for both."""
    arms = [
        ({**arm, "data.path": path, "tags.workbench.arm": f"{arm['padding.name']}, {path}"}, values)
        for arm, values in ((BATCH, FAST), (GLOBAL, SLOW))
        for path in ("/en", "/de")
    ]
    refused(
        "the treatment has 2 runs in block 101, because (arm) varies (batch, /en, batch, /de)",
        claim(),
        sweep(*arms),
    )


@pytest.mark.parametrize("told", ["machine.cpu", "device.device_name"])
def test_a_block_that_went_on_at_another_machine_is_a_failed_one(claim, sweep, told):
    runs = sweep(({**BATCH, f"tags.{told}": "A"}, FAST), ({**GLOBAL, f"tags.{told}": "A"}, SLOW))
    runs.loc[runs.index[-1], f"tags.{told}"] = "B"
    verdict = judge(claim(), runs)
    assert (verdict.pairs, verdict.verdict) == (5, "inconclusive")
    assert f"made on two machines: {told} is A and B" in str(verdict.failed)
    of_loss = claim(metric="loss/validation_per_token", direction="lower")
    losses = runs.rename(columns={f"metrics.{SPEED}": "metrics.loss/validation_per_token"})
    assert judge(of_loss, losses).pairs == 6, "what no clock measures is the same number there"


def test_a_block_that_went_on_at_another_device_is_a_failed_one(claim, sweep):
    """It stopped the sweep, and no option of a resume could mend it."""
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    runs["params.device"] = "gpu"
    runs.loc[runs.index[-1], "params.device"] = "cpu"
    verdict = judge(claim(equal=["device"]), runs)
    assert verdict.pairs == 5
    assert "made on two devices, " in str(verdict.failed)


def test_a_gpu_and_a_cpu_of_one_machine_are_no_two_machines(claim, sweep):
    names = (
        {"device": "gpu", "tags.device.device_name": "H200"},
        {"device": "cpu", "tags.device.device_name": "CPU"},
    )
    arms = [{"training.device": one["device"], **one, "tags.machine.cpu": "A"} for one in names]
    asked = claim(treatment={"training.device": "gpu"}, control={"training.device": "cpu"})
    assert judge(asked, sweep((arms[0], FAST), (arms[1], SLOW))).pairs == 6


@pytest.mark.parametrize("others", [["data/padding_share > 0.5"], ["data/padding_share < 0.5"], []])
def test_a_condition_that_no_run_records_is_refused_and_hides_no_other(claim, sweep, others):
    """It held in silence, and so did whatever stood behind it."""
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW)).assign(**{"metrics.data/padding_share": 0.4})
    asked = claim(where=["data/bytes_per_token < 2", *others])
    if others == ["data/padding_share > 0.5"]:
        assert judge(asked, runs).reasons == ("no runs on this side of `where`",)
    else:
        refused("where: no run records data/bytes_per_token", asked, runs)


def test_of_what_died_twice_while_it_was_recorded_the_pair_fails(claim, sweep):
    runs = sweep(
        ({**BATCH, "rnn.name": "packed"}, [None, *FAST[1:]]), ({**GLOBAL, "rnn.name": "packed"}, SLOW)
    )
    again = runs.iloc[[0]].assign(**{"run_id": "again", "params.rnn.name": None})
    found = judge(claim(), pd.concat([runs, again], ignore_index=True))
    assert (found.pairs, [one["block"] for one in found.failed]) == (5, ["101"])


def test_a_run_that_died_before_it_had_a_kind_is_no_data(claim, sweep):
    runs = sweep((BATCH, FAST), (GLOBAL, SLOW))
    half = runs.iloc[[0]].assign(
        **{"run_id": "half", "status": "KILLED", "tags.workbench.kind": None, "params.seed": None}
    )
    half["tags.mlflow.source.name"] = "workbench"
    assert judge(claim(), pd.concat([runs, half], ignore_index=True)).pairs == 6
