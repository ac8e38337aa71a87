"""Dropout on what goes into a cell, on what it keeps, and on what comes out."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import Stepper, output_size, register, state_sizes, stepper
from workbench.cells.dropout import check_keep_prob, keep_mask
from workbench.cells.wrappers.wrapper import Around, WrapperCell, droppable


@register
class DropoutWrapper(WrapperCell):
    """In training, some of the inputs, states and outputs are zero and the rest larger; else the cell alone.

        output, new_states = cell(drop(inputs), states)
        output, new_states = drop(output), drop(new_states)

    Each probability is that of keeping a number, which is then divided by it. An LSTM's memory c is never dropped,
    also where the LSTM is inside a stack or another wrapper, as in TF 1.15. With `variational`, one mask is drawn
    for all steps (and all examples) of a run, not one for each step; that needs a runner of RNNS. `seed` makes the
    masks repeatable.

    Source: Zaremba et al., https://arxiv.org/abs/1409.2329; variational: Gal and Ghahramani,
    https://arxiv.org/abs/1512.05287; the guide; TF 1.15's DropoutWrapper.
    """

    def __init__(
        self,
        cell: Any,
        *,
        input_keep_prob: float = 1.0,
        state_keep_prob: float = 1.0,
        output_keep_prob: float = 1.0,
        variational: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, **kwargs)
        check_keep_prob("input_keep_prob", input_keep_prob)
        check_keep_prob("state_keep_prob", state_keep_prob)
        check_keep_prob("output_keep_prob", output_keep_prob)
        self.input_keep_prob, self.state_keep_prob = input_keep_prob, state_keep_prob
        self.output_keep_prob, self.variational, self.seed = output_keep_prob, variational, seed
        self.seeds = keras.random.SeedGenerator(seed)
        self.input_size: Any = None

    def build(self, input_shape: Any) -> None:
        """Keeps the size of the inputs, for masks that are drawn before them."""
        super().build(input_shape)
        self.input_size = tf.nest.map_structure(lambda n: n, _sizes(input_shape))

    def _drops(self, training: bool) -> bool:
        return training and min(self.input_keep_prob, self.state_keep_prob, self.output_keep_prob) < 1

    def draws_once(self, training: bool) -> bool:
        """Where variational masks act, and where the wrapped cell does."""
        return (self.variational and self._drops(training)) or super().draws_once(training)

    def around(self, training: bool) -> Around | None:
        """What is dropped of inputs and outputs; None where states are dropped."""
        if not self._drops(training):
            return Around(self.cell, lambda inputs: inputs, lambda inputs, outputs: outputs)
        if self.state_keep_prob < 1:
            return None
        drop_inputs = self._dropping(self.input_keep_prob, self.input_size)
        drop_outputs = self._dropping(self.output_keep_prob, output_size(self.cell))
        return Around(self.cell, drop_inputs, lambda inputs, outputs: drop_outputs(outputs))

    def stepper(self, training: bool = False) -> Stepper:
        """Outside training, the cell's own."""
        step = stepper(self.cell, training)
        if not self._drops(training):
            return step
        drop_inputs = self._dropping(self.input_keep_prob, self.input_size)
        drop_states = self._dropping(self.state_keep_prob, state_sizes(self.cell))
        drop_output = self._dropping(self.output_keep_prob, output_size(self.cell))
        dropped = droppable(self.cell)

        def run(inputs: Any, states: Any) -> tuple[Any, Any]:
            output, new_states = step(drop_inputs(inputs), states)
            kept = tf.nest.flatten(new_states)
            less = tf.nest.flatten(drop_states(new_states))
            flat = [d if drops else new for new, d, drops in zip(kept, less, dropped, strict=True)]
            return drop_output(output), tf.nest.pack_sequence_as(new_states, flat)

        return run

    def _dropping(self, keep_prob: float, sizes: Any) -> Any:
        """A function that drops from a nest of tensors, each of its size; variational masks are drawn here."""
        if keep_prob == 1:
            return lambda nest: nest
        masks = None
        if self.variational:
            masks = [self._mask([1, n], keep_prob) for n in tf.nest.flatten(sizes)]

        def drop(nest: Any) -> Any:
            tensors = tf.nest.flatten(nest)
            drawn = masks or [self._mask(tf.shape(tensor), keep_prob) for tensor in tensors]
            return tf.nest.pack_sequence_as(
                nest, [t * m if t.dtype.is_floating else t for t, m in zip(tensors, drawn, strict=True)]
            )

        return drop

    def _mask(self, shape: Any, keep_prob: float) -> tf.Tensor:
        return keep_mask(shape, self.compute_dtype, keep_prob, self.seeds.next())


def _sizes(input_shape: Any) -> Any:
    """[B, D] -> D, in a nest of shapes."""
    if isinstance(input_shape, dict):
        return {key: _sizes(shape) for key, shape in input_shape.items()}
    if input_shape and isinstance(input_shape[-1], (list, tuple, dict)):
        return [_sizes(shape) for shape in input_shape]
    return input_shape[-1]
