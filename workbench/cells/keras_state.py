"""What Keras keeps for the whole process: its generator, the names that are open, how the outer layer is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
from keras.src.layers.layer import CallContext

_CONTEXT, _SCOPES = "current_call_ctx", "name_scope_stack"


def generator_of_keras() -> Any:
    """The generator of `keras.random` without a seed; None where nothing has drawn from it yet."""
    return get_global_attribute("global_seed_generator")


@contextmanager
def scopes_kept() -> Iterator[None]:
    """After it no more names are open than before.

    A layer whose name TensorFlow refuses in a graph (one of a class `_Own` is called `__own`) leaves its name open,
    and all layers that are made from then on are named below it.
    """
    before = len(get_global_attribute(_SCOPES) or ())
    try:
        yield
    finally:
        del (get_global_attribute(_SCOPES) or [])[before:]


def called(function: Any, inputs: Any, *, training: bool) -> Any:
    """What a function gives where Keras is training, or is not, as layers in it see it that are not told."""
    before = get_global_attribute(_CONTEXT)
    context = CallContext(entry_layer=None)
    context.set_value("training", training)
    set_global_attribute(_CONTEXT, context)
    try:
        with scopes_kept():
            return function(inputs)
    finally:
        set_global_attribute(_CONTEXT, before)
