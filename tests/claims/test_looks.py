"""Several looks at one sweep (README.md, 2.7): what is decided stays so, and only what is open goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from workbench.claims import ClaimError, ClaimSet, judge_table, load, looks, stages, still_planned, undecided
from workbench.claims.declaration import claims_sha
from workbench.claims.runs import read_runs
from workbench.record.plan import Job
from workbench.report import said

BATCH, GLOBAL, BUCKET = ({"padding.name": name} for name in ("batch", "global", "bucket"))
LOOKS = (6, 12, 24)


def around(mean: float, spread: float, blocks: int, seed: int = 0) -> list[float]:
    noise = np.random.default_rng(seed).normal(0, spread, blocks)
    return list(mean * np.exp(noise - noise.mean()))


@pytest.fixture
def table(claim):
    """Batch against global (clear at once) and bucket against global (near its bound)."""
    clear = claim(pairs=LOOKS)
    near = claim(name="bucket_is_faster", treatment=BUCKET, pairs=LOOKS)
    return [clear, near]


@pytest.fixture
def runs(sweep):
    """Global 1, batch 2 times as fast; bucket 1.25 times, of which 6 and 12 pairs are not sure and 24 are."""

    def make(blocks: int, batch=None, **columns):
        bucket = [1.25 * factor for factor in (1.05, 1 / 1.05) * 12]
        arms = [
            (GLOBAL, [1.0] * blocks),
            (BATCH, (batch or around(2.0, 0.01, 24))[:blocks]),
            (BUCKET, bucket[:blocks]),
        ]
        return sweep(*arms, **columns)

    return make


@pytest.mark.parametrize(
    ("given", "line", "said"),
    [
        ("pairs: [6, 6, 12]", 3, "pairs: [6, 6, 12] does not rise"),
        ("pairs: [12, 6]", 3, "pairs: [12, 6] does not rise"),
        ("pairs: [4, 12]", 3, "pairs: 4 cannot decide a measured claim; at least 6"),
        ("pairs: {quick: [4, 12]}", 3, "pairs.quick: 4 cannot decide a measured claim; at least 6"),
        ("pairs: [6, 1.5]", 3, "no rising list of looks such as [6, 12, 24]"),
        ("pairs: []", 3, "no rising list of looks such as [6, 12, 24]"),
        ("pairs: {quick: [6, true]}", 3, "no rising list of looks such as [6, 12, 24]"),
    ],
)
def test_looks_that_cannot_be_are_refused_with_their_line(written, given, line, said):
    path = written(("pairs: 10", given))
    with pytest.raises(ClaimError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}:{line}: pairs")
    assert said in str(refused.value)


def test_looks_are_declared_for_a_scale(written):
    claims = load(written(("pairs: 10", "pairs: {quick: [6, 12, 24], full: 12}")))
    assert looks(claims, "quick") == LOOKS
    assert looks(claims, "full") == (12,)
    assert looks(claims, "quick", 24) == LOOKS
    assert looks(claims, "quick", 8) == looks(claims, "nowhere", 8) == (8,), "a person asked for other blocks"
    with pytest.raises(ClaimError, match="no number for scale 'nowhere'"):
        looks(claims, "nowhere")
    assert claims_sha(claims) != claims_sha(load(written()))


def test_each_is_decided_at_its_own_look(table, runs):
    clear, near = judge_table(table, runs(24))
    assert (clear.verdict, clear.look, clear.pairs, clear.planned) == ("reproduced", 1, 6, 6)
    assert (near.verdict, near.look, near.pairs, near.planned) == ("reproduced", 3, 24, 24)
    assert clear.looks == near.looks == LOOKS
    # a third of the error at each: Holm's first step over 4 hypotheses, and the next over the 3 that are left
    assert clear.decided_at == pytest.approx(1 - 2 * 0.05 / 3 / 4)
    assert near.decided_at == pytest.approx(1 - 2 * 0.05 / 3 / 3)
    assert undecided(table, runs(6), LOOKS, 1) == undecided(table, runs(12), LOOKS, 2) == [table[1]]
    assert undecided(table, runs(24), LOOKS, 3) == []


def test_what_is_decided_stays_so_whatever_comes_after(table, runs):
    slower = [2.0, 2.02, 1.98, 2.01, 1.99, 2.0] + [0.5] * 18
    first, later = judge_table(table, runs(6, slower))[0], judge_table(table, runs(24, slower))[0]
    assert later.verdict == first.verdict == "reproduced"
    assert (later.look, later.interval, later.decision_interval) == (
        1,
        first.interval,
        first.decision_interval,
    )
    assert later.unused == 36, "and what ran beyond its look is said"
    fixed = judge_table([replace(one, pairs=24) for one in table], runs(24, slower))
    assert fixed[0].verdict == "contradicted", "the same runs at one look of 24"


def test_what_no_look_decides_is_open_after_the_last(claim, sweep):
    at_bound = claim(pairs=LOOKS)
    (found,) = judge_table(
        [at_bound], sweep((GLOBAL, [1.0] * 24), (BATCH, [1.2 * f for f in (1.1, 1 / 1.1) * 12]))
    )
    assert (found.verdict, found.look, found.pairs, found.planned) == ("inconclusive", 0, 24, 24)


def test_one_number_is_what_it_was(table, runs):
    fixed = [replace(one, pairs=24) for one in table]
    found = [one.to_json() for one in judge_table(fixed, runs(24))]
    assert not any("look" in name for one in found for name in one)
    assert all("looks" in one.to_json() for one in judge_table(table, runs(24)))
    assert "assay" not in json.dumps([one.sha for one in fixed])


def test_another_number_of_blocks_than_declared_is_judged_once_and_exploratory(table, runs):
    found = judge_table(table, runs(24, **{"tags.workbench.pairs_planned": "8"}), planned=8)
    assert all(one.exploratory and not one.looks and one.planned == 8 for one in found)


def test_a_rejected_hypothesis_leaves_its_part_to_the_others(claim, sweep):
    """Alone at Holm's second step the near claim is decided at the look at which the clear one is."""
    values = around(1.5, 0.05, 6)
    clear = claim(pairs=(6, 12))
    near = claim(name="near", treatment=BUCKET, pairs=(6, 12))
    found = judge_table(
        [clear, near], sweep((GLOBAL, [1.0] * 6), (BATCH, around(3.0, 0.01, 6)), (BUCKET, values))
    )
    assert found[1].decided_at == pytest.approx(1 - 2 * 0.025 / 3)
    assert ClaimSet((clear, near)).family == 4


