"""The check: what it says, what it refuses, what it leaves as it was; the command; the README."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.probes import zoo
from tests.probes.zoo_right import RIGHT
from tests.probes.zoo_wrong import WRONG
from workbench import check as command
from workbench.data.shards import write_dataset
from workbench.data.sources import Example
from workbench.probes import KINDS, assert_padding_invariant, check
from workbench.probes.given import padded_batch


def test_the_zoo_has_every_kind() -> None:
    assert set().union(*(kinds for _, kinds in WRONG.values())) == set(KINDS)
    assert len(RIGHT) + len(WRONG) >= 120


def test_a_finding_names_output_example_step_layer_and_lost_mask() -> None:
    found = zoo.found_in(zoo.animal_of(WRONG, "mask_lost_by_arithmetic"))
    by_kind = {finding.kind: finding for finding in found}
    assert re.search(
        r"output '.+', example \d \(length \d\), .*it first matters after "
        r"global_average",
        by_kind["outputs"].where,
    )
    assert "pools over padded steps" in by_kind["outputs"].cause
    assert "add" in by_kind["mask_lost"].where.lower()
    step = {f.kind: f for f in zoo.found_in(zoo.animal_of(WRONG, "half_precision_overflow"))}["outputs"]
    assert "half precision" in step.cause


@pytest.mark.slow
def test_variables_and_rates_are_as_before() -> None:
    animal = zoo.animal_of(RIGHT, "dropout_in_training")
    animal.model(animal.inputs)
    before = [np.array(v) for v in animal.model.variables]
    zoo.found_in(animal)
    for one, two in zip(before, animal.model.variables, strict=True):
        np.testing.assert_array_equal(one, np.array(two))
    assert animal.model.layers[1].rate == 0.5


def test_the_assertion_names_what_was_found() -> None:
    def mean(x: Any) -> Any:
        return tf.reduce_mean(x, 1)

    with pytest.raises(AssertionError, match=r"treats padding:\n  outputs: the output, example"):
        assert_padding_invariant(mean, zoo.features(), zoo.LENGTHS)
    assert_padding_invariant(lambda x: tf.tanh(x), zoo.features(), zoo.LENGTHS)


@pytest.mark.parametrize(
    ("inputs", "lengths", "options", "says"),
    [
        (zoo.ids(), [1, 2], {}, "holds 4 examples and lengths 2"),
        (zoo.ids(), [7, 2, 4, 1], {}, "between 0 and the 6 steps|no input has an axis of steps"),
        (zoo.ids(), [1.5, 2, 4, 1], {}, "whole numbers"),
        (zoo.ids(), "length", {}, "names none of the inputs"),
        (zoo.ids(), zoo.LENGTHS, {"labels": np.zeros(3)}, r"labels has shape \(3,\)"),
        (np.array([["a"]]), [1], {}, "numbers are needed"),
        (np.zeros(4), zoo.LENGTHS, {}, "no input has an axis of steps"),
    ],
)
def test_what_does_not_fit_together_is_refused(inputs: Any, lengths: Any, options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check(lambda x: x, inputs, lengths, **options)


def test_a_model_that_fails_on_its_data_says_why() -> None:
    small = keras.Sequential([keras.layers.Embedding(2, 3), keras.layers.LSTM(2)])
    with pytest.raises(
        ValueError, match=r"fails on the data as given: .*indices\[0,\d\] = \d is not in \[0, 2\)"
    ):
        check(small, zoo.ids(), zoo.LENGTHS)


def test_lengths_may_be_named() -> None:
    animal = zoo.animal_of(RIGHT, "mean_by_length_on_junk")
    assert check(animal.model, animal.inputs, "length") == []


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    folder = tmp_path_factory.mktemp("models")

    def save(masked: bool) -> Path:
        path = folder / f"{masked}.keras"
        if not path.exists():
            layers = [zoo.embedding(mask_zero=masked), keras.layers.GlobalAveragePooling1D(), zoo.dense()]
            model = keras.Sequential([keras.Input((None,), dtype="int64"), *layers])
            model.save(path)
        return path

    return save


@pytest.mark.parametrize(("masked", "code"), [(True, 0), (False, 1)])
def test_the_command_prints_findings_and_says_so_by_its_code(
    saved: Callable[[bool], Path], tmp_path: Path, masked: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "data.npz", ids=zoo.ids(), lengths=zoo.LENGTHS)
    assert command.main([str(saved(masked)), "--data", str(tmp_path / "data.npz")]) == code
    out = capsys.readouterr().out
    assert ("outputs" in out) != masked
    assert ("nothing found" in out) == masked


@pytest.mark.parametrize("option", ["loss", "metric"])
def test_a_name_that_keras_does_not_know_is_refused(
    saved: Callable[[bool], Path], tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "data.npz", ids=zoo.ids(), lengths=zoo.LENGTHS, labels=zoo.classes())
    words = [str(saved(True)), "--data", str(tmp_path / "data.npz"), f"--{option}", "nonsense"]
    assert command.main(words) == 2
    assert "'nonsense': Keras knows none of that name" in capsys.readouterr().err


def test_a_loss_that_raises_is_no_success(saved: Callable[[bool], Path], tmp_path: Path, capsys) -> None:
    """The model has an output that is no vector, which this loss needs."""
    np.savez(tmp_path / "data.npz", ids=zoo.ids(), lengths=zoo.LENGTHS, labels=zoo.tags())
    words = [str(saved(True)), "--data", str(tmp_path / "data.npz"), "--loss", "ctc"]
    assert command.main(words) == 0
    out = capsys.readouterr().out
    assert "in what could be tried" in out
    assert "The loss: not tried to the end" in out


def test_the_command_takes_a_folder_of_shards_or_of_arrays(
    saved: Callable[[bool], Path], tmp_path: Path
) -> None:
    words = [[3, 1, 2, 5], [4, 2], [7]]
    write_dataset([Example(x, [0] * len(x)) for x in words], tmp_path / "shards", name="shards")
    np.save(tmp_path / "ids.npy", zoo.ids())
    np.save(tmp_path / "lengths.npy", zoo.LENGTHS)
    for folder in (tmp_path / "shards", tmp_path):
        assert command.main([str(saved(False)), "--data", str(folder)]) == 1


def test_the_command_refuses_in_words(
    saved: Callable[[bool], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(saved(True))
    np.savez(tmp_path / "none.npz", ids=zoo.ids())
    np.savez(tmp_path / "unlike.npz", ids=zoo.ids(), lengths=[1])
    (tmp_path / "bad.npz").write_text("no")
    (tmp_path / "bad.keras").write_text(json.dumps({}))
    for arguments, says in (
        ([model, "--data", str(tmp_path / "nowhere.npz")], "neither an .npz file"),
        ([model, "--data", str(tmp_path)], "neither a manifest.json nor .npy files"),
        ([model, "--data", str(tmp_path / "none.npz")], "none of these says how long"),
        ([model, "--data", str(tmp_path / "unlike.npz")], "same number of examples"),
        ([model, "--data", str(tmp_path / "bad.npz")], "cannot be read"),
        ([str(tmp_path / "no.keras"), "--data", str(tmp_path / "none.npz")], "is not there"),
        (
            [model, "--data", str(tmp_path / "none.npz"), "--import", "no_such_module"],
            "--import no_such_module",
        ),
    ):
        assert command.main(arguments) == 2
        assert says in capsys.readouterr().err
    np.savez(tmp_path / "good.npz", ids=zoo.ids(), lengths=zoo.LENGTHS)
    assert command.main([str(tmp_path / "bad.keras"), "--data", str(tmp_path / "good.npz")]) == 2
    assert "cannot be loaded" in capsys.readouterr().err


@pytest.mark.slow  # quick: tests/commands/test_readmes.py runs each; here the tests in them are called
def test_the_tests_in_the_readme_pass() -> None:
    text = (Path(command.__file__).parent / "probes" / "README.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(snippets) == 2
    for snippet in snippets:
        names: dict[str, Any] = {"__name__": "readme"}
        exec(compile(snippet, "README.md", "exec"), names)
        for name, function in names.items():
            if name.startswith("test_"):
                function()
    for kind, meaning in KINDS.items():
        assert f"| `{kind}` | {meaning} |" in text


def test_a_model_that_gets_lengths_as_an_argument_is_tried_on_other_padding() -> None:
    def sum_of_all(x: Any, lengths: Any, training: bool = False) -> Any:
        return tf.reduce_sum(x, 1) / tf.cast(lengths, tf.float32)[:, None]

    found = check(sum_of_all, zoo.features(), zoo.LENGTHS)
    assert any("other numbers in the padding" in finding.where for finding in found)


def test_ids_with_ends_of_their_own_are_left_as_they_are_by_name() -> None:
    one, two = zoo.ids(), zoo.ids()[[1, 0, 3, 2]]
    apart = padded_batch({"one": one, "two": two}, zoo.LENGTHS)
    assert (apart.apart, [p.role for p in apart.parts]) == (("two",), ["sequence", "fixed"])
    both = padded_batch({"one": one, "two": one}, zoo.LENGTHS)
    assert (both.apart, [p.role for p in both.parts]) == ((), ["sequence", "sequence"])
    alone = padded_batch({"two": two}, zoo.LENGTHS)  # nothing beside it says that the lengths are not its own
    assert alone.apart == ()


def test_lengths_that_are_named_are_read_whatever_else_is_called_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ids=np.ones((8, 5), int), lengths=np.ones((8, 2), int), mine=np.arange(8))
    found = command.read(tmp_path / "a.npz", "train", 4, "mine")
    assert sorted(found["mine"]) == sorted(set(found["mine"])), "a few of unlike lengths"
    assert {len(one) for one in found.values()} == {4}


def test_lengths_of_two_sequences_in_one_array_are_refused_by_their_shape(tmp_path: Path) -> None:
    path = tmp_path / "batch.npz"
    np.savez(path, ids=np.ones((8, 5), int), lengths=np.ones((8, 2), int))
    with pytest.raises(
        command.InputError, match=r"lengths has shape \(8, 2\), and lengths are one for each of 8"
    ):
        command.read(path, "train", 4)
