"""Does a model guess from what real steps hold where an example ends: from id 0, a sign, the first feature?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from workbench.probes.case import Case, difference, matters
from workbench.probes.padded import Padded, is_ids
from workbench.probes.traced import Ran

_CONTEXTS = 8
_SOME = 3  # of the contexts in which an ordinary step must matter
_DRAWS = 3
_WAYS = 2  # from an ordinary step to one of a kind that seems to be ignored
_ZOOM = 16
_NEXT = 1e-7
_JUMP = 1e-3  # of an ordinary step's effect: so much is no smooth end
_TINY = 1e-30


@dataclass(frozen=True)
class Step:
    """A kind of real step that a guess may take for padding: values of the input, and what it is called."""

    name: str
    values: list[np.ndarray]
    is_pad: bool = False


def guess(case: Case) -> None:
    """Puts steps of a kind among real ones: those that change nothing anywhere, where others do, are ignored."""
    real = [(int(b), int(t)) for b, t in np.argwhere(case.batch.valid)]
    sequences = [i for i, part in enumerate(case.batch.parts) if part.role == "sequence"]
    for at in sequences[:2] if len(real) >= 4 else ():
        _guess_from(case, at, real)


def _guess_from(case: Case, at: int, real: list[tuple[int, int]]) -> None:
    batch = case.batch
    kinds = _id_steps(batch, at, real) if is_ids(batch.inputs[at]) else _feature_steps(case, batch, at, real)
    if not kinds:
        return
    placed = _Placed(case, at, real)
    rows = [placed.add(kind) for kind in kinds]
    if not placed.run():
        case.found.note("What real steps look like was not tried: the model does not take such a batch.")
        return
    for kind, own in zip(kinds, rows, strict=True):
        if ignored := placed.ignored(kind, own):
            _note(case, kind, ignored)


def _note(case: Case, kind: Step, how: str) -> None:
    if kind.is_pad:
        words = (
            "Real steps that look like padding are taken for padding: the mask or the length is "
            "read from the content.",
            "Give the lengths, or keep an id (a value) for padding that no real step has.",
        )
        case.found.add("class_zero", 1.0, f"real steps with {kind.name}: {how}", *words)
        case.found.add("outputs", 1.0, f"real steps with {kind.name}: {how}", *words)
        return
    case.found.add(
        "outputs", 1.0, f"real steps with {kind.name}: {how}",
        "Where an example ends is guessed from its content, and real steps are taken for padding.",
        "Give the lengths; a mask made of them is right whatever the data hold.",
    )  # fmt: skip


def _id_steps(batch: Padded, at: int, real: list[tuple[int, int]]) -> list[Step]:
    ids = batch.inputs[at]
    pad = np.asarray(batch.parts[at].fill).reshape(-1)
    if ids.ndim == 2 and pad.size == 1 and any(ids[b, t] == pad[0] for b, t in real):
        return [Step(f"id {pad[0]}", [np.asarray(pad[0])], is_pad=True)]
    return []


def _feature_steps(case: Case, batch: Padded, at: int, real: list[tuple[int, int]]) -> list[Step]:
    """Steps within the range of the real ones, each of a kind that some people take for a sign of padding."""
    values = batch.inputs[at]
    steps = np.stack([values[b, t] for b, t in real]).astype(float)
    if steps.ndim != 2:
        return []
    low, high = steps.min(0), steps.max(0)
    random, size = case.random, steps.shape[1]

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + (b - a) * random.uniform(0.1, 0.9, np.shape(a))

    def draws(make: Callable[[], np.ndarray]) -> list[np.ndarray]:
        return [make().astype(values.dtype) for _ in range(_DRAWS)]

    found = []
    pad = np.asarray(batch.parts[at].fill, float)
    if (steps == pad).all(1).any():
        found.append(
            Step(
                f"nothing but {float(pad.reshape(-1)[0]) + 0.0:g}",  # and not -0
                [np.broadcast_to(pad, (size,)).astype(values.dtype)],
                is_pad=True,
            )
        )
    if size > 1 and low[0] < 0 < high[0]:
        found.append(
            Step(
                "a negative first feature",
                draws(
                    lambda: _first(
                        between(np.maximum(low, 0), np.maximum(high, 0)), between(low[:1], low[:1] * 0)
                    )
                ),
            )
        )
        found.append(Step("a first feature of 0", draws(lambda: _first(between(low, high), np.zeros(1)))))
    if (low < 0).all():
        found.append(
            Step(
                "negative features only",
                draws(lambda: between(low, np.minimum(high, 0) * 0 - 1e-3 * (high - low))),
            )
        )
    if size > 1 and (steps.sum(1) < 0).any() and (high > 0).all() and (low < 0).all():

        def negative_sum() -> np.ndarray:
            step = between(low, low * 0)
            keep = int(random.integers(size))
            step[keep] = min(high[keep], 0.5 * -(step.sum() - step[keep]))
            return step

        found.append(Step("a negative sum of features", draws(negative_sum)))
    if size > 1 and ((low < 0) & (high > 0))[1:].any():
        last = 1 + int(np.flatnonzero(((low < 0) & (high > 0))[1:])[-1])

        def last_zero() -> np.ndarray:
            step = between(low, high)
            step[last] = 0
            return step

        found.append(Step(f"a feature of 0 (the {last + 1}th)", draws(last_zero)))
    return found


def _first(step: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.concatenate([value, step[1:]])


Rows = list[tuple[tuple[tuple[int, int], ...], np.ndarray | None, int]]
"""Steps, and one that is put at a place of theirs."""


class _Placed:
    """Steps of many kinds among real steps: rows of one batch, which is run once for all questions."""

    def __init__(self, case: Case, at: int, real: list[tuple[int, int]]) -> None:
        self.case, self.at = case, at
        self.batch = case.batch if case.batch.steps >= 3 else (case.longer or case.batch)
        fill = np.asarray(self.batch.parts[at].fill)
        usual = [(b, t) for b, t in real if not np.all(self.batch.inputs[at][b, t] == fill)] or real
        picks = [usual[i] for i in np.random.default_rng(1).integers(len(usual), size=3 * _CONTEXTS)]
        # in every other context one step twice: a maximum over it is low, so that little is lost in it
        firsts = [a if n % 2 else b for n, (a, b) in enumerate(zip(picks[0::3], picks[1::3], strict=True))]
        self.contexts = list(zip(firsts, picks[1::3], picks[2::3], strict=True))
        self._rows: Rows = []
        self._ran: Ran | None = None
        self.pairs = self._add([(a, b) for a, b, _ in self.contexts])
        self.three = [self._threes(place, None) for place in range(3)]
        self.other_last = self._threes(1, None, turned=True)

    def _threes(self, place: int, value: np.ndarray | None, *, turned: bool = False) -> range:
        """Rows of two real steps, in whose midst or at whose ends a third is put."""
        rows = []
        for i, (a, b, c) in enumerate(self.contexts):
            last = self.contexts[(i + 1) % _CONTEXTS][1] if turned else b
            steps = [a, last]
            steps.insert(place, c)
            rows.append(tuple(steps))
        return self._add(rows, value, place)

    def _add(
        self, rows: list[tuple[tuple[int, int], ...]], value: np.ndarray | None = None, place: int = 0
    ) -> range:
        self._rows += [(row, value, place) for row in rows]
        return range(len(self._rows) - len(rows), len(self._rows))

    def add(self, kind: Step) -> list[list[range]]:
        """Rows with steps of a kind: for each value before, between, behind, and between with another one last."""
        return [
            [*(self._threes(place, value) for place in range(3)), self._threes(1, value, turned=True)]
            for value in kind.values
        ]

    def run(self) -> bool:
        """Runs all rows; False where the model refuses them."""
        self._ran = self._ran_of(self._rows)
        return self._ran is not None

    def _ran_of(self, rows: Rows) -> Ran | None:
        batch = self.batch
        if batch.steps < 3:
            return None
        made = batch.rows([0] * len(rows))
        inputs = []
        for i, (x, part) in enumerate(zip(batch.inputs, batch.parts, strict=True)):
            new = made.inputs[i].copy()
            if part.role == "sequence":
                new[:] = part.fill
                for row, (picks, value, place) in enumerate(rows):
                    for t, (b, s) in enumerate(picks):
                        new[row, t] = x[b, s]
                    if value is not None and i == self.at:
                        new[row, place] = value
            inputs.append(new)
        lengths = np.array([len(picks) for picks, _, _ in rows])
        made = replace(made, inputs=inputs, numbers=tuple(range(len(lengths)))).with_lengths(lengths)
        return self.case.subject.longest_run(made)

    def ignored(self, kind: Step, rows: list[list[range]]) -> str:
        """How steps of this kind are ignored; "" where they are not, or where they only happen to add nothing."""
        inside, last = self._where(kind)
        for there, place, starts, how in (
            (last, 2, (0, 0), "at the end they change nothing"),
            (inside, 0, (0, 1), "they change nothing for the others"),
        ):
            usual = self._differing(self.pairs, self.three[place], starts) if there else []
            if len(usual) < _SOME or any(self._differing(self.pairs, own[place], starts) for own in rows):
                continue
            if is_ids(self.batch.inputs[self.at]) or self._jumps(kind, usual, place, starts):
                return how
        cut = inside and kind.is_pad and self._differing(self.three[1], self.other_last, None)
        if cut and not any(self._differing(between, other, None) for _, between, _, other in rows):
            return "what follows them is cut off"
        return ""

    def _where(self, kind: Step) -> tuple[bool, bool]:
        """Of steps that look like padding: are some inside of examples, are some the last?"""
        if not kind.is_pad:
            return True, True
        batch, fill = self.case.batch, np.asarray(self.case.batch.parts[self.at].fill)
        there = [(b, t) for b, t in np.argwhere(batch.valid) if np.all(batch.inputs[self.at][b, t] == fill)]
        return any(t + 1 < batch.lengths[b] for b, t in there), any(
            t + 1 == batch.lengths[b] for b, t in there
        )

    def _differing(self, one: range, other: range, starts: tuple[int, int] | None) -> list[int]:
        """The contexts in which two steps' results differ: from these starts, or the first two."""
        assert self._ran is not None
        pairs = enumerate(zip(one, other, strict=True))
        return [n for n, (a, b) in pairs if not self._apart(self._ran, a, b, starts or (0, 0)) <= 1]

    def _apart(self, ran: Ran, left: int, right: int, starts: tuple[int, int]) -> float:
        """How far two rows' results are apart, as a multiple of what rounding may do."""
        most = 0.0
        for i, layout in enumerate(self.case.layouts):
            by_step = bool(layout.time_axes)
            if layout.batch_axis != 0 or (
                by_step and (layout.time_axes != (1,) or layout.size != layout.steps)
            ):
                continue
            a, b = ran.arrays[i][left], ran.arrays[i][right]
            if by_step:
                a, b = a[starts[0] : starts[0] + 2], b[starts[1] : starts[1] + 2]
            size = difference(a, b)[0]
            if matters(size, self.case.allowed[i]):
                most = max(most, float(np.nan_to_num(size, nan=np.inf)) / max(self.case.allowed[i], _TINY))
        return most

    def _jumps(self, kind: Step, usual: list[int], place: int, starts: tuple[int, int]) -> bool:
        """Is a step's effect suddenly gone on the way from an ordinary one to this kind, as a mask would have it?

        A step that adds less and less on the way (a relu, a weight near 0) is not taken for padding.
        """
        for turn, context in enumerate(usual[:_WAYS]):
            a, b, c = self.contexts[context]
            picks = [a, b]
            picks.insert(place, c)
            start, end = self.batch.inputs[self.at][c], kind.values[turn % len(kind.values)]
            if self._jumps_between((a, b), tuple(picks), place, starts, (start, end)):
                return True
        return False

    def _jumps_between(
        self,
        pair: tuple[tuple[int, int], ...],
        picks: tuple[tuple[int, int], ...],
        place: int,
        starts: tuple[int, int],
        ends: tuple[np.ndarray, np.ndarray],
    ) -> bool:
        """Zooms in on where a third step's effect is gone for good, until two steps are next to each other."""
        low, high, whole = 0.0, 1.0, 0.0
        while True:
            share = np.linspace(low, high, _ZOOM + 1).reshape(-1, *[1] * ends[0].ndim)
            steps = ((1 - share) * ends[0].astype(float) + share * ends[1].astype(float)).astype(
                ends[0].dtype
            )
            ran = self._ran_of([(pair, None, 0), *((picks, step, place) for step in steps)])
            if ran is None:
                return False
            apart = np.array([self._apart(ran, 0, 1 + n, starts) for n in range(len(steps))])
            there = np.flatnonzero(apart > 1)
            if not there.size or there[-1] == _ZOOM:
                return False
            last = int(there[-1])
            whole = whole or float(apart[0])
            low, high = float(share.flat[last]), float(share.flat[last + 1])
            if high - low < _NEXT or len(np.unique(steps.reshape(len(steps), -1), axis=0)) <= 2:
                return not apart[last] <= max(2.0, _JUMP * whole)


