"""What was asked for is what runs: values of the command line and of files are in every frozen job."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.__main__ import main
from workbench.config import ConfigError, flatten
from workbench.record.plan import Plan, plan_json, read_plan
from workbench.sweep.compose import Composer
from workbench.sweep.grid import expand, plan, require_asked
from workbench.sweep.own_run import OwnRun
from workbench.sweep.planning import plan_again, plan_sweep
from workbench.sweep.resume import reconcile
from workbench.sweep.typed import as_typed
from workbench.tracking import Tracker

POOL: dict[str, list[Any]] = {
    "cell": ["lstm", "gru", "ugrnn"],
    "cell.units": [4, 8, 16],
    "label": ["a", "b c", "x,y", "1e3", "it's", "true", ""],
    "data.max_length": [None, 30, 60],
    "optimizer.learning_rate": [0.001, 1e-05, 1],
    "seed": [1, 5, 9],
}
DEFAULTS = {"cell": "lstm", "cell.units": 64, "label": "", "optimizer.learning_rate": 0.003}


def quoted(value: Any) -> str:
    """As a careful person types it: every text that is no name in quotes."""
    if (isinstance(value, str) and not value.isalpha()) or value in ("true", ""):
        return '"' + value + '"'
    return "null" if value is None else str(value)


def words(values: list[Any]) -> str:
    return ",".join(map(quoted, values))


@st.composite
def asked(draw: st.DrawFn) -> tuple[list[str], dict[str, Any], dict[str, str], dict[str, list[Any]]]:
    """A command line, a grid, `hydra.sweeper.params`; and what each key is to be, by who gave it last."""
    typed, grid, params, wanted = [], {}, {}, {}
    for key in draw(st.lists(st.sampled_from(sorted(POOL)), min_size=1, max_size=4, unique=True)):
        values = st.lists(st.sampled_from(POOL[key]), min_size=1, max_size=2, unique=True)
        places = draw(
            st.lists(st.sampled_from(["params", "grid", "typed", "typed again"]), min_size=1, unique=True)
        )
        for place in sorted(places, key=["params", "grid", "typed", "typed again"].index):
            wanted[key] = given = draw(values)
            if place == "params":
                params[key] = words(given)
            elif place == "grid":
                grid[key] = given if len(given) > 1 or draw(st.booleans()) or key == "label" else given[0]
            else:
                typed.append(
                    (draw(st.sampled_from(["", "++"])) if "." in key else "") + f"{key}={words(given)}"
                )
    return (
        draw(st.permutations(typed))
        if len({t.partition("=")[0].lstrip("+") for t in typed}) == len(typed)
        else typed,
        grid,
        params,
        wanted,
    )


@settings(max_examples=5, deadline=None)
@given(asked())
def test_every_job_that_was_asked_for_is_frozen_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, case
) -> None:
    typed, grid, params, wanted = case
    folder = tmp_path_factory.mktemp("own")
    (folder / "experiment").mkdir()
    file = {"name": "own", "sweep": {"grids": [grid]}, "hydra": {"sweeper": {"params": params}}}
    (folder / "experiment" / "own.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(file)}")
    grid_of_all = expand(Composer([str(folder)]), ["+experiment=own", *typed])
    found = plan(grid_of_all, blocks=1, throw_away=False)
    keys = list(wanted)
    combinations = math.prod(len(values) for key, values in wanted.items() if key != "seed")
    assert len(grid_of_all.arms) + len(grid_of_all.merged) + len(grid_of_all.skipped) == combinations
    expected = set(itertools.product(*(wanted[key] for key in keys)))
    names = {"cell": "cell.name"}
    frozen = Counter(tuple(flatten(job.tree)[names.get(key, key)] for key in keys) for job in found.jobs)
    assert frozen == dict.fromkeys(expected, 1)


@pytest.fixture(scope="module")
def compose() -> Composer:
    return Composer()


def test_a_job_that_lost_what_was_asked_for_is_refused_with_key_asked_and_found(compose: Composer) -> None:
    grid = expand(compose, ["cell.units=8,16", "label=x", "seed=1,2"])
    jobs = plan(grid, blocks=1, throw_away=True).jobs
    require_asked(jobs, grid)
    for key, value in (("label", "y"), ("seed", 7), ("cell", {**jobs[3].tree["cell"], "units": 9})):
        jobs[3] = replace(jobs[3], tree={**jobs[3].tree, key: value})
    with pytest.raises(ConfigError) as refused:
        require_asked(jobs, grid)
    said = str(refused.value)
    assert "label=x: is asked for, but job 3 (" in said
    assert "has label=y" in said
    assert {problem.key for problem in refused.value.problems} == {"label", "cell.units", "seed"}


def seeds_and_arms(compose: Composer, *overrides: str) -> tuple[list[int], set[str]]:
    _, _, planned = plan_sweep(compose, list(overrides))
    assert planned.blocks == len({job.block for job in planned.jobs if job.block})
    blocks = {job.block: job.tree["seed"] for job in planned.jobs if job.block}
    assert len({(job.block, job.arm, job.repeat) for job in planned.jobs}) == len(planned.jobs)
    return [blocks[block] for block in sorted(blocks)], {job.arm for job in planned.jobs}


@pytest.fixture
def own(tmp_path: Path):
    """Writes an experiment file of one's own, and gives the words that choose it."""

    def written(text: str, name: str = "own") -> Composer:
        (tmp_path / "experiment").mkdir(exist_ok=True)
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\nname: {name}\n{text}")
        return Composer([str(tmp_path)])

    return written


