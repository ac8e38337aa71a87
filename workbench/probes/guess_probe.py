"""Does a model guess from what real steps hold where an example ends: from id 0, a sign, the first feature?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from workbench.probes.case import Case, difference, matters
from workbench.probes.padded import Padded, is_ids
from workbench.probes.subject import Ran

_CONTEXTS = 6
_DRAWS = 3


@dataclass(frozen=True)
class Step:
    """A kind of real step that a guess may take for padding: values of the input, and what it is called."""

    name: str
    values: list[np.ndarray]
    is_pad: bool = False


def guess(case: Case) -> None:
    """Puts steps of a kind among real ones: a step that changes nothing anywhere, where another does, is ignored."""
    batch = case.batch
    at = next((i for i, p in enumerate(batch.parts) if p.role == "sequence"), None)
    real = [(int(b), int(t)) for b, t in np.argwhere(batch.valid)]
    if at is None or len(real) < 4:
        return
    kinds = _id_steps(batch, at, real) if is_ids(batch.inputs[at]) else _feature_steps(case, batch, at, real)
    for kind in kinds:
        placed = _Placed(case, at, real, kind)
        try:
            ignored = placed.ignored()
        except Exception:
            continue
        if ignored:
            _note(case, kind, ignored)


def _note(case: Case, kind: Step, how: str) -> None:
    if kind.is_pad:
        words = (
            "Real steps that look like padding are taken for padding: the mask or the length is read from the content.",
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
        found.append(Step(f"nothing but {float(pad.reshape(-1)[0]):g}", [np.broadcast_to(pad, (size,)).astype(values.dtype)], is_pad=True))
    if size > 1 and low[0] < 0 < high[0]:
        found.append(Step("a negative first feature", draws(lambda: _first(between(np.maximum(low, 0), np.maximum(high, 0)), between(low[:1], low[:1] * 0)))))
        found.append(Step("a first feature of 0", draws(lambda: _first(between(low, high), np.zeros(1)))))
    if (low < 0).all():
        found.append(Step("negative features only", draws(lambda: between(low, np.minimum(high, 0) * 0 - 1e-3 * (high - low)))))
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


class _Placed:
    """Steps of one kind between real steps, in batches that are run once for all questions."""

    def __init__(self, case: Case, at: int, real: list[tuple[int, int]], kind: Step) -> None:
        self.case, self.at, self.kind, self.real = case, at, kind, real
        batch = case.batch
        self.batch = batch if batch.steps >= 3 else (case.longer or batch)
        random = np.random.default_rng(1)
        usual = real
        if kind.is_pad:
            fill = np.asarray(batch.parts[at].fill)
            usual = [(b, t) for b, t in real if not np.all(batch.inputs[at][b, t] == fill)] or real
        picks = [usual[i] for i in random.integers(len(usual), size=3 * _CONTEXTS)]
        self.contexts = list(zip(picks[0::3], picks[1::3], picks[2::3], strict=True))

    def ignored(self) -> str:
        """How steps of this kind are ignored; "" where they are not."""
        if self.batch.steps < 3:
            return ""
        trailing, leading, cut = True, True, True
        trailing_control, leading_control, cut_control = True, True, True
        alone = self._run([(a, b) for a, b, _ in self.contexts], None, 0)
        for n, value in enumerate(self.kind.values):
            behind = self._run([(a, b, c) for a, b, c in self.contexts], value, 2)
            before = self._run([(c, a, b) for a, b, c in self.contexts], value, 0)
            between = self._run([(a, c, b) for a, b, c in self.contexts], value, 1)
            trailing = trailing and self._same(alone, behind, (0, 0))
            leading = leading and self._same(alone, before, (0, 1))
            if self.kind.is_pad:
                others = [(a, c, self.contexts[(i + 1) % _CONTEXTS][1]) for i, (a, _, c) in enumerate(self.contexts)]
                cut = cut and self._same(between, self._run(others, value, 1), None)
            else:
                cut = False
            if n == 0:
                trailing_control = self._all_differ(alone, self._run([(a, b, c) for a, b, c in self.contexts], None, 0), (0, 0))
                leading_control = self._all_differ(alone, self._run([(c, a, b) for a, b, c in self.contexts], None, 0), (0, 1))
                cut_control = cut and self._some_differ(
                    self._run([(a, c, b) for a, b, c in self.contexts], None, 0),
                    self._run([(a, c, self.contexts[(i + 1) % _CONTEXTS][1]) for i, (a, _, c) in enumerate(self.contexts)], None, 0),
                )
        inside, last = self._where()
        if trailing and trailing_control and (last or not self.kind.is_pad):
            return "at the end they change nothing"
        if leading and leading_control and (inside or not self.kind.is_pad):
            return "they change nothing for the others"
        if cut and cut_control and inside:
            return "what follows them is cut off"
        return ""

    def _where(self) -> tuple[bool, bool]:
        """Of steps that look like padding: are some inside of examples, are some the last?"""
        if not self.kind.is_pad:
            return True, True
        batch, fill = self.case.batch, np.asarray(self.case.batch.parts[self.at].fill)
        there = [(b, t) for b, t in self.real if np.all(batch.inputs[self.at][b, t] == fill)]
        inside = any(t + 1 < batch.lengths[b] for b, t in there)
        return inside, any(t + 1 == batch.lengths[b] for b, t in there)

    def _run(self, rows: list[tuple[tuple[int, int], ...]], value: np.ndarray | None, place: int) -> tuple[Padded, Ran]:
        batch = self.batch
        made = batch.rows([0] * len(rows))
        inputs = []
        for i, (x, part) in enumerate(zip(batch.inputs, batch.parts, strict=True)):
            new = made.inputs[i].copy()
            if part.role == "sequence":
                new[:] = part.fill
                for row, picks in enumerate(rows):
                    for t, (b, s) in enumerate(picks):
                        new[row, t] = x[b, s]
                    if value is not None and i == self.at:
                        new[row, place] = value
            inputs.append(new)
        lengths = np.array([len(picks) for picks in rows])
        made = replace(made, inputs=inputs, numbers=tuple(range(len(rows)))).with_lengths(lengths)
        ran = self.case.subject.longest_run(made)
        if ran is None:
            raise ValueError("the model refuses such a batch")
        return made, ran

    def _parts(self, one: tuple[Padded, Ran], other: tuple[Padded, Ran], starts: tuple[int, int] | None, row: int) -> list[tuple[np.ndarray, np.ndarray, float]]:
        found = []
        for i, layout in enumerate(self.case.layouts):
            if layout.batch_axis is None or (layout.time_axes and (layout.time_axes != (1,) or layout.size != layout.steps)):
                continue
            a, b = (np.take(r.arrays[i], row, layout.batch_axis) for _, r in (one, other))
            if layout.time_axes:
                if starts is None:
                    a, b = a[:2], b[:2]
                else:
                    a, b = a[starts[0] : starts[0] + 2], b[starts[1] : starts[1] + 2]
            found.append((a, b, self.case.allowed[i]))
        return found

    def _same(self, one: tuple[Padded, Ran], other: tuple[Padded, Ran], starts: tuple[int, int] | None) -> bool:
        return all(
            not matters(difference(a, b)[0], allowed)
            for row in range(_CONTEXTS)
            for a, b, allowed in self._parts(one, other, starts, row)
        )

    def _all_differ(self, one: tuple[Padded, Ran], other: tuple[Padded, Ran], starts: tuple[int, int]) -> bool:
        return all(
            any(matters(difference(a, b)[0], allowed) for a, b, allowed in self._parts(one, other, starts, row))
            for row in range(_CONTEXTS)
        )

    def _some_differ(self, one: tuple[Padded, Ran], other: tuple[Padded, Ran]) -> bool:
        return any(
            matters(difference(a, b)[0], allowed)
            for row in range(_CONTEXTS)
            for a, b, allowed in self._parts(one, other, None, row)
        )


def last_step(case: Case) -> None:
    """Does the last real step of every example change anything, where the one before does?"""
    batch = case.batch
    rows = np.flatnonzero(batch.lengths >= 2)
    if len(rows) < 2 or not (batch.lengths[rows] > 2).any():
        return

    def changed(back: int) -> list[bool]:
        """Of these examples, which change when the step so far from the end does?"""
        found = [False] * len(rows)
        for draw in range(_DRAWS):
            inputs = []
            for x, part in zip(batch.inputs, batch.parts, strict=True):
                x = x.copy()
                if part.role == "sequence":
                    pool = x[batch.valid]
                    for n, row in enumerate(rows):
                        at = (row, batch.lengths[row] - back)
                        unlike = [v for v in pool if not np.array_equal(v, x[at])]
                        if unlike:
                            x[at] = unlike[(7 * draw + 3 * n) % len(unlike)]
                inputs.append(x)
            ran = case.subject.longest_run(replace(batch, inputs=inputs))
            if ran is None:
                return found
            for n, row in enumerate(rows):
                for i, layout in enumerate(case.layouts):
                    if layout.batch_axis is None:
                        continue
                    length = int(batch.lengths[row])
                    a, b = (layout.valid(r.arrays[i], int(row), length) for r in (case.base, ran))
                    found[n] = found[n] or matters(difference(a, b)[0], case.allowed[i])
        return found

    if not any(changed(1)) and all(changed(2)):
        case.found.add(
            "outputs", 1.0, "every example's last real step, which changes nothing",
            "The mask or the length is one step too short: the last real step is left out.",
            "A step t is valid where t < length, with t from 0; the last one is at length - 1.",
        )  # fmt: skip