def last_step(case: Case) -> None:
    """Does the last real step of every example change anything, where the one before does?"""
    batch = case.batch
    rows = np.flatnonzero(batch.lengths >= 2)[:8]
    if len(rows) < 2 or not (batch.lengths[rows] > 2).any():
        return

    which = [int(row) for row in rows for _ in range(_DRAWS)]
    many = batch.rows(which + which)
    for x, part, source in zip(many.inputs, batch.parts, batch.inputs, strict=True):
        if part.role != "sequence":
            continue
        pool = source[batch.valid][:: max(1, int(batch.valid.sum()) // 32)]
        for n, row in enumerate(which + which):
            at = int(batch.lengths[row]) - (1 if n < len(which) else 2)
            unlike = [v for v in pool if not np.array_equal(v, source[row, at])]
            if unlike:
                x[n, at] = unlike[(7 * (n % _DRAWS) + 3 * n) % len(unlike)]
    ran = case.subject.longest_run(many)
    if ran is None:
        return
    changed = np.zeros(len(many.lengths), bool)
    for n, row in enumerate(which + which):
        for i, layout in enumerate(case.layouts):
            if layout.batch_axis is None or (layout.time_axes and layout.size != layout.steps):
                continue
            length = int(batch.lengths[row])
            a, b = layout.valid(case.base.arrays[i], row, length), layout.valid(ran.arrays[i], n, length)
            if layout.time_axes == (1,) and n >= len(
                which
            ):  # its own step: else outputs are moved, as for a next word
                a, b = a[length - 2], b[length - 2]
            changed[n] |= matters(difference(a, b)[0], case.allowed[i])
    last, before = (half.any(1) for half in changed.reshape(2, len(rows), _DRAWS))
    if not last.any() and before.all():
        case.found.add(
            "outputs", 1.0, "every example's last real step, which changes nothing",
            "The mask or the length is one step too short: the last real step is left out.",
            "A step t is valid where t < length, with t from 0; the last one is at length - 1.",
        )  # fmt: skip
