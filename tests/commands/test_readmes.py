"""What the READMEs say to type: every command is one that there is, every snippet runs, every link leads on."""

from __future__ import annotations

import argparse
import importlib
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from workbench.__main__ import parse
from workbench.config import GROUPS, ConfigError, flatten
from workbench.places import CONF
from workbench.record.tags import TAGS
from workbench.sweep.compose import Composer
from workbench.sweep.grid import checked
from workbench.sweep.launch import Launch
from workbench.sweep.overrides import first, swept
from workbench.sweep.series import asked_series

ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    "*.md",
    "conf/*.md",
    "mlruns/*.md",
    "workbench/**/README.md",
    "experiments/*.md",
    "experiments/*/*.md",
)
READMES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for place in PLACES
    for path in sorted(ROOT.glob(place))
    if path.name in ("README.md", "CONTRIBUTING.md")
}
ROOMS = ("cells", "claims", "data", "probes", "report", "rnn", "sweep", "training")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"(?<=\n\n)(?:    .*\n)+")
_SPAN = re.compile(r"`([^`]+)`")
_COMMANDS = ("python ", "make ", "pytest ", "mlflow ", "pip ")
_KEY = re.compile(rf"(?:{'|'.join((*GROUPS, 'workbench', 'sweep'))})(?:\.\w+)+|{'|'.join(GROUPS)}")
SERVER = "mlflow server"
"""In a block that tests/commands/test_server.py types."""


def commands(text: str) -> Iterator[list[str]]:
    """The words of every line of an indented block, and of what is quoted in a line and begins like a command."""
    outside = _FENCE.sub("", text)
    for block in _BLOCK.findall(outside):
        if SERVER not in block:
            yield from (shlex.split(line, comments=True) for line in block.splitlines())
    for span in _SPAN.findall(_BLOCK.sub("", outside)):
        if span.startswith(_COMMANDS):
            yield shlex.split(span)


COMMANDS = sorted({shlex.join(words) for text in READMES.values() for words in commands(text)})
SNIPPETS = {
    code: name for name, text in READMES.items() for kind, code in _FENCE.findall(text) if kind == "python"
}


def test_every_room_of_the_tables_is_read() -> None:
    assert {f"workbench/{room}/README.md" for room in ROOMS} | {"conf/README.md"} <= set(READMES)
    assert all(f"(workbench/{room}/README.md)" in READMES["README.md"] for room in ROOMS)
    assert len(COMMANDS) > 50


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """One for all command lines: it reads each file once."""
    return Composer([str(own_experiment(tmp_path_factory.mktemp("own")))])


def own_experiment(folder: Path) -> Path:
    """What `--config-dir mine` reads `mine/experiment/myown.yaml` from."""
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "myown.yaml").write_text(
        "# @package _global_\nname: myown\nsweep: {grids: [{cell: [gru, lstm]}]}\n"
    )
    return folder


def of_workbench(words: list[str], compose: Composer) -> None:
    """Composed and checked with each value of each axis; tests/config plans the experiments' own grids."""
    given = parse(words)
    assert given.config_folders in ([], ["mine"])
    asked = compose.read(given.overrides)
    assert given.multirun or not swept(asked), "several values without -m"
    for place, one in enumerate(asked):
        for word in one.words if one.is_swept or not place else []:
            tree, wrong, _ = checked(compose, [*first(asked[:place]), word, *first(asked[place + 1 :])])
            assert not wrong, wrong
            assert given.multirun or given.shows or not tree["sweep"]["grids"], "a sweep without -m"
    assert asked_series(compose, given.overrides) is None or given.multirun
    try:
        assert Launch.chosen(compose, first(asked)) is None or given.multirun
    except ConfigError as error:
        if "is not installed" not in str(error):
            raise


class KnownError(Exception):
    """A command line that its parser takes."""


