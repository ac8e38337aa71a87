"""Which kernel runs a cell: rules that are stated, a choice that is kept, no fallback."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import tensorflow as tf

from workbench.cells.base import StepCell, with_those_inside
from workbench.cells.vectorized import inside_map
from workbench.cells.xla import inside_jit, on_gpu


class Choice(NamedTuple):
    """A kernel and why it was taken, in words."""

    kernel: str
    reason: str


_MADE: WeakKeyDictionary[Any, list[Choice]] = WeakKeyDictionary()
NAMES = ("xla", "tiles", "plain", "autodiff", "masked")


def choose_kernel(cell: Any, kernel: str, training: bool) -> Choice:
    """The kernel for a cell here and now; ValueError where the one asked for cannot run.

    `auto` takes the first that applies:

        masked     inside an outer jit_compile, which takes static shapes only
        masked     inside tf.vectorized_map (Keras' TimeDistributed of an unknown number of steps)
        autodiff   for a cell that has only `call`, or something random inside its step
        plain      outside tf.function, where a compilation of seconds would serve a single call
        plain      where TensorFlow was built without XLA
        tiles      where TensorFlow sees a GPU, unless the call is placed on the CPU
        xla        otherwise
    """
    if kernel not in ("auto", *NAMES):
        raise ValueError(f"kernel={kernel!r} is not a kernel; there are auto, {', '.join(NAMES)}.")
    found = _automatic(cell, training) if kernel == "auto" else Choice(kernel, "asked for")
    _check(found.kernel, cell, training)
    return found


def kernels_of(cell: Any) -> tuple[Choice, ...]:
    """What `packed_rnn` has run this cell with so far, each choice once; for a run's record.

    Of a stack, what its layers ran with; of a wrapper, what its cell did.
    """
    own = list(_MADE.get(cell, ()))
    inside = [one for one in with_those_inside(cell) if one is not cell]
    return tuple(dict.fromkeys(own + [choice for inner in inside for choice in _MADE.get(inner, ())]))


def keep_choice(cell: Any, choice: Choice) -> None:
    """Keeps a choice for `kernels_of`."""
    made = _MADE.setdefault(cell, [])
    if choice not in made:
        made.append(choice)


def _automatic(cell: Any, training: bool) -> Choice:
    if inside_jit():
        return Choice("masked", "inside an outer jit_compile, which takes static shapes only")
    if inside_map():
        return Choice("masked", "inside tf.vectorized_map, which knows no gradient of our own")
    if not _has_step(cell, training):
        return Choice("autodiff", f"{type(cell).__name__} is not in one-step form here")
    if tf.executing_eagerly():
        return Choice("plain", "outside tf.function, where a compilation would serve a single call")
    if not tf.test.is_built_with_xla():
        return Choice("plain", "this TensorFlow was built without XLA")
    if on_gpu():
        return Choice("tiles", "a cell in one-step form, inside tf.function, on a GPU")
    return Choice("xla", "a cell in one-step form, inside tf.function")


def _check(kernel: str, cell: Any, training: bool) -> None:
    if kernel in ("xla", "tiles", "plain") and not _has_step(cell, training):
        why = (
            "drops or draws inside its step in training, or has an activation that draws or that reads what is no "
            "plain number"
            if isinstance(cell, StepCell)
            else "has only `call`"
        )
        raise ValueError(
            f'kernel="{kernel}" needs a cell in one-step form, but {type(cell).__name__} {why}: '
            'take kernel="autodiff" or "auto".'
        )
    if kernel != "masked" and inside_jit():
        raise ValueError(
            f'kernel="{kernel}" cannot run inside an outer jit_compile, which takes static shapes only: take '
            'kernel="masked" or "auto", or leave the outer jit_compile away ("xla", "tiles" compile by themselves).'
        )
    if kernel != "masked" and inside_map():
        raise ValueError(
            f'kernel="{kernel}" cannot run inside tf.vectorized_map (Keras\' TimeDistributed of an unknown number '
            'of steps), which would lose its gradient: take kernel="masked" or "auto".'
        )
    if kernel in ("xla", "tiles") and not tf.test.is_built_with_xla():
        raise ValueError(
            f'kernel="{kernel}" needs XLA, which this TensorFlow was built without: take kernel="plain".'
        )


def _has_step(cell: Any, training: bool) -> bool:
    return isinstance(cell, StepCell) and cell.has_step(training)