def test_a_look_at_which_the_control_differs_from_itself_decides_nothing(claim, sweep):
    again = {**GLOBAL, "tags.workbench.repeat": "1"}

    def runs(blocks: int):
        shaken = [1.5, 1.51, 1.49, 1.5, 1.52, 1.48, *[1.0, 1.01, 0.99] * 6]
        return sweep(
            (GLOBAL, [1.0] * blocks), (BATCH, around(2.0, 0.01, 24)[:blocks]), (again, shaken[:blocks])
        )

    one = claim(pairs=LOOKS, control_again=True)
    assert undecided([one], runs(6), LOOKS, 1) == [one]
    found, instrument = judge_table([one], runs(24))
    assert (found.verdict, found.look) == ("reproduced", 2)
    assert instrument.verdict != "instrument failed"
    void, failed = judge_table([one], runs(6), planned=6)
    assert (void.verdict, failed.verdict) == ("inconclusive", "instrument failed"), "judged once, as ever"


def test_a_control_that_differs_from_itself_after_a_look_voids_nothing_decided_at_it(claim, sweep):
    again = {**GLOBAL, "tags.workbench.repeat": "1"}
    blocks = 24
    shaken = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, *[1.5, 1.51, 1.49] * 6]
    bucket = [1.25 * factor for factor in (1.05, 1 / 1.05) * 12]
    runs = sweep(
        (GLOBAL, [1.0] * blocks), (BATCH, around(2.0, 0.01, blocks)), (BUCKET, bucket), (again, shaken)
    )
    clear = claim(pairs=LOOKS, control_again=True)
    near = claim(name="near", treatment=BUCKET, pairs=LOOKS, control_again=True)
    found, open_one, instrument = judge_table([clear, near], runs)
    assert instrument.verdict == "instrument failed"
    assert (found.verdict, found.look) == ("reproduced", 1)
    assert (open_one.verdict, open_one.look) == ("inconclusive", 0)
    assert "the instrument failed" in open_one.reasons[0]


def test_a_counter_example_after_its_look_still_contradicts_an_exact_claim(claim, sweep):
    exact = claim(
        kind="exact", metric="data/batches_at_longest", scale="difference", control={"value": 1},
        direction="same", smallest=0, pairs=LOOKS,
    )  # fmt: skip
    near = claim(name="near", treatment=BATCH, pairs=LOOKS)
    values = [1.0] * 9 + [2.0] + [1.0] * 2
    runs = sweep((BATCH, values), metric="data/batches_at_longest")
    assert undecided([exact, near], runs[runs["params.seed"] < "107"], LOOKS, 1) == [near]
    found = judge_table([exact, near], runs)
    assert (found[0].verdict, found[0].look) == ("contradicted", 2), (
        "the first look that has the counter-example"
    )
    assert "block 110" in found[0].reasons[0]


def jobs_of(blocks: int = 24) -> list[Job]:
    found = []
    for block in range(blocks + 1):
        for arm, repeat in (("global", 0), ("batch", 0), ("bucket", 0), *([("global", 1)] if block else [])):
            tree = {"padding": {"name": arm}, "seed": 100 + block}
            found.append(Job(len(found), arm, block, repeat, tree))
    return found