def of_parser(module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's own parser takes the words; what it would do then is not done."""
    takes = argparse.ArgumentParser.parse_args

    def known(self: argparse.ArgumentParser, *given: Any) -> None:
        takes(self, *given)
        raise KnownError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", known)
    monkeypatch.setattr(sys, "argv", [module, *words])
    is_file = module.endswith(".py")
    run: Callable[[], Any] = runpy.run_path(str(ROOT / module))["main"] if is_file else _main_of(module)
    with pytest.raises(KnownError):
        run()


def _main_of(module: str) -> Callable[[], Any]:
    found = importlib.import_module(module)
    return found.main if hasattr(found, "main") else importlib.import_module(f"{module}.__main__").main


def of_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, equals, _ = word.partition("=")
        there = rf"^{name} \?=" if equals else rf"^\.PHONY:.* {name}\b"
        assert re.search(there, makefile, re.MULTILINE), word


def of_pytest(words: list[str]) -> None:
    folder = ROOT / next(word for word in words if not word.startswith("-"))
    assert folder.exists()
    own = (ROOT / "tests" / "conftest.py").read_text()
    assert all(f'"{word}"' in own for word in words if word.startswith("--"))


def of_mlflow(words: list[str]) -> None:
    """What `python -m workbench.ui` starts, which tests/browser opens; MLflow's parser takes long to import."""
    started = (ROOT / "workbench" / "ui.py").read_text()
    assert all(f'"{word}"' in started or "://" in word for word in words)


def of_export(words: list[str]) -> None:
    """Variables that MLflow reads."""
    import mlflow.environment_variables as known

    assert all(hasattr(known, word.partition("=")[0]) for word in words)


def of_pip(words: list[str]) -> None:
    """What one of the extras asks for: nobody but a package index that has it knows the project's own name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    verb, *names = words
    asked = [re.split(r"[\[<>=]", one)[0] for extra in extras.values() for one in extra]
    assert verb == "install"
    assert names
    assert {re.split(r"[\[<>=]", name)[0] for name in names} <= {*asked}, names


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_there_is(
    command: str, compose: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, *words = shlex.split(command)
    if program == "python":
        module = words.pop(0)
        module = words.pop(0) if module == "-m" else module
        if module == "workbench":
            of_workbench(words, compose)
        else:
            of_parser(module, words, monkeypatch)
        return
    others = {"make": of_make, "pytest": of_pytest, "mlflow": of_mlflow, "pip": of_pip, "export": of_export}
    others[program](words)


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Every key that can be typed: those of every variant of every group, and their sections."""
    found = set(flatten(yaml.safe_load((CONF / "config.yaml").read_text())))
    for group, variants in GROUPS.items():
        for variant in variants:
            options = yaml.safe_load((CONF / group / f"{variant}.yaml").read_text())
            found |= set(flatten({group: options}))
    return found | {key.rpartition(".")[0] for key in found}


@pytest.mark.parametrize("name", READMES)
def test_a_key_is_one_that_there_is(name: str, keys: set[str]) -> None:
    """Quoted alone or with a value; the same look have a tag, a module, and a file."""
    for span in _SPAN.findall(_FENCE.sub("", READMES[name])):
        for word in span.split() if all("=" in one for one in span.split()) else [span]:
            key, _, value = word.partition("=")
            if not _KEY.fullmatch(key) or (key in GROUPS and not re.fullmatch(r"[\w,]+", value)):
                continue
            if key in GROUPS:
                assert set(value.split(",")) <= set(GROUPS[key]), span
            elif key not in keys and key not in TAGS and not (ROOT / name).with_name(key).exists():
                package, _, attribute = key.rpartition(".")
                assert hasattr(importlib.import_module(package), attribute) or importlib.import_module(key), (
                    span
                )


@pytest.mark.parametrize(
    "snippet",
    # Those with a model compile it, for seconds each; the rooms' own tests have quick ones of what they show
    [pytest.param(one, marks=[pytest.mark.slow] if "keras" in one else []) for one in SNIPPETS],
    ids=[f"{place}:{one.count(chr(10))} lines" for one, place in SNIPPETS.items()],
)
def test_the_python_in_them_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the checkout's files, a checkpoint as TF 1 writes them, and shards as another program does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    if "model.ckpt" in snippet:
        _write_checkpoint()
    if "treebank" in snippet:
        _write_shards(tmp_path / "treebank")
    names: dict[str, Any] = {}
    exec(compile(snippet, SNIPPETS[snippet], "exec"), names)
    for name in [one for one in names if one.startswith("test_")]:
        names[name]()
    if "model.ckpt" in snippet:
        assert (names["cell"].get_weights()[0] == 1).all()
    for folder in re.findall(r'"(treebank|sentences|imports)"', snippet):
        assert (tmp_path / folder / "manifest.json").is_file()


def test_the_snippets_are_found() -> None:
    assert len(SNIPPETS) >= 8
    rooms = {f"workbench/{room}/README.md" for room in ("data", "cells", "rnn", "report")}
    assert {"README.md", *rooms} <= set(SNIPPETS.values())


def _write_checkpoint() -> None:
    import numpy as np
    import tensorflow as tf

    weights = {
        "rnn/lstm_cell/kernel": np.ones((96, 256), "float32"),
        "rnn/lstm_cell/bias": np.ones(256, "float32"),
    }
    tf.raw_ops.SaveV2(
        prefix="model.ckpt", tensor_names=[*weights], shape_and_slices=[""] * 2, tensors=[*weights.values()]
    )


def _write_shards(folder: Path) -> None:
    import tensorflow as tf

    def steps(values: list[int]) -> tf.train.FeatureList:
        ints = [tf.train.Feature(int64_list=tf.train.Int64List(value=[value])) for value in values]
        return tf.train.FeatureList(feature=ints)

    folder.mkdir()
    for number, name in enumerate("abc"):
        lists = {"tokens": steps([1, 2, 3][: number + 1]), "labels": steps([0, 0, 1][: number + 1])}
        example = tf.train.SequenceExample(feature_lists=tf.train.FeatureLists(feature_list=lists))
        with tf.io.TFRecordWriter(str(folder / f"{name}.tfrecord")) as file:
            file.write(example.SerializeToString())


@pytest.mark.parametrize("name", READMES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", _FENCE.sub("", READMES[name])):
        place, _, section = target.partition("#")
        if place.startswith("https://"):
            continue
        path = (ROOT / name).parent / place if place else ROOT / name
        assert path.exists(), target
        if section:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert section in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
