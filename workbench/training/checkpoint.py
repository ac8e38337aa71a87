"""A long training that was killed goes on: its state on disk now and then, and the steps before it taken as known.

    resumed: for batch in the same batches from the first one:
        step known:  its loss comes from the file, nothing is computed
        last known:  weights, optimizer, random state and best weights are set to what they were
        later:       computed

So what is counted, logged, watched and fed comes out as in a training that was never killed, to the bit. A file is
written beside the one before and takes its place whole: one that was being written when the process died is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.options.training import interval
from workbench.training.objective import Batch
from workbench.training.step import Done, TrainStep, counts_of
from workbench.training.validation import Validate, Watch

_STATEFUL = ("Random", "Multinomial", "TruncatedNormal", "ParameterizedTruncatedNormal")
"""What ops begin with whose random state lies inside TensorFlow, where nobody can save it."""


class Checkpoints:
    """The checkpoints of one training: `begin` gives the step to train with.

    `identity` is all that the numbers follow from, by name: a file of another one counts for nothing.
    `resumed_from` is the step that training went on from, 0 where it began; `said` is what there is to say of it.
    """

    def __init__(
        self,
        file: Path,
        every: int | str,
        identity: Mapping[str, str],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._file, self._identity, self._clock = file, dict(identity), clock
        self._epochs, self._seconds = interval(every)
        self._losses: list[tuple[float, float]] = []
        self._found: list[dict[str, float]] = []
        self._order = hashlib.sha256()
        self._known: Mapping[str, Any] = {}
        self.said = ""
        self._load()
        self.resumed_from = len(self._known.get("losses", ()))

    def begin(self, step: TrainStep, watch: Watch) -> Checkpoints:
        """Take the place of a step; ValueError where it holds a state that cannot be written down."""
        self._step, self._watch, self._written = step, watch, self._clock()
        self.model, self.distribution = step.model, step.distribution
        self.feed, self.parts = step.feed, step.parts
        variables = {id(one.handle): one for one in (*step.model.variables, *step.variables)}
        self.variables = list(variables.values())
        return self

    @property
    def traces(self) -> int:
        """As the step's."""
        return self._step.traces

    @property
    def is_known(self) -> bool:
        """Whether the last step that was taken came from the file."""
        return len(self._losses) <= self.resumed_from and self.resumed_from > 0

    def validate(self, validate: Validate | None) -> Validate | None:
        """The same evaluation, which is known as long as the file has it."""
        if validate is None:
            return None

        def found() -> Mapping[str, float]:
            known = self._known.get("found", ())
            place = len(self._found)
            self._found.append(dict(known[place] if place < len(known) else validate()))
            return self._found[-1]

        return found

    def run(self, batch: Batch) -> Done:
        """The step, or what is known of it."""
        place = len(self._losses)
        if "index" in batch:
            self._order.update(np.asarray(batch["index"]).astype("<i8").tobytes())
        if place < self.resumed_from:
            loss, denominator = self._known["losses"][place].tolist()
            done = Done(loss, denominator, *counts_of(batch))
        else:
            if not place or place == self.resumed_from:
                self._require_whole(batch)
            done = self._step.run(batch)
        self._losses.append((done.loss, done.denominator))
        if len(self._losses) == self.resumed_from:
            self._restore()
        return done

    def after_step(self) -> float:
        """Write, if so many seconds have gone; the seconds that it took."""
        if self._seconds is None or self.is_known or self._clock() - self._written < self._seconds:
            return 0.0
        return self._write()

    def after_epoch(self, epoch: int) -> float:
        """Write, if so many epochs have gone; the seconds that it took."""
        if self._epochs is None or self.is_known or (epoch + 1) % self._epochs:
            return 0.0
        return self._write()

    def _write(self) -> float:
        start = self._clock()
        arrays = {"losses": np.array(self._losses, np.float64)}
        arrays |= {f"variable {k}": _bytes(one.numpy()) for k, one in enumerate(self.variables)}
        arrays |= {f"best {k}": _bytes(values) for k, values in enumerate(self._watch.best_weights)}
        facts = {
            "identity": self._identity,
            "found": self._found,
            "order": self._order.hexdigest(),
            "holds": [*arrays],
        }
        beside = self._file.with_suffix(".part")
        try:
            with open(beside, "wb") as stream:
                np.savez(stream, allow_pickle=False, facts=np.array(json.dumps(facts)), **arrays)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(beside, self._file)
        except OSError:
            beside.unlink(missing_ok=True)  # a full disk has room for the record of how the run ended
            raise
        self._written = self._clock()
        return self._written - start

    def _load(self) -> None:
        if not self._file.exists():
            return
        try:
            with open(self._file, "rb") as stream, np.load(stream) as stored:
                arrays = {name: stored[name] for name in stored.files}
            facts = json.loads(str(arrays.pop("facts")))
            was = facts["identity"]
            other = [name for name in {**was, **self._identity} if was.get(name) != self._identity.get(name)]
            if lacking := [name for name in facts.get("holds", ()) if name not in arrays]:
                raise KeyError(f"it has no {lacking[0]}")
            if not other:
                self._known = {**arrays, **facts, "losses": arrays["losses"]}
                self.said = f"goes on after step {len(arrays['losses'])}, from {self._file}"
                return
            why = f"was made with another {', another '.join(sorted(other))}"
        except (
            OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError,
        ) as error:  # fmt: skip
            why = f"cannot be read ({error})"
        self.said = f"begins again: its checkpoint {self._file} {why}"

    def _restore(self) -> None:
        if self._order.hexdigest() != self._known["order"]:
            raise RuntimeError(
                f"{self._file}: the order of examples is not the one that its steps were taken in; delete it "
                "and run the job again"
            )
        for k, one in enumerate(self.variables):
            one.assign(_values(self._known[f"variable {k}"], one))
        best = [name for name in self._known if name.startswith("best ")]
        self._watch.best_weights = [
            _values(self._known[f"best {k}"], one)
            for k, one in zip(range(len(best)), self.model.weights, strict=False)
        ]

    def _require_whole(self, batch: Batch) -> None:
        """Raise ValueError where the step's graph has a state that a checkpoint does not hold."""
        concrete = self._step.trace(batch)
        held = {id(one.handle) for one in self.variables}
        lost = [one.name for one in concrete.graph.variables if id(one.handle) not in held]
        graph = concrete.graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        lost += sorted({f"op {node.op}" for node in nodes if node.op.startswith(_STATEFUL)})
        if lost:
            raise ValueError(
                f"training.checkpoint_every: {', '.join(lost[:3])} has a state that a checkpoint cannot hold; let "
                "the layer own its variables and draw by a keras.random.SeedGenerator of its own, or set it to null"
            )


def _bytes(values: np.ndarray) -> np.ndarray:
    """Bits as they are, of whatever dtype: a file of NumPy's does not know bfloat16."""
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


def _values(stored: np.ndarray, like: Any) -> np.ndarray:
    now = like.numpy()
    return np.frombuffer(stored.tobytes(), now.dtype).reshape(now.shape)