@pytest.mark.parametrize(
    ("text", "typed", "seeds", "arms"),
    [
        ("sweep: {grids: [{seed: [1, 2, 3]}]}", [], [1, 2, 3], {"defaults"}),
        ("sweep: {grids: [{seed: '4,5', cell: [lstm, gru]}]}", [], [4, 5], {"cell=lstm", "cell=gru"}),
        ("sweep: {grids: [{seed: 'range(7,9)'}]}", [], [7, 8], {"defaults"}),
        ("sweep: {grids: [{seed: 6}]}", [], [6], {"defaults"}),
        (
            "sweep: {grids: [{seed: [1, 2], cell: gru}, {seed: [1, 2], cell: nas}]}",
            [],
            [1, 2],
            {"cell=gru", "cell=nas"},
        ),
        (
            "hydra: {sweeper: {params: {seed: '1,2', cell: 'lstm,gru'}}}",
            [],
            [1, 2],
            {"cell=lstm", "cell=gru"},
        ),
        ("sweep: {grids: [{seed: [1, 2, 3]}]}", ["seed=4,5"], [4, 5], {"defaults"}),
        ("sweep: {grids: [{seed: [1, 2, 3]}]}", ["seed=7"], [7], {"defaults"}),
        ("sweep: {grids: [{seed: [1, 2]}], claims: padding_ablation}", ["padding=batch,global"], None, None),
        (
            "seed: 101\nsweep: {grids: [{cell: [lstm, gru]}], blocks: 2}",
            [],
            [101, 102],
            {"cell=lstm", "cell=gru"},
        ),
        ("sweep: {grids: [{seed: [3, 4]}], blocks: 2}", [], [3, 4], {"defaults"}),
        ("sweep: {blocks: 9}", ["seed=3,4"], [3, 4], {"defaults"}),
    ],
)
def test_seeds_are_blocks_wherever_they_are_given(own, text, typed, seeds, arms) -> None:
    compose = own(text)
    if seeds is None:  # claims say how many blocks there are, as on the command line: seeds are those
        grid = expand(compose, ["+experiment=own", *typed])
        assert grid.seeds == [1, 2]
        return
    assert seeds_and_arms(compose, "+experiment=own", *typed) == (seeds, arms)


