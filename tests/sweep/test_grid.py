"""Overrides -> arms -> ordered jobs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import ConfigError
from workbench.sweep.compose import Composer
from workbench.sweep.grid import balanced_orders, expand, matching_arm, plan


@pytest.fixture(scope="module")
def compose() -> Composer:
    return Composer()


def test_the_product_is_composed_and_the_impossible_is_skipped_with_its_reason(compose: Composer) -> None:
    grid = expand(compose, ["padding=global,batch", "rnn=static,dynamic"])
    assert list(grid.arms) == [
        "padding=global rnn=static",
        "padding=global rnn=dynamic",
        "padding=batch rnn=dynamic",
    ]
    (skipped,) = grid.skipped
    assert skipped.arm == "padding=batch rnn=static"
    assert "new graph for every length" in skipped.reason


@pytest.mark.parametrize(
    "typed",
    [
        ["training.strategy=none,mirrored", "training.workers=1,2"],
        ["cell.num_proj=null,32", "cell.proj_clip=null,3.0"],
        ["cell.attention_length=null,5", "cell.attention_size=null,8"],
        ["training.epochs=3", "training.keep=none,best", "training.validate_every=null,1"],
    ],
)
def test_of_options_that_go_together_the_others_are_skipped(compose: Composer, typed: list[str]) -> None:
    grid = expand(compose, typed)
    assert len(grid.arms) >= 2
    assert len(grid.arms) + len(grid.skipped) == 4


def test_what_is_asked_for_is_not_skipped(compose: Composer) -> None:
    assert expand(compose, ["padding=batch", "rnn=static", "rnn.allow_retrace=true"]).skipped == []


def test_a_wrong_value_in_one_combination_refuses_the_sweep(compose: Composer) -> None:
    with pytest.raises(ConfigError, match=r"data.batch_size=0: must be at least 1"):
        expand(compose, ["data.batch_size=32,0"])


def test_a_sweep_of_impossible_combinations_only_is_refused(compose: Composer) -> None:
    with pytest.raises(ConfigError, match="new graph for every length"):
        expand(compose, ["padding=batch,bucket", "rnn=static"])


def test_equal_arms_are_one(compose: Composer) -> None:
    assert len(expand(compose, ["cell.units=64,64,32"]).arms) == 2


def test_the_command_line_replaces_an_axis_of_the_experiment(compose: Composer) -> None:
    grid = expand(compose, ["+experiment=padding_ablation", "padding=bucket,batch", "rnn=dynamic"])
    assert {tree["padding"]["name"] for tree in grid.arms.values()} == {"bucket", "batch"}
    assert {tree["rnn"]["unroll"] for tree in grid.arms.values()} == {"dynamic"}


def test_seeds_are_blocks_and_vary_slowest(compose: Composer) -> None:
    planned = plan(expand(compose, ["cell=gru,lstm", "seed=5,3,9"]), blocks=1, throw_away=False)
    assert [job.tree["seed"] for job in planned.jobs] == [5, 5, 3, 3, 9, 9]
    assert [job.block for job in planned.jobs] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("seeds", ["seed=1,x", "seed=1,-2", "seed=1,1"])
def test_seeds_that_are_no_blocks_are_refused(compose: Composer, seeds: str) -> None:
    with pytest.raises(ConfigError, match="seed"):
        expand(compose, [seeds])


def test_a_planned_repeat_and_a_throw_away_block(compose: Composer) -> None:
    grid = expand(compose, ["cell=gru,lstm"])
    planned = plan(grid, blocks=4, throw_away=True, control="cell=gru")
    blocks = Counter(job.block for job in planned.jobs)
    assert blocks == {0: 2, 1: 3, 2: 3, 3: 3, 4: 3}
    again = [job for job in planned.jobs if job.repeat]
    assert [job.arm for job in again] == ["cell=gru"] * 4
    assert all(job.tree["repeat"] == 1 for job in again)
    seeds = {job.block: job.tree["seed"] for job in planned.jobs}
    assert seeds[0] not in [seeds[block] for block in (1, 2, 3, 4)]
    assert [job.number for job in planned.jobs] == list(range(len(planned.jobs)))


def test_a_plan_is_the_same_for_the_same_seed_only(compose: Composer) -> None:
    grid = expand(compose, ["cell=gru,lstm,basic_rnn"])

    def order(seed: int) -> list[str]:
        return [job.arm for job in plan(grid, blocks=6, throw_away=False, order_seed=seed).jobs]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_the_order_is_balanced_from_look_to_look_and_up_to_the_first_as_without_more(
    compose: Composer,
) -> None:
    grid = expand(compose, ["cell=gru,lstm,basic_rnn"])

    def rows(blocks: int, **given: Sequence[int]) -> list[list[str]]:
        jobs = plan(grid, blocks=blocks, throw_away=False, **given).jobs
        return [[job.arm for job in jobs if job.block == block] for block in range(1, blocks + 1)]

    looked = rows(24, looks=(6, 12, 24))
    assert looked[:6] == rows(6)
    for part in (looked[:6], looked[6:12], looked[12:]):
        for first, second in permutations(grid.arms, 2):
            assert sum(row.index(first) < row.index(second) for row in part) == len(part) / 2
    assert rows(8, looks=(6, 12)) == rows(8), "another number of blocks has one look"


@given(arms=st.integers(1, 6), blocks=st.integers(1, 8).map(lambda n: 2 * n), seed=st.integers(0, 99))
def test_every_arm_precedes_every_other_in_half_of_the_blocks(arms: int, blocks: int, seed: int) -> None:
    orders = balanced_orders(arms, blocks, random.Random(seed))
    assert all(sorted(row) == list(range(arms)) for row in orders)
    for first, second in permutations(range(arms), 2):
        before = sum(row.index(first) < row.index(second) for row in orders)
        assert before == blocks / 2


@given(arms=st.integers(1, 6), seed=st.integers(0, 99))
def test_over_whole_squares_every_arm_stands_in_every_place_equally_often(arms: int, seed: int) -> None:
    orders = balanced_orders(arms, 2 * arms, random.Random(seed))
    for place in range(arms):
        assert Counter(row[place] for row in orders) == dict.fromkeys(range(arms), 2)


def test_an_arm_is_found_by_its_values(compose: Composer) -> None:
    grid = expand(compose, ["padding=global,batch", "cell=gru,lstm"])
    assert matching_arm(grid, {"padding.name": "batch", "cell.name": "lstm"}) == "padding=batch cell=lstm"
    assert matching_arm(grid, {"padding.name": "bucket"}) is None