def test_only_open_claims_go_on_beside_the_control_that_is_run_again(table, runs):
    """And what has been run decides which, so a sweep that was ended goes on as one that was not."""
    heard = []
    frame = runs(24)
    frame["tags.workbench.arm"] = frame["params.padding.name"]
    data = read_runs(frame)
    jobs = jobs_of()
    one, two, three = stages(
        jobs, table, LOOKS, lambda: data, lambda pairs, still: heard.append((pairs, still))
    )
    assert one == [job for job in jobs if job.block <= 6]
    assert {job.arm for job in (*two, *three)} == {"global", "bucket"}
    assert [sum(job.block == block for job in two) for block in range(7, 13)] == [3] * 6
    assert {job.block for job in three} == set(range(13, 25))
    assert heard == [(6, [table[1]]), (12, [table[1]])]
    assert list(stages(jobs, table, (24,), lambda: 1 / 0)) == [jobs], "one look asks nothing"
    assert list(stages(jobs, table[:1], LOOKS, lambda: data)) == [one], "all is decided: no more is run"


def test_the_control_that_is_run_again_goes_on_though_no_open_claim_has_it(table, runs, claim):
    at_bound = claim(name="b", treatment=BUCKET, control=BATCH, direction="lower", smallest=1.6, pairs=LOOKS)
    frame = runs(24)
    frame["tags.workbench.arm"] = frame["params.padding.name"]
    data = read_runs(frame)
    _, two, _ = stages(jobs_of(), [table[0], at_bound], LOOKS, lambda: data)
    assert {(job.arm, job.repeat) for job in two} == {
        ("global", 0),
        ("global", 1),
        ("batch", 0),
        ("bucket", 0),
    }


@pytest.mark.parametrize("done", [0, 3, 6, 9, 12, 24])
def test_the_stages_follow_from_the_runs_of_the_looks_before_alone(table, runs, done):
    """Killed within a look or between two: what is planned still is what the whole sweep runs, or may run."""
    frame = runs(24)
    frame["tags.workbench.arm"] = frame["params.padding.name"]
    data, jobs = read_runs(frame), [job for job in jobs_of() if not job.repeat and job.block]
    whole = [job for stage in stages(jobs, table, LOOKS, lambda: data) for job in stage]
    before = [run for run in data if run.block <= done and (run.arm != "batch" or run.block <= 6)]
    left = still_planned(jobs, table, LOOKS, before)
    assert {job.number for job in left} >= {job.number for job in whole}
    if done == 24:
        assert left == whole
    if done >= 12:
        assert not any(job.arm == "batch" and 6 < job.block <= 12 for job in left)
    verdicts = [
        json.dumps([one.to_json() for one in judge_table(table, some)]) for some in (data, data[::-1])
    ]
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("kind", ["exact", "measured"])
def test_a_control_that_is_not_bit_identical_voids_what_is_decided_by_then_and_no_look_before(
    claim, sweep, kind
):
    loss = "loss/validation_per_token"
    again, blocks = {**GLOBAL, "tags.workbench.repeat": "1"}, 24
    made = {"metric": loss, "scale": "difference", "pairs": LOOKS, "control_again": True}
    if kind == "exact":
        one = claim(kind="exact", direction="same", smallest=0, **made)
        runs = sweep((GLOBAL, [1.0] * blocks), (BATCH, [1.0] * blocks), (again, [1.0] * blocks), metric=loss)
    else:
        one = claim(direction="higher", smallest=0.1, **made)
        runs = sweep(
            (GLOBAL, [1.0] * blocks), (BATCH, around(2.0, 0.01, blocks)), (again, [1.0] * blocks), metric=loss
        )
    runs["params.device"], runs["tags.digest.weights"] = "cpu", "w"
    repeats = runs["tags.workbench.repeat"] == "1"
    late, early = runs.copy(), runs.copy()
    late.loc[repeats & (runs["params.seed"] == "110"), "tags.digest.weights"] = "v"
    assert (judge_table([one], late)[0].verdict, judge_table([one], late)[0].look) == ("reproduced", 1)
    late.loc[repeats & (runs["params.seed"] == "110"), f"metrics.{loss}"] = 1.5
    assert (judge_table([one], late)[0].verdict, judge_table([one], late)[0].look) == ("reproduced", 1)
    early.loc[repeats & (runs["params.seed"] == "102"), "tags.digest.weights"] = "v"
    assert undecided([one], early[early["params.seed"] < "107"], LOOKS, 1) == [one], "as it would be voided"
    void = judge_table([one], early)[0]
    assert (void.verdict, void.look) == ("inconclusive", 0)
    assert "not bit-identical" in void.reasons[0]
    assert said.look(void) == "", "it is not open for want of blocks"