@pytest.mark.parametrize(
    ("text", "typed", "said"),
    [
        ("sweep: {grids: [{seed: [1, 2]}, {seed: 3}]}", [], "seed=1,2 and 3: a seed is a block"),
        ("sweep: {grids: [{seed: [1, 2]}, {cell: gru}]}", [], "give all grids the same seeds"),
        ("sweep: {grids: [{seed: [1, 1]}]}", [], "name each once"),
        ("sweep: {grids: [{seed: [1, x]}]}", [], "seed=x: must be a whole number"),
        ("sweep: {grids: [{seed: [1, -2]}]}", [], "seed=-2: must be at least 0"),
        ("sweep: {grids: [{seed: [1, 2, 3]}], blocks: 2}", [], "sweep.blocks=2: seed=1,2,3 names 3"),
        ("sweep: {grids: [{seed: [1, 2, 3]}]}", ["sweep.blocks=2"], "give one of the two"),
        ("", ["seed=1,2", "sweep.blocks=3"], "give one of the two"),
        ("", ["seed=1,01"], "seed=01: must be a whole number"),
        ("", ["seed=1,99999999999"], "must be at most 2147483647"),
        ("seed: 2147483647", ["sweep.blocks=2"], "seed=2147483648: must be at most"),
        ("sweep: {grids: [{repeat: 2}]}", [], "repeat=2: is one for all jobs of a sweep"),
        ("sweep: {grids: [{name: x}]}", [], "no axis of sweep.grids"),
        ("sweep: {grids: [{sweep.blocks: 2}]}", [], "sweep.blocks=2: is one for all jobs"),
        ("sweep: {grids: [{+experiment: controls}]}", [], "experiment=controls: is one for all jobs"),
        ("hydra: {sweeper: {params: {tracking.uri: x}}}", [], "no axis of hydra.sweeper.params"),
        ("", ["repeat=2"], "repeat=2: a sweep counts its repeats itself"),
        ("", ["name=choice(a)"], "give one value"),
        ("cell: {name: lstm}\nsweep: {grids: [{cell: [gru, lstm]}]}", [], "cell.name=gru: is asked for, but"),
        (
            "",
            ["padding=batch,bucket", "padding.name=global"],
            "is asked for, but the configuration has padding.name",
        ),
        ("label: s${seed}", ["seed=1,2"], "label=s${seed}: follows what differs between the jobs of an arm"),
        (
            "sweep: {grids: [{cell.units: [8, 16]}]}",
            ["cell={units: 4}"],
            "cell.units=8: is an axis, and another",
        ),
        ("", ["cell.units=8,16", "cell={units: 4}"], "cell.units=8: is an axis, and another"),
        ("", ["cell={units: 4},{units: 8}", "cell.units=16"], "cell.units=4: is an axis, and another"),
        ("repeat: 2", [], "repeat=2: a sweep counts its repeats itself"),
        ("seed: ${cell.units}", ["cell.units=4,8"], "seed=4,8: differs between arms"),
        ("hydra: {sweeper: {params: {cell: gru}}}", ["~hydra.sweeper.params.seed"], "no such axis is given"),
        ("", ["cell=custom", "+cell.options.k={1:a,b:c}"], "cell.options.k.1: a name in a mapping is text"),
        (
            "",
            ["seed=range(0,200)", "cell.units=range(1,101)"],
            "sweep=(20000 jobs): a sweep has 10000 jobs at most",
        ),
    ],
)
def test_what_cannot_be_as_it_was_asked_for_is_refused(own, text, typed, said) -> None:
    compose = own(text)
    with pytest.raises(ConfigError) as refused:
        plan_sweep(compose, ["+experiment=own", *typed])
    assert said in str(refused.value)


def test_what_is_merged_is_said(compose: Composer) -> None:
    assert expand(compose, ["cell=lstm,lstm"]).merged == ["cell=lstm is given twice, and runs once"]
    found = expand(compose, ["data=synthetic", "data.mean=4,4.0"]).merged
    assert found == ["data.mean=4.0 is the same as data.mean=4, and runs once"]


