"""The packed RNN as a Keras layer, for anyone's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from workbench.cells import BasicRNNCell, GRUCell, LSTMCell
from workbench.cells.base import build, check_dtype_of, check_is_cell, output_size, register, state_sizes
from workbench.cells.xla import inside_jit
from workbench.masking import last_valid, sequence_mask
from workbench.rnn.checks import check_inputs
from workbench.rnn.packed import kernels_of, packed_rnn
from workbench.rnn.packing.kernel import Choice


@register
class PackedRNN(keras.layers.Layer):
    """Runs a cell over padded sequences without computing a padded step; trains, saves and loads as any layer.

        words = keras.Input([None], dtype="int32")
        vectors = keras.layers.Embedding(10_000, 64, mask_zero=True)(words)
        outputs = PackedRNN(LSTMCell(128), return_sequences=True)(vectors)

    Call it on inputs [B, T, D]. Where an example ends is told by `sequence_length` [B] or else by a Keras mask
    [B, T], which must be true up to an example's end and false after it, and the same for all of nested inputs;
    without either all T steps count.
    Returns outputs [B, T, O], zero past the end, with `return_sequences`; else the last valid ones [B, O], zero for
    an empty example. With `return_state`, the final states follow, one after another. `initial_state` is nested as
    the cell's states.

    `cell` is any cell of workbench.cells, of Keras', or with Keras' cell contract. `kernel`, `batch_size`, `chains`
    and `go_backwards` are those of `packed_rnn`; give `batch_size` where batches are of many sizes, so that one
    compilation serves all. `kernels` tells what ran. A model with this layer is not compiled as a whole by Keras:
    the layer compiles its own part.

    Both ways are two layers, one with `go_backwards`, whose outputs stand in the order of the inputs.
    `keras.layers.Bidirectional` does not take this layer: it would turn them over once more. A model with it is
    saved as `.keras`; `model.export` fails, as TensorFlow cannot put the gradient of the loops into a SavedModel.

    Raises (at run time) InvalidArgumentError for a mask with holes or with padding in front.
    """

    def __init__(
        self,
        cell: Any,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        kernel: str = "auto",
        batch_size: int | None = None,
        chains: int = 2,
        **kwargs: Any,
    ) -> None:
        check_is_cell("PackedRNN", cell)
        super().__init__(**{"dtype": getattr(cell, "dtype_policy", None), **kwargs})
        check_dtype_of(self, cell)
        self.cell, self.return_sequences, self.return_state = cell, return_sequences, return_state
        self.options: dict[str, Any] = {
            "go_backwards": go_backwards,
            "kernel": kernel,
            "batch_size": batch_size,
            "chains": chains,
        }
        self.supports_masking, self.supports_jit = True, False

    @classmethod
    def from_keras(cls, layer: Any, **options: Any) -> Self:
        """A layer with the weights of a built `keras.layers.LSTM`, `GRU` or `SimpleRNN`; `options` as `__init__`'s.

        It gives the same numbers, but zeros where Keras repeats an output past an example's end. ValueError for a
        layer that is not built, or has an option that the cells here do not have.
        """
        cell = _same_cell(layer)
        names = ("return_sequences", "return_state", "name", "trainable")
        return cls(cell, **{**{name: getattr(layer, name) for name in names}, **options})

    @property
    def kernels(self) -> tuple[Choice, ...]:
        """What has run so far, and why that."""
        return kernels_of(self.cell)

    def build(self, input_shape: Any) -> None:
        """Builds the cell for inputs [B, T, D], nested as it takes them."""
        specs = _each_shape(input_shape, lambda shape: tf.TensorSpec(shape, self.compute_dtype))
        check_inputs(self.cell, specs, time_major=False)
        build(self.cell, _each_shape(input_shape, lambda shape: (shape[0], *shape[2:])))

    def call(
        self,
        inputs: Any,
        sequence_length: Any = None,
        mask: Any = None,
        initial_state: Any = None,
        training: bool = False,
        inputs_mask: Any = None,
    ) -> Any:
        """See the class; `inputs_mask` is the inputs' mask as Keras hands it in where other tensors come too."""
        masks = _given(inputs, mask) or _given(inputs, inputs_mask)
        lengths = _lengths(masks) if sequence_length is None and masks else sequence_length
        outputs, states = packed_rnn(
            self.cell, inputs, lengths, initial_state=initial_state, training=bool(training), **self.options
        )
        if not self.return_sequences:
            outputs = self._last(outputs, lengths)
        return (outputs, *tf.nest.flatten(states)) if self.return_state else outputs

    def _last(self, outputs: tf.Tensor, lengths: Any) -> tf.Tensor:
        """The output of the last step: with go_backwards, that of an example's first position."""
        if self.options["go_backwards"]:
            return tf.reduce_sum(outputs[:, :1], 1)  # zeros where there is no step
        if lengths is None:
            return tf.reduce_sum(outputs[:, -1:], 1)
        return last_valid(outputs, lengths)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The inputs' own, where outputs are sequences."""
        masks = _given(inputs, previous_mask)
        mask = masks[0] if masks and self.return_sequences else None
        return (mask, *(None for _ in self._state_sizes())) if self.return_state else mask

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Shapes without a trace."""
        batch, time = keras.tree.flatten(inputs)[0].shape[:2]
        leading = (batch, time) if self.return_sequences else (batch,)
        output = keras.KerasTensor((*leading, output_size(self.cell)), dtype=self.compute_dtype)
        if not self.return_state:
            return output
        states = (keras.KerasTensor((batch, n), dtype=self.compute_dtype) for n in self._state_sizes())
        return (output, *states)

    def _state_sizes(self) -> list[int]:
        return tf.nest.flatten(state_sizes(self.cell))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            **self.options,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the cell first."""
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})


