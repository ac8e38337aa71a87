"""A training that is killed and goes on gives the bits of one that never was."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from workbench.model import SequenceModel
from workbench.options.cell import SCHEMAS as CELLS
from workbench.options.loss import Loss
from workbench.options.model import Model
from workbench.options.optimizer import SCHEMAS as OPTIMIZERS
from workbench.options.rnn import SCHEMAS as RNNS
from workbench.options.training import Training, interval
from workbench.training import make_train_step, train, weights_digest
from workbench.training.checkpoint import Checkpoints


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Run:
    """One process' training of a job on the toy batches; `killed_after` so many logged steps."""

    def __init__(
        self,
        toy: Any,
        file: Path | None,
        every: int | str = 1,
        *,
        killed_after: int | None = None,
        identity: str = "job",
        truncate: int | None = None,
        costs: tuple[float, ...] = (),
        **training: Any,
    ) -> None:
        around = Model(embedding_size=4, dropout=0.5, embedding_dropout=0.3)
        self.model = SequenceModel(
            CELLS["basic_rnn"](units=4),
            RNNS["dynamic"](),
            around,
            task="tag",
            classes=2,
            vocabulary_size=10,
            seed=3,
        )
        step = make_train_step(
            self.model, OPTIMIZERS["adam"]("adam", 0.05), Loss("length"), truncate=truncate
        )
        self.saved = Checkpoints(file, every, {"configuration": identity}) if file else None
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.validated = 0
        times = iter(range(10**6))
        if self.saved:
            self.saved._clock = lambda: float(next(times))

        def log(number: int, values: dict[str, float]) -> None:
            self.logged.append((number, values))
            if number == killed_after:
                raise Killed

        def validate() -> dict[str, float]:
            self.validated += 1
            epoch = max(number for number, _ in self.logged) // 4
            return {"loss/validation_epoch": costs[epoch - 1] if costs else 1.0 / epoch}

        self.result = None
        options = Training(log_every=1, epochs=5, **training)
        with suppress(Killed):
            self.result = train(step, toy, options, log=log, validate=validate, checkpoints=self.saved)
        self.optimizer = [one.numpy() for one in step.optimizer.variables]

    @property
    def bits(self) -> Any:
        """All that another run of the job must give to the bit."""
        found = self.result
        assert found is not None
        return (
            found.losses,
            found.losses_sha256,
            found.order_sha256,
            weights_digest(self.model),
            [one.tobytes() for one in self.optimizer],
            [one.numpy().tobytes() for one in self.model.variables],
            (
                found.valid_tokens,
                found.padded_tokens,
                found.examples,
                found.batches,
                found.objective_last_epoch,
            ),
            (found.best_epoch, found.validation, found.ended_early),
            self.logged,
        )


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "truncated": {"truncate": 3},
    "best kept, ends early": {"keep": "best", "patience": 2, "costs": (3.0, 1.0, 2.0, 2.5, 0.5)},
    "max_steps": {"max_steps": 14},
}


SLOW = pytest.mark.slow  # quick: the way that asks for most
QUICK = "best kept, ends early"


@pytest.mark.parametrize("way", [pytest.param(way, marks=[SLOW] * (way != QUICK)) for way in WAYS])
def test_a_killed_training_goes_on_to_the_same_bits(way, toy, tmp_path):
    options = WAYS[way]
    whole = Run(toy, None, **options)
    assert len(set(whole.result.losses)) > 10  # dropout and data differ by step: else equal bits say nothing
    file = tmp_path / "checkpoint.npz"
    assert Run(toy, file, killed_after=11, **options).result is None
    if way != QUICK:
        again = Run(toy, file, killed_after=13, **options)
        assert (again.result, again.saved.resumed_from) == (None, 8)
    last = Run(toy, file, **options)
    assert last.saved.resumed_from == (8 if way == QUICK else 12)
    assert last.bits == whole.bits
    assert (
        last.validated == whole.validated - last.saved.resumed_from // 4
    )  # what was known is not evaluated again


@SLOW
def test_checkpoints_by_seconds_lie_within_an_epoch(toy, tmp_path):
    whole, file = Run(toy, None), tmp_path / "checkpoint.npz"
    Run(toy, file, "3s", killed_after=11)
    last = Run(toy, file, "3s")
    assert last.saved.resumed_from not in (0, 4, 8)
    assert last.bits == whole.bits


@SLOW
def test_a_kill_while_it_is_written_leaves_the_one_before(toy, tmp_path, monkeypatch):
    whole, file = Run(toy, None), tmp_path / "checkpoint.npz"
    Run(toy, file, killed_after=6)
    before = file.read_bytes()

    def half(stream, **arrays):
        stream.write(before[: len(before) // 2])
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", half)
        Run(toy, file)
    assert file.read_bytes() == before
    last = Run(toy, file)
    assert (last.saved.resumed_from, last.bits) == (4, whole.bits)


def _flip(file, after: bytes, place: int) -> None:
    found = bytearray(file.read_bytes())
    found[found.index(after) + place] ^= 0x80
    file.write_bytes(bytes(found))


def _without(file, name: str) -> None:
    with np.load(file) as stored:
        kept = {one: stored[one] for one in stored.files if one != name}
    np.savez(file, allow_pickle=False, **kept)


@SLOW
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:500]), "cannot be read"),
        (lambda file: file.write_bytes(b""), "cannot be read"),
        (
            lambda file: _flip(file, b"PK\x01\x02", 6),
            "cannot be read",
        ),  # the version that is needed to read it
        (lambda file: _without(file, "variable 1"), "cannot be read ('it has no variable 1')"),
        (lambda file: None, "was made with another configuration"),
    ],
)
def test_what_cannot_be_gone_on_from_is_begun_again_and_said(spoil, words, toy, tmp_path):
    file = tmp_path / "checkpoint.npz"
    Run(toy, file, killed_after=6)
    spoil(file)
    found = Checkpoints(file, 1, {"configuration": "other" if "another" in words else "job"})
    assert found.resumed_from == 0
    assert words in found.said
    assert found.said.startswith("begins again")


@SLOW
def test_a_state_that_cannot_be_written_down_is_refused(toy, tmp_path):
    class Noisy(SequenceModel):
        def call(self, *given, **named):
            found = super().call(*given, **named)
            return found + tf.random.normal(tf.shape(found))

    class Counting(SequenceModel):
        def call(self, *given, **named):
            return super().call(*given, **named) * tf.cast(HIDDEN, tf.float32)

    HIDDEN = tf.Variable(1.0)
    for kind, words in ((Noisy, "op RandomStandardNormal"), (Counting, "Variable:0")):
        model = kind(
            CELLS["lstm"](units=2),
            RNNS["dynamic"](),
            Model(embedding_size=2),
            task="tag",
            classes=2,
            vocabulary_size=10,
        )
        step = make_train_step(model, OPTIMIZERS["sgd"]("sgd", 0.1), Loss("length"))
        saved = Checkpoints(tmp_path / "c.npz", 1, {})
        with pytest.raises(
            ValueError, match=f"checkpoint_every: {words} has a state that a checkpoint cannot hold"
        ):
            train(step, toy, Training(), checkpoints=saved)


@pytest.mark.parametrize("every", ["0s", "s", "5m", "-1s", "", 0, -2, "infs", "1e3s"])
def test_what_is_no_interval_is_refused(every):
    with pytest.raises(ValueError, match="a whole number of epochs, 1 or more, or seconds over 0 as in 60s"):
        interval(every)
