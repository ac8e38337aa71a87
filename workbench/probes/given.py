"""From the arrays that a person gives to a padded batch: which goes with the steps, which says where they end."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from workbench.probes.padded import LENGTH_NAMES, Padded, Part, is_ids


def padded_batch(
    inputs: Any,
    lengths: Any,
    *,
    labels: Any = None,
    sample_weight: Any = None,
    pad_value: Any = 0,
    label_pad: Any = None,
    declared: list[tuple[int | None, ...]] | None = None,
    told: bool = False,
) -> Padded:
    """The batch; `declared` are the shapes of a functional model's inputs, where None is free; `told` says that
    the model gets the lengths beside its inputs.

    Raises:
        ValueError: lengths or shapes that cannot be.
    """
    names, flat = _named(inputs, "inputs")
    if not flat:
        raise ValueError("inputs holds no array.")
    if isinstance(lengths, str | int) and not isinstance(lengths, bool):
        key = str(lengths)
        if key not in names:
            raise ValueError(f"lengths = {key!r} names none of the inputs, which are {', '.join(names)}.")
        lengths = flat[names.index(key)]
    lengths = _lengths(lengths)
    steps = _steps(flat, names, lengths, declared)
    if lengths.size and (lengths.min() < 0 or lengths.max() > steps):
        raise ValueError(
            f"lengths must lie between 0 and the {steps} steps of the inputs; got {lengths.min()} to "
            f"{lengths.max()}."
        )
    for name, array in zip(names, flat, strict=True):
        if array.ndim and array.shape[0] != len(lengths):
            raise ValueError(
                f"{name} holds {array.shape[0]} examples and lengths {len(lengths)}: the first axis of every "
                "input must be that of the examples."
            )
    valid = np.arange(steps) < lengths[:, None]
    parts = [
        _part(
            name,
            array,
            lengths,
            valid,
            shape,
            pad_value,
            beside=any(x.shape[1:2] == (steps,) and _is_surely_by_step(x) for x in flat),
            free=any(len(one) >= 2 and one[1] is None for one in declared or ()),
        )
        for name, array, shape in zip(names, flat, declared or [()] * len(flat), strict=True)
    ]
    for name, array, part in zip(names, flat, parts, strict=True):
        if part.role == "sequence" and array.ndim == 2 and is_ids(array):
            _refuse_padding_in_front(name, array, lengths, valid, _pad_of(name, pad_value))
    parts, apart = _with_ends_of_their_own(flat, parts, lengths)
    batch = Padded(lengths, steps, flat, parts, inputs, numbers=tuple(range(len(lengths))), told=told)
    if not batch.knows_length:
        batch = batch.filled()  # it can only read from the content where padding is
    label_names, label_arrays = _named(labels, "labels")
    weight_names, weight_arrays = _named(sample_weight, "sample_weight")
    for name, array in zip(label_names + weight_names, label_arrays + weight_arrays, strict=True):
        if not array.ndim or array.shape[0] != len(lengths):
            raise ValueError(
                f"{name} has shape {array.shape}: its first axis must be that of the {len(lengths)} examples."
            )
    if len(label_arrays) > 1 and isinstance(label_pad, dict):
        pads = [label_pad.get(name) for name in label_names]
    elif isinstance(label_pad, dict):
        pads = [next(iter(label_pad.values()), None)] * len(label_arrays)
    else:
        pads = [label_pad] * len(label_arrays)
    return Padded(
        batch.lengths, steps, batch.inputs, parts, inputs,
        labels=label_arrays,
        label_parts=[
            _beside(n, a, valid, p, ends_elsewhere=bool(apart))
            for n, a, p in zip(label_names, label_arrays, pads, strict=True)
        ],
        label_structure=labels,
        weights=weight_arrays,
        weight_parts=[_beside(n, a, valid, None) for n, a in zip(weight_names, weight_arrays, strict=True)],
        weight_structure=sample_weight,
        numbers=batch.numbers,
        told=told,
        apart=apart,
    )  # fmt: skip


def _named(nest: Any, what: str) -> tuple[list[str], list[np.ndarray]]:
    """The arrays of a nest, each by the key or the number that leads to it."""
    if nest is None:
        return [], []
    flat = []
    for array in tf.nest.flatten(nest):
        made = np.asarray(array)
        if made.dtype.kind not in "fiub" and made.dtype.name != "bfloat16":
            raise ValueError(f"{what} holds an array of type {made.dtype}: numbers are needed.")
        flat.append(made)
    if isinstance(nest, dict):
        names = [str(key) for key in sorted(nest)]  # the order of tf.nest
    elif isinstance(nest, list | tuple):
        names = [str(i) for i in range(len(nest))]
    else:
        names = [what]
    if len(names) != len(flat):
        names = [f"{what}[{i}]" for i in range(len(flat))]
    return names, flat


def _lengths(lengths: Any) -> np.ndarray:
    array = np.asarray(lengths)
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1 or not array.size:
        raise ValueError(
            f"lengths must hold one number for each example, [B]; got an array of shape {array.shape}."
        )
    if array.dtype.kind not in "iuf" or not np.all(array == np.round(array)):
        raise ValueError("lengths must be whole numbers.")
    return array.astype(np.int64)


def _steps(
    flat: list[np.ndarray],
    names: list[str],
    lengths: np.ndarray,
    declared: list[tuple[int | None, ...]] | None,
) -> int:
    """T: the second axis of ids or of features."""
    candidates = [
        (_is_surely_by_step(array), array.shape[1])
        for array, name in zip(flat, names, strict=True)
        if array.ndim >= 2 and name.lower() not in LENGTH_NAMES and array.shape[1:] != (1,)
    ]
    if declared:
        free = [
            array
            for array, shape in zip(flat, declared, strict=True)
            if array.ndim >= 2 and len(shape) >= 2 and shape[1] is None
        ]
        if free:  # of several the one that ends with the lengths, or is as long as the longest
            best = max(free, key=lambda x: (_ends_with(x, lengths), x.shape[1] == lengths.max()))
            return int(best.shape[1])
    longest = lengths.max()
    if not candidates and longest <= 1:  # [B, 1]: one step each
        candidates = [(is_ids(array), 1) for array in flat if array.ndim == 2 and array.shape[1] == 1]
    good = [steps for likely, steps in candidates if likely and steps >= longest]
    good += [steps for likely, steps in candidates if not likely and steps >= longest]
    if not good:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(names, flat, strict=True))
        raise ValueError(
            f"no input has an axis of steps for lengths up to {longest}: [B, T] or [B, T, ...] is needed; "
            f"got {shapes}."
        )
    return int(good[0])


def _ends(there: np.ndarray) -> np.ndarray:
    """[B]: behind which step of [B, T] nothing is there any more."""
    return np.where(there.any(1), there.shape[1] - np.argmax(there[:, ::-1], 1), 0)


def _ends_with(array: np.ndarray, lengths: np.ndarray) -> bool:
    """Whether each example's last step that is not 0 is its last by the lengths."""
    ends = _ends((array != 0).reshape(*array.shape[:2], -1).any(-1))
    return len(ends) == len(lengths) and bool((ends == lengths).all())


