"""Claims against configs and planned jobs: every slip named by file and line before the first run."""

from __future__ import annotations

import pytest

from workbench.claims import check_against, check_arms, check_measured, check_pairs, load

CONFIG = {"padding.name": "batch", "data.name": "x", "seed": 1}
JOBS = {
    f"{padding}-{cell}": {"padding.name": padding, "cell.name": cell, "cell.units": 64, "cell.clip": None}
    for padding in ("batch", "global")
    for cell in ("lstm", "gru")
}


def test_names_are_checked_against_the_composed_config(written):
    path = written(
        ("{padding.name: batch}", "{pading.name: batch}"),
        ("{padding.name: global}", "{pading.name: global}"),
        more=["  over: {cell.nam: [lstm]}", "  where: [data.nme == ud, data/padding_share > 0.5]"],
    )
    config = {"padding.name": "batch", "cell.name": "lstm", "data.name": "x", "seed": 1}
    assert check_against(load(path), config) == [
        f"{path}:9: claim batch_is_faster: the config has no pading.name; did you mean padding.name?",
        f"{path}:10: claim batch_is_faster: the config has no pading.name; did you mean padding.name?",
        f"{path}:14: claim batch_is_faster: the config has no cell.nam; did you mean cell.name?",
        f"{path}:15: claim batch_is_faster: the config has no data.nme; did you mean data.name?",
    ]
    assert check_against(load(written()), config) == []


def test_a_plain_value_is_no_name_of_the_config(claim):
    exact = claim(kind="exact", control={"value": 0}, scale="difference", smallest=0, direction="same")
    assert check_against([exact], {"padding.name": "batch", "seed": 1}) == []


@pytest.mark.parametrize(
    "name",
    [
        *("device", "threads", "data.fingerprint", "speed/valid_tokens", "padding.name", "seed"),
        *("version.tensorflow", "machine.cpu", "workbench.scale", "git.commit", "digest.order"),
    ],
)
def test_equal_may_name_configs_metrics_facts_and_tags(written, name):
    path = written(("pairs: 10", f"pairs: 10\nequal: [{name}]"))
    assert check_against(load(path), CONFIG) == []


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("data.fingerprnt", "; did you mean data.fingerprint?"),
        ("devise", "; did you mean device?"),
        ("pading.name", "; did you mean padding.name?"),
        ("versions.tensorflow", None),
        ("git", None),  # a family of tags is no tag
    ],
)
def test_a_name_in_equal_that_nothing_records_is_found_once(written, name, guess):
    more = [line.replace("batch_is_faster", "other") for line in written().read_text().split("claims:\n")[1:]]
    path = written(("pairs: 10", f"pairs: 10\nequal:\n- device\n- {name}"), more=more)
    (problem,) = check_against(load(path), CONFIG)
    assert problem.startswith(f"{path}:6: equal: the config has no {name}{guess or ''}")


def test_the_arms_that_are_planned_are_found_whatever_their_types(written):
    path = written(
        ("{padding.name: batch}", '{padding.name: batch, cell.units: "64.0", cell.clip: null}'),
        more=["  over: {cell.name: [lstm, gru]}"],
    )
    assert check_arms(load(path), JOBS) == []
    as_text = {name: {key: str(value) for key, value in job.items()} for name, job in JOBS.items()}
    assert check_arms(load(path), as_text) == []


@pytest.mark.parametrize(
    ("changes", "more", "line", "says"),
    [
        (
            [("{padding.name: batch}", "{padding.name: bacth}")],
            ["  over: {cell.name: [lstm, gru]}"],
            9,
            "has padding.name=bacth; did you mean batch?",
        ),
        (
            [("{padding.name: global}", "{padding.name: none}")],
            [],
            10,
            "has padding.name=none; there are batch, global",
        ),
        (
            [],
            ["  over:", "    cell.units:", "    - 64", "    - 100"],
            17,
            "has cell.units=100; the nearest is 64",
        ),
        ([], ["  over: {cell.clip: [1.0]}"], 14, "has cell.clip=1; there are null"),
    ],
)
def test_a_value_that_no_job_has_is_named_with_the_nearest(written, changes, more, line, says):
    path = written(*changes, more=more)
    assert check_arms(load(path), JOBS) == [f"{path}:{line}: claim batch_is_faster: no planned job {says}"]


def test_a_combination_that_no_job_has_is_named_with_the_nearest_job(written):
    path = written(more=["  over: {cell.name: [lstm, gru]}"])
    jobs = {name: job for name, job in JOBS.items() if name != "global-gru"}
    assert check_arms(load(path), jobs) == [
        f"{path}:10: claim batch_is_faster: no planned job has all of padding.name=global, cell.name=gru; "
        "the nearest, batch-gru, has padding.name=batch"
    ]


def test_no_jobs_make_no_arms_and_a_plain_value_needs_none(claim):
    problems = check_arms([claim()], {})
    assert [one.split("no planned job ")[1] for one in problems] == [
        "has padding.name=batch",
        "has padding.name=global",
    ]
    exact = claim(kind="exact", control={"value": 0}, scale="difference", smallest=0, direction="same")
    assert check_arms([exact], JOBS) == []


def test_a_metric_that_no_job_would_record_is_refused_before_they_run(written):
    claims = load(path := written(more=["  over: {cell.name: [lstm]}"]))
    timed = {name: job | {"measure.timing": "lstm" in name} for name, job in JOBS.items()}
    assert check_measured(claims, JOBS) == check_measured(claims, timed) == []
    timed["batch-lstm"]["measure.timing"] = False  # though others have it
    assert check_measured(claims, timed) == [
        f"{path}:8: claim batch_is_faster: no job of its treatment records speed/valid_tokens_per_s, since "
        "measure.timing=false: give measure.timing=true, or leave the claim out"
    ]
    of_outputs = "correctness/max_rel_error_output_with_lengths"
    claims = load(written(("speed/valid_tokens_per_s", of_outputs), more=["  scale: difference"]))
    off = {name: job | {"measure.correctness_batches": 0} for name, job in JOBS.items()}
    first, second = check_measured(claims, off)
    assert "its treatment" in first
    assert (
        f"its control records {of_outputs}, since measure.correctness_batches=0: give measure.cor" in second
    )
    assert "=1 or more, or" in second


def test_jobs_that_judging_would_refuse_to_pair_are_refused_before_they_run(written):
    path = written(more=["  over: {cell.name: [lstm]}"])
    assert check_pairs(load(path), JOBS) == []
    passes = {"batch": 3, "global": 9}
    jobs = {name: job | {"measure.passes": passes[job["padding.name"]]} for name, job in JOBS.items()}
    assert check_pairs(load(path), jobs) == [
        f"{path}:9: claim batch_is_faster: in block 1 the arms differ in more than they name: measure.passes "
        "(3 against 9) (runs batch-lstm, global-lstm); name it in both arms, or run them alike"
    ]
    (problem,) = check_pairs(load(written()), JOBS)
    assert (
        "the treatment has 2 runs in block 1, because cell.name varies (lstm, gru); name it in `over`"
        in problem
    )