def _each_shape(shapes: Any, make: Callable[[Any], Any]) -> Any:
    """`make` of each shape, in a nest of shapes, which are tuples themselves."""
    if isinstance(shapes, dict):
        return {key: _each_shape(shape, make) for key, shape in shapes.items()}
    if shapes and isinstance(shapes[0], (dict, list, tuple)):
        return [_each_shape(shape, make) for shape in shapes]
    return make(shapes)


def _given(inputs: Any, mask: Any) -> list[Any]:
    """The masks that there are, of nested inputs of each."""
    return [
        one for one in (tf.nest.flatten(mask) if tf.nest.is_nested(inputs) else [mask]) if one is not None
    ]


def _lengths(masks: Sequence[Any]) -> tf.Tensor:
    """Masks [B, T], all equal, as lengths [B]."""
    lengths = tf.reduce_sum(tf.cast(masks[0], tf.int32), axis=1)
    if inside_jit():  # where no assertion runs: a length over T makes NaN of the example
        steps = sequence_mask(lengths, tf.shape(masks[0])[1])
        right = [tf.reduce_all(tf.cast(mask, tf.bool) == steps, 1) for mask in masks]
        return tf.where(tf.reduce_all(right, 0), lengths, tf.shape(masks[0])[1] + 1)
    checks = [
        tf.debugging.assert_equal(
            tf.cast(mask, tf.bool),
            sequence_mask(lengths, tf.shape(mask)[1]),
            "PackedRNN needs a mask that is true up to each example's end and false after it, the same for all "
            "inputs: pad behind, not in front",
        )
        for mask in masks
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(lengths)


_CELLS: dict[type, tuple[type, dict[str, Any]]] = {
    keras.layers.LSTM: (LSTMCell, {"forget_bias": 0.0}),
    keras.layers.GRU: (GRUCell, {}),
    keras.layers.SimpleRNN: (BasicRNNCell, {}),
}
# What a cell here cannot do otherwise, by the names of Keras' options.
_FIXED: dict[str, Any] = {
    "recurrent_activation": "sigmoid",
    "use_bias": True,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "go_backwards": False,
    "stateful": False,
    "activity_regularizer": None,
    **{f"{weight}_regularizer": None for weight in ("kernel", "recurrent", "bias")},
    **{f"{weight}_constraint": None for weight in ("kernel", "recurrent", "bias")},
}


def _same_cell(layer: Any) -> Any:
    """A cell of ours with the weights of one of Keras' layers."""
    if type(layer) not in _CELLS:
        known = ", ".join(kind.__name__ for kind in _CELLS)
        raise ValueError(f"from_keras takes {known}, not {type(layer).__name__}.")
    if not layer.built:
        raise ValueError(
            f"layer {layer.name} has no weights yet: call it once, or layer.build((None, None, D))."
        )
    config = layer.get_config()
    for option, value in _FIXED.items():
        if config.get(option, value) != value:
            raise ValueError(
                f"layer {layer.name} has {option}={config[option]!r}; the cells here have {value!r} only."
            )
    kind, options = _CELLS[type(layer)]
    options = options | ({"reset_after": layer.reset_after} if kind is GRUCell else {})
    cell = kind(layer.units, activation=layer.activation, dtype=layer.dtype_policy, **options)
    cell.build((None, layer.cell.kernel.shape[0]))
    cell.set_weights(layer.cell.get_weights())
    return cell