def _pad_of(name: str, pad: Any) -> Any:
    """What an input is said to be padded with."""
    return pad.get(name, 0) if isinstance(pad, dict) else pad


def _refuse_padding_in_front(
    name: str, array: np.ndarray, lengths: np.ndarray, valid: np.ndarray, pad: Any
) -> None:
    """Raise ValueError where in every example that is padded the steps of 0 stand in front, and none behind.

    Not where behind them stands what is said to be padding: 0 is then a step's.
    """
    if np.isscalar(pad) and pad != 0 and (array[~valid] == pad).all():
        return
    steps = array.shape[1]
    rows = np.flatnonzero((lengths > 0) & (lengths < steps))
    in_front = np.arange(steps) < (steps - lengths[rows, None])
    if len(rows) and ((array[rows] == 0) == in_front).all():
        raise ValueError(
            f"{name} has its padding in front: put it behind (keras.utils.pad_sequences(..., padding='post')), as "
            "lengths say where an example ends."
        )


def _part(
    name: str,
    array: np.ndarray,
    lengths: np.ndarray,
    valid: np.ndarray,
    shape: tuple[int | None, ...],
    pad: Any,
    *,
    beside: bool,
    free: bool,
) -> Part:
    """What an input is; `beside`: another one surely has the steps, so that numbers [B, T] may be features.

    `free`: the model declares some input's steps to be any; what it declares of a fixed width has then none.
    """
    steps = valid.shape[1]
    if array.size == len(lengths) and array.ndim <= 2 and not (array.ndim == 2 and steps == 1):
        told = array.reshape(-1)
        if array.dtype.kind in "iuf" and any(
            np.array_equal(told, one) for one in (lengths, np.maximum(lengths, 1))
        ):  # the second guards against empty examples
            return Part(name, "length", axes=())
        if name.lower() in LENGTH_NAMES:  # it says something else, as of another sequence, or in another unit
            return Part(name, "fixed", axes=())
    axes = tuple(i for i in range(1, array.ndim) if array.shape[i] == steps)
    if array.ndim >= 2 and axes and (array.dtype.kind == "b" or set(np.unique(array)) <= {0, 1}):
        mask = _mask_part(name, array, valid, axes)
        if mask:
            return mask
    is_static = beside and not shape and array.ndim == 2 and not is_ids(array)
    is_declared = len(shape) >= 2 and shape[1] is not None and array.ndim == 2
    if 1 not in axes or (is_declared and (free or not is_ids(array))):
        return Part(name, "fixed", axes=())
    value = _pad_of(name, pad)
    there = array[~valid]
    if is_static and len(there) and not np.all(there == there[0]):
        return Part(name, "fixed", axes=())
    if np.isscalar(value) and value == 0 and len(there) and np.all(there == there[0]):
        first = there[0]  # what the data are padded with
        value = first.reshape(-1)[0] if np.all(first == first.reshape(-1)[0]) else first
    return Part(name, "sequence", value)


