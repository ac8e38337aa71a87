"""Hydra's own settings: they act, or they are refused by name wherever they are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.config import ConfigError
from workbench.sweep.compose import Composer
from workbench.sweep.grid import checked, expand
from workbench.sweep.ledger import differences
from workbench.sweep.listing import headline
from workbench.sweep.planning import plan_sweep
from workbench.sweep.typed import as_typed

IN_WORDS = "is a setting of Hydra's that does nothing here"


@pytest.fixture(scope="module")
def compose() -> Composer:
    return Composer()


@pytest.mark.parametrize(
    "text",
    [
        "hydra.sweep.dir=x",
        "hydra.run.dir=x",
        "hydra.job.chdir=true",
        "hydra.sweeper.max_batch_size=1",
        "hydra.mode=RUN",
        "hydra.verbose=true",
        "hydra.job.name=x",
        "hydra.job.num=3",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/output=none",
        "hydra/sweeper=optuna",
        "hydra/sweeper=basic",
        "hydra.nosuch=1",
        "+hydra.callbacks.x._target_=a.b",
        "++hydra.job.env_copy=[HOME]",
        "hydra={}",
        "hydra.job={env_set: {A: 1}}",
        "~hydra.job_logging",
    ],
)
def test_a_setting_that_is_typed_and_does_nothing_is_refused_by_name(compose: Composer, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose.read(["cell=gru", text])
    (problem,) = refused.value.problems
    assert problem.key == text.lstrip("+~").partition("=")[0]
    assert IN_WORDS in problem.remedy


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("hydra: {callbacks: {x: {_target_: no.such}}}", "hydra.callbacks.x._target_"),
        ("hydra: {sweep: {dir: x}}", "hydra.sweep.dir"),
        ("hydra: {verbose: true}", "hydra.verbose"),
        ("hydra: {job: {chdir: true}}", "hydra.job.chdir"),
        ("hydra: {sweeper: {max_batch_size: 3}}", "hydra.sweeper.max_batch_size"),
        ("defaults: [override /hydra/job_logging: none]", "hydra/job_logging"),
        ("defaults: [override /hydra/hydra_logging: disabled]", "hydra/hydra_logging"),
    ],
)
def test_a_setting_of_a_file_that_does_nothing_is_refused_by_name(
    tmp_path: Path, text: str, key: str
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(f"# @package _global_\n{text}\n")
    with pytest.raises(ConfigError) as refused:
        Composer([str(tmp_path)])(["+experiment=own"])
    assert key in [problem.key for problem in refused.value.problems]
    assert all(IN_WORDS in problem.remedy for problem in refused.value.problems)


def test_an_option_of_a_launcher_needs_the_launcher(compose: Composer) -> None:
    with pytest.raises(
        ConfigError, match=r"hydra.launcher.n_jobs=2: .* choose one too, as hydra/launcher=joblib"
    ):
        compose(["+hydra.launcher.n_jobs=2"])


@pytest.mark.parametrize("launcher", ["joblib", "ray", "submitit_local"])
def test_a_launcher_and_its_options_are_taken_beside_variables(compose: Composer, launcher: str) -> None:
    tree = compose([f"hydra/launcher={launcher}", "+hydra.job.env_set.A=1"])
    assert tree["environment"] == {"A": "1"}


def test_variables_are_frozen_in_every_job_and_make_another_sweep(compose: Composer) -> None:
    words = ["cell=gru,lstm", "seed=1,2", "+hydra.job.env_set.OMP_NUM_THREADS=1"]
    _, _, planned = plan_sweep(compose, words)
    assert [job.tree["environment"] for job in planned.jobs] == [{"OMP_NUM_THREADS": "1"}] * 4
    _, _, without = plan_sweep(compose, words[:2])
    assert [job.tree["environment"] for job in without.jobs] == [{}] * 4
    assert "cell=gru: environment.OMP_NUM_THREADS was 1, is null" in differences(planned, without)


def test_variables_of_a_file_are_frozen_too(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(
        "# @package _global_\nhydra: {job: {env_set: {A: 1, B: '${cell.name}'}}}\n"
    )
    grid = expand(Composer([str(tmp_path)]), ["+experiment=own", "+hydra.job.env_set.C=x"])
    assert grid.arms["defaults"]["environment"] == {"A": "1", "B": "lstm", "C": "x"}


def test_variables_follow_the_values_of_each_arm(compose: Composer) -> None:
    words = ["+hydra.job.env_set.FOO='u${cell.units}'", "cell.units=8,16"]
    _, _, planned = plan_sweep(compose, words)
    found = {job.tree["cell"]["units"]: job.tree["environment"] for job in planned.jobs}
    assert found == {8: {"FOO": "u8"}, 16: {"FOO": "u16"}}
    assert "hydra.job.env_set differs between arms" in headline(planned, None)
    assert compose([*words[:1], "cell.units=4"])["environment"] == {"FOO": "u4"}
    with pytest.raises(ConfigError, match=r"hydra.job.env_set.FOO=\$\{seed\}: follows what differs"):
        plan_sweep(compose, ["+hydra.job.env_set.FOO=${seed}", "seed=1,2"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "+hydra.job.env_set.MLFLOW_TRACKING_PASSWORD=x",
            "MLFLOW_TRACKING_PASSWORD=***: cannot be set for a job",
        ),
        ("+hydra.job.env_set.PYTHONPATH=x", "set it in the shell"),
        ("+hydra.job.env_set.WORKBENCH_CHANNEL=x", "the workbench's own"),
    ],
)
def test_variables_that_a_job_cannot_be_given_are_refused(compose: Composer, text: str, said: str) -> None:
    assert said in str(checked(compose, [text])[1][0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("+environment.A=1", "is set by +hydra.job.env_set.NAME=VALUE"),
        ("hydra.job.env_set.A=1", "+hydra.job.env_set.A=1 adds it"),
        ("+hydra.job.env_set.A=${oc.env:NOT_THERE}", "the variable NOT_THERE is not set"),
    ],
)
def test_variables_are_given_in_one_way(compose: Composer, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose([text])
    assert said in str(refused.value)


def test_a_package_of_files_is_recorded_by_its_name_and_found_as_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_of_files" / "conf").mkdir(parents=True)
    (tmp_path / "lab_of_files" / "__init__.py").touch()
    (tmp_path / "lab_of_files" / "conf" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    compose = Composer(["pkg://lab_of_files.conf", f"file://{tmp_path}"])
    assert compose.own_places == [tmp_path / "lab_of_files" / "conf", tmp_path]
    typed = as_typed([], compose.folders)
    assert typed.config_folders == ("pkg://lab_of_files.conf", str(tmp_path))
    assert Composer(typed.config_folders).own_places == compose.own_places


@pytest.mark.parametrize("place", ["pkg://nosuch.conf", "pkg://", "pkg://.a", "s3://x"])
def test_a_place_that_is_none_is_refused_in_words(place: str) -> None:
    with pytest.raises(ConfigError, match="is no"):
        Composer([place])


def test_the_search_path_is_where_files_are_found(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from workbench.__main__ import parse

    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "mine.yaml").write_text("name: gru\nunits: 5\n")
    given = parse([f"hydra.searchpath=[file://{tmp_path}]", "cell=glob(mine)"])
    assert given.config_folders == [str(tmp_path)]
    compose = Composer(given.config_folders)
    (tree,) = expand(compose, given.overrides).arms.values()
    assert (tree["cell"]["name"], tree["cell"]["units"]) == ("gru", 5)