ALIKE = [1, "1", 1.0, "1.0", None, "null", True, "true", [1], ["1"], {"a": 1}, {"a": "1"}, {"a": {"b": [1]}}]


def test_values_of_one_look_are_arms_of_their_own(own) -> None:
    options = json.dumps({"+cell.options.k": ALIKE})
    compose = own(f"cell: {{target: 'workbench.cells.gru:GRUCell'}}\nsweep: {{grids: [{options}]}}")
    grid = expand(compose, ["+experiment=own", "cell=custom", "cell.target=workbench.cells.gru:GRUCell"])
    assert [repr(tree["cell"]["options"]["k"]) for tree in grid.arms.values()] == list(map(repr, ALIKE))
    assert {'cell.options.k="1"', "cell.options.k=1", 'cell.options.k=["1"]'} <= set(grid.arms)


def test_titles_of_two_grids_that_read_alike_are_told_apart(own) -> None:
    compose = own("sweep: {grids: [{label: ['a cell.units=4']}, {label: [a], cell.units: [4]}]}")
    arms = expand(compose, ["+experiment=own"]).arms
    assert [(tree["label"], tree["cell"]["units"]) for tree in arms.values()] == [
        ("a cell.units=4", 64),
        ("a", 4),
    ]


@pytest.mark.parametrize(
    ("typed", "arms", "skipped"),
    [
        (["cell=custom", "cell.target=workbench.cells.gru:GRUCell,workbench.cells.lstm:LSTMCell"], 2, 0),
        (["cell.proj_clip=1.0", "cell.num_proj=4,8"], 2, 0),
        (["cell.attention_size=4", "cell.attention_length=2,3"], 2, 0),
        (["rnn=static", "padding=global,batch"], 1, 1),
        (["cell=gru,gru", "cell.reset_after=true"], 1, 0),  # the default cell has no such key
        (["cell.units=4,8", "label='u${cell.units}'"], 2, 0),
    ],
)
def test_rules_are_judged_on_combinations(compose: Composer, typed, arms: int, skipped: int) -> None:
    grid = expand(compose, typed)
    assert (len(grid.arms), len(grid.skipped)) == (arms, skipped)


@pytest.mark.parametrize("skipped", ["padding=batch,batch", "padding=batch,bucket,batch"])
def test_what_is_skipped_twice_is_counted_twice(compose: Composer, skipped: str) -> None:
    grid = expand(compose, [skipped, "rnn=static,dynamic"])
    assert "padding=batch rnn=static is given twice, and is skipped once" in grid.merged


@pytest.mark.parametrize(
    "text",
    [
        "x${oc.select:'seed'}",
        "${oc.select:seed}",
        "a${oc.select:${oc.decode:'seed'}}",
        "x${oc.select:cell.t.${seed},0}",
        "r${repeat}",
    ],
)
def test_whatever_asks_for_the_seed_is_found(own, text: str) -> None:
    found = own(f"label: {json.dumps(text)}").composed(["+experiment=own"]).of_seed
    assert found == (("label", text),)
    assert own("label: x${cell.units}").composed(["+experiment=own"]).of_seed == ()


@pytest.mark.parametrize(
    ("typed", "cell"),
    [
        (["cell=lstm", "cell=gru"], "gru"),
        (["cell=lstm,gru", "cell=ugrnn"], "ugrnn"),
        (["cell=gru", "cell=nas"], "nas"),
    ],
)
def test_the_later_choice_of_a_group_holds(compose: Composer, typed: list[str], cell: str) -> None:
    assert [tree["cell"]["name"] for tree in expand(compose, typed).arms.values()] == [cell]


def test_an_axis_of_a_file_is_taken_out(own) -> None:
    compose = own("hydra: {sweeper: {params: {seed: '1,2', cell: 'lstm,gru'}}}")
    assert seeds_and_arms(compose, "+experiment=own", "~hydra.sweeper.params.seed")[0] == [1]
    assert seeds_and_arms(compose, "+experiment=own", "~hydra.sweeper.params") == ([1], {"defaults"})