def _is_surely_by_step(array: np.ndarray) -> bool:
    """Ids [B, T] or features [B, T, ...]; numbers [B, T] may have no steps."""
    return array.ndim >= 3 or is_ids(array)


def _with_ends_of_their_own(
    flat: list[np.ndarray], parts: list[Part], lengths: np.ndarray
) -> tuple[list[Part], tuple[str, ...]]:
    """Ids whose ends are not those of the lengths, beside others whose are, have no steps; and their names.

    Ends before the lengths alone may be real steps that have the padding id; not where another input ends with the
    lengths in every row, and this one has that id nowhere before its ends.
    """
    before: dict[int, bool] = {}  # by input: does padding begin before the length in some row?
    past: dict[int, bool] = {}  # is there content past it in one?
    only_behind: dict[int, bool] = {}  # is there no padding before its own ends, and something in every row?
    for i, (array, part) in enumerate(zip(flat, parts, strict=True)):
        if part.role == "sequence" and array.ndim == 2 and is_ids(array):
            there = array != np.asarray(part.fill)
            ends = _ends(there)
            before[i] = bool((ends < lengths).any())
            past[i] = bool((ends > lengths).any() and (ends < array.shape[1]).any())
            only_behind[i] = bool((there.sum(1) == ends).all() and (ends[lengths > 0] > 0).all())
    exact = any(not (before[i] or past[i]) for i in before)
    apart = [
        i for i in before if (before[i] and past[i]) or ((before[i] or past[i]) and exact and only_behind[i])
    ]
    if not apart or all(before[i] or past[i] for i in before):
        return parts, ()
    names = tuple(parts[i].name for i in apart)
    return [Part(p.name, "fixed", axes=()) if i in apart else p for i, p in enumerate(parts)], names


def _mask_part(name: str, array: np.ndarray, valid: np.ndarray, axes: tuple[int, ...]) -> Part | None:
    """An input that is true at valid steps, or at padded ones."""
    if len(axes) == 1:
        along = np.moveaxis(array, axes[0], 1).reshape(*valid.shape, -1).astype(bool)
        if np.all(along == along[..., :1]):
            along = along[..., 0]
            if (valid.all() and array.dtype.kind == "b") or not valid.all():
                if np.array_equal(along, valid):
                    return Part(name, "mask", 0, axes)
                if np.array_equal(along, ~valid):
                    return Part(name, "mask", 1, axes)
        return None
    if array.dtype.kind == "b" and array.ndim >= 3:
        return Part(name, "mask", 0, axes)
    return None


def _beside(
    name: str, array: np.ndarray, valid: np.ndarray, pad: Any, *, ends_elsewhere: bool = False
) -> Part:
    """A label or a weight: by step where its second axis is as long; padded as the data are.

    `ends_elsewhere`: there is a sequence whose ends are not those of the lengths: labels with unlike values past
    the lengths are that one's.
    """
    if array.ndim < 2 or array.shape[1] != valid.shape[1]:
        return Part(name, "fixed", axes=())
    if pad is None:
        there = array[:, : valid.shape[1]][~valid]
        if ends_elsewhere and len(there) and not np.all(there == there[0]):
            return Part(name, "fixed", axes=())
        pad = there[0] if there.size else 0
    return Part(name, "sequence", pad)