def test_swept_texts_are_titled_as_they_read(compose: Composer) -> None:
    assert set(expand(compose, ["label=c d,${cell.name}"]).arms) == {"label=c d", "label=${cell.name}"}


def test_a_choice_of_file_is_known_by_hydras_name(own, monkeypatch: pytest.MonkeyPatch) -> None:
    compose = own("label: ${hydra:runtime.choices.cell}")
    arms = expand(compose, ["+experiment=own", "cell=gru,lstm"]).arms
    assert [tree["label"] for tree in arms.values()] == ["gru", "lstm"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${hydra:job.num}", "knows ${hydra:runtime.choices.GROUP} only"),
        ("${hydra:runtime.cwd}", "knows ${hydra:runtime.choices.GROUP} only"),
        ("${hydra:runtime.choices.nope}", "there is no group nope"),
        ("${hydra.job.name}", "there is no key hydra.job.name; of Hydra's own values there is ${hydra:"),
        (
            "${oc.env:NOT_THERE}",
            "the variable NOT_THERE is not set; set it, or give a value for then: ${oc.env:NOT_THERE,",
        ),
        ("${nosuch:1}", "there is no resolver of this name"),
        ("${cell.nope}", "there is no key cell.nope"),
        ("${oc.decode:'[1'}", "cannot be resolved"),
    ],
)
def test_an_interpolation_that_cannot_be_is_refused_with_its_key_and_text(own, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        own(f"label: {json.dumps(text)}")(["+experiment=own", "cell=gru"])
    (problem,) = refused.value.problems
    assert (problem.key, problem.value) == ("label", text)
    assert said in problem.remedy


def test_a_sweep_that_is_resumed_by_its_id_has_its_frozen_values(monkeypatch: pytest.MonkeyPatch) -> None:
    compose, typed = Composer(), ["label=${oc.env:WHO}", "cell=gru,lstm", "seed=1,2"]
    monkeypatch.setenv("WHO", "me")
    _, _, planned = plan_sweep(compose, typed)
    frozen, said = read_plan(plan_json(planned, as_typed(typed)))
    earlier = OwnRun("s", "runs", "r", frozen, said)
    for who in ("you", None):
        monkeypatch.setenv("WHO", who) if who else monkeypatch.delenv("WHO")
        config, again = plan_again(Composer(), earlier, ["workbench.resume=s", "workbench.time_limit_s=5"])
        assert [job.tree["label"] for job in again.jobs] == ["me"] * 4
        assert {job.tree["workbench"]["time_limit_s"] for job in again.jobs} == {5}
        assert (config.label, config.workbench.resume) == ("me", "s")


def test_a_sweep_whose_checkpoints_lie_elsewhere_is_not_begun_anew_without_a_word(tmp_path: Path) -> None:
    """In another `tracking.folder` nobody would look for what a job that was cut off left."""

    def planned(*typed: str) -> Plan:
        return plan_sweep(Composer(), ["seed=1,2", *typed])[2]

    keeps, elsewhere = "training.checkpoint_every=1", f"tracking.folder={tmp_path}"
    earlier = OwnRun("s", "runs", "r", planned(keeps))
    asked: dict[str, Any] = {"claims": None, "tracker": cast(Tracker, object())}
    assert reconcile(earlier, planned(keeps), changed="refuse", **asked)[2] == []
    told = f"tracking.folder was mlruns, is {tmp_path}: jobs that were cut off have their checkpoints below mlruns"
    with pytest.raises(ConfigError, match=re.escape(told)):
        reconcile(earlier, planned(keeps, elsewhere), changed="refuse", **asked)
    frozen, _, said = reconcile(earlier, planned(keeps, elsewhere), changed="keep", **asked)
    assert said == [f"{told}; these begin anew"]
    assert {job.tree["tracking"]["folder"] for job in frozen.jobs} == {str(tmp_path)}
    *_, said = reconcile(earlier, planned(keeps, elsewhere, "optimizer=sgd"), changed="rerun", **asked)
    assert [one.partition(": ")[0] for one in said[:-1]] == ["changed since, and run again"] * (len(said) - 1)
    assert said[-1] == f"{told}; these begin anew"
    without = OwnRun("s", "runs", "r", planned())
    assert reconcile(without, planned(elsewhere), changed="refuse", **asked)[2] == []


def test_blocks_are_sent_back_by_the_rule_that_was_declared() -> None:
    """Verdicts are known when a sweep is resumed: another gate would choose blocks by them."""
    requeued = [plan_sweep(Composer(), ["seed=1,2", f"sweep.requeue={number}"])[2] for number in (0, 1)]
    earlier = OwnRun("s", "runs", "r", requeued[0])
    asked: dict[str, Any] = {"claims": None, "tracker": cast(Tracker, object())}
    with pytest.raises(ConfigError, match=r"sweep\.requeue was 0, is 1"):
        reconcile(earlier, requeued[1], changed="refuse", **asked)
    with pytest.raises(ConfigError, match="another gate, and then it is another sweep"):
        reconcile(earlier, requeued[1], changed="rerun", **asked)
    frozen, _, _ = reconcile(earlier, requeued[1], changed="keep", **asked)
    assert {job.tree["sweep"]["requeue"] for job in frozen.jobs} == {0}


REFUSED = [
    (
        ["+experiment=padding_ablation,cell_ablation", "-m"],
        "sweep.experiments=[padding_ablation,cell_ablation]",
    ),
    (
        ["+experiment=[padding_ablation,cell_ablation]", "-m"],
        "sweep.experiments=[padding_ablation,cell_ablation]",
    ),
    (["cell=glob(*)"], "several values make a sweep: add -m"),
    (["cell.units=range(1,3)"], "add -m"),
    (["sweep.blocks=5"], "sweep.blocks=5: is a sweep's: add -m"),
    *(
        ([one], f"{one}: is a sweep's: add -m")
        for one in (
            "sweep.throw_away=true",
            "sweep.requeue=1",
            "workbench.changed=rerun",
            "workbench.take_over=true",
            "workbench.launch=block",
        )
    ),
    (
        ["training.checkpoint_every=1"],
        "training.checkpoint_every=1: only a sweep goes on after a kill: add -m",
    ),
    (
        ['+hydra.sweeper.params.cell="lstm,gru"'],
        "hydra.sweeper.params=cell=lstm,gru: axes make a sweep: add -m",
    ),
    (["+hydra.sweeper.params.cell=lstm,gru", "-m"], "type cell=lstm,gru"),
    (["experiment=padding_ablation", "-m"], "type +experiment=padding_ablation"),
    (["label=1e3"], "label=1e3: must be text: put it in quotes: 'label=\"1e3\"'"),
    (["name=2024", "-m"], "'name=\"2024\"'"),
    (["seed=1e0"], "seed=1e0: must be a whole number"),
    (["optimizer.learning_rate=interval(0,1)", "-m"], "an interval has no values"),
    (["--cfg", "job", "cel=gru"], "cel=gru: no such key"),
    (["--cfg", "job", "cell=gru,lstm"], "one configuration is shown"),
    (["~nosuch"], "~nosuch"),
    (["hydra.searchpath=3"], "must be a list of folders"),
    (["--config-dir", "nowhere"], "--config-dir=nowhere: is not a folder"),
    (["seed=1", "--config-dir"], "--config-dir: names no folder"),
    (["--config-dir=", "-m"], "names no folder"),
    (["-m", "name=" + 300 * "a"], "must be at most 100 bytes long"),
    (["-m", "name='a_${cell.name}'", "cell=lstm,gru"], "name=a_lstm: is a_gru in another arm"),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED)
def test_wrong_input_ends_with_2_before_anything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, typed, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(typed) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_version_is_the_workbenchs(capsys: pytest.CaptureFixture) -> None:
    from workbench import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rnn-workbench {__version__}\n"
