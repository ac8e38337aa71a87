"""The packed RNN as a Keras layer, for anyone's model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import (
    build,
    check_dtype_of,
    check_is_cell,
    freeze_inside,
    initial_states,
    output_size,
    register,
    state_sizes,
    with_those_inside,
)
from workbench.cells.pure import beyond_its_row
from workbench.cells.wrappers import MultiRNNCell
from workbench.cells.xla import inside_jit
from workbench.masking import last_valid, sequence_mask
from workbench.rnn.any_mask import gather_valid, spread
from workbench.rnn.checks import as_tensors, check_inputs, nested_as
from workbench.rnn.conversion import from_keras, to_keras
from workbench.rnn.packed import kernels_of, packed_rnn
from workbench.rnn.packing.kernel import Choice


@register
class PackedRNN(keras.layers.Layer):
    """Runs a cell over padded sequences without computing a padded step; trains, saves and loads as any layer.

        words = keras.Input([None], dtype="int32")
        vectors = keras.layers.Embedding(10_000, 64, mask_zero=True)(words)
        outputs = PackedRNN(LSTMCell(128), return_sequences=True)(vectors)

    Call it on inputs [B, T, D]. Where an example ends is told by `sequence_length` [B]; or else a Keras mask
    [B, T], the same for all of nested inputs, says which steps count: padding may stand behind or in front, and
    there may be holes. Without either all T steps count. Outputs [B, T, O] carry it on as their mask to the layers
    and the loss behind, as those of Keras' layers do.
    Returns outputs [B, T, O], zero at steps that do not count, with `return_sequences`; else the last valid ones
    [B, O], zero for an empty example. With `return_state`, the final states follow, one after another.
    `initial_state` is nested as the cell's states, or flat as `return_state` gives them.

    `cell` is any cell of workbench.cells, of Keras', or with Keras' cell contract; a list of cells is a stack.
    Dropout, regularizers, activations and the like are the cell's, keras.layers.LSTMCell(128, dropout=0.1).
    Both directions: keras.layers.Bidirectional(layer), on two cores best with chains=1. With `stateful` a call
    begins where the one before ended, for a batch of fixed size, until `reset_state()`; the states are weights that
    are not trained, and saved.

    `kernel`, `batch_size`, `chains`, `unroll_steps` and `go_backwards` are those of `packed_rnn`; give `batch_size`
    where batches are of many sizes, so that one compilation serves all. `kernels` tells what ran. A model with this
    layer is not compiled as a whole by Keras: the layer compiles its own part. XLA keeps that for each size of cell
    until the process ends, about 40 MB; a search over many sizes in one process takes `kernel="plain"`, which
    leaves under 1 MB.

    With `go_backwards` outputs stand in the order of the inputs (`output_order="inputs"`); Keras' layers put them
    out as they are computed, from the end of the padded inputs (`output_order="steps"`).
    `keras.layers.Bidirectional(layer)` takes care of it; a `backward_layer` of its own needs "steps".
    `trainable=False` freezes the cell.

    A process that loads a saved model (`.keras`) imports `workbench.rnn` first. `model.export` puts the numbers
    into a SavedModel, which needs no workbench, without their gradient.

    Raises (at run time) InvalidArgumentError where nested inputs have masks that differ.
    """

    def __init__(
        self,
        cell: Any,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        output_order: str = "inputs",
        stateful: bool = False,
        kernel: str = "auto",
        batch_size: int | None = None,
        chains: int = 2,
        unroll_steps: int = 8,
        **kwargs: Any,
    ) -> None:
        cell = MultiRNNCell(cell) if isinstance(cell, (list, tuple)) else cell
        check_is_cell("PackedRNN", cell)
        if kernel != "masked":
            _check_each_row(cell)
        kwargs = _of_a_layer(kwargs)
        if output_order not in ("inputs", "steps"):
            raise ValueError(f"output_order={output_order!r}: must be 'inputs' or 'steps'.")
        super().__init__(**{"dtype": getattr(cell, "dtype_policy", None), **kwargs})
        check_dtype_of(self, cell)
        self.cell, self.return_sequences, self.return_state = cell, return_sequences, return_state
        self.output_order = output_order
        self.options: dict[str, Any] = {
            "go_backwards": go_backwards,
            "kernel": kernel,
            "batch_size": batch_size,
            "chains": chains,
            "unroll_steps": unroll_steps,
        }
        self.supports_masking, self.supports_jit = True, False
        self.stateful = stateful
        self.states: Any = None  # names that Keras' Bidirectional asks for
        freeze_inside(self)

    @classmethod
    def from_keras(cls, layer: Any, **options: Any) -> Any:
        """A layer with the weights of a built `keras.layers.LSTM`, `GRU`, `SimpleRNN`, `RNN`; `options` as here.

        It gives the same numbers, but zeros where Keras repeats an output past an example's end. Its cell is a copy
        of the layer's own, with all its options; recurrent dropout in training takes the "autodiff" kernel. States
        that a `stateful` layer has by now are not copied. Called with `initial_state` and without `mask`, Keras'
        layers hear nothing of their inputs' mask and compute all steps; this one hears it. For a whole model there
        is `accelerate`. Of a `keras.layers.Bidirectional` comes one around two of these.
        ValueError says what cannot be had, and what to do.
        """
        return from_keras(cls, layer, options)

    def to_keras(self, **options: Any) -> Any:
        """One of Keras' own layers with copies of the weights, which needs no workbench; `options` as its.

        The forget bias, which the cells here add when they run, is in its bias. (`set_weights` of these weights
        into Keras' layer lacks it: other numbers, and nothing notices.) For the cells lstm, gru and basic_rnn, and
        those of Keras'; ValueError names an option that Keras lacks.
        """
        return to_keras(self, options)

    @property
    def kernels(self) -> tuple[Choice, ...]:
        """What has run so far, and why that."""
        return kernels_of(self.cell)

    @property
    def go_backwards(self) -> bool:
        """As Keras means it, outputs from the end: ValueError where they stand in the order of the inputs."""
        backwards = self.options["go_backwards"]
        if backwards and self.return_sequences and self.output_order == "inputs":
            raise ValueError(
                f"PackedRNN {self.name} goes backwards, and its outputs stand in the order of the inputs, but "
                "Keras (Bidirectional) takes it that they are turned over: give it "
                'PackedRNN(cell, go_backwards=True, output_order="steps"), or no backward_layer.'
            )
        return backwards

    @property
    def units(self) -> int:
        """The cell's."""
        return self.cell.units

    def get_initial_state(self, batch_size: Any) -> Any:
        """The cell's."""
        return initial_states(self.cell, batch_size)

    def reset_state(self) -> None:
        """Where `stateful`, the next call begins from zeros."""
        for state in self.states or ():
            state.assign(tf.zeros_like(state))

    def reset_states(self) -> None:
        """As Keras' layers still call it."""
        self.reset_state()

    def build(self, input_shape: Any) -> None:
        """Builds the cell for inputs [B, T, D], nested as it takes them."""
        specs = _each_shape(input_shape, lambda shape: tf.TensorSpec(shape, self.compute_dtype))
        check_inputs(self.cell, specs, time_major=False)
        build(self.cell, _each_shape(input_shape, lambda shape: (shape[0], *shape[2:])))
        if self.stateful:
            self.states = self._kept_states(tf.nest.flatten(specs)[0].shape[0])

    def _kept_states(self, batch: int | None) -> list[Any]:
        """A variable for each state."""
        if batch is None:
            raise ValueError(
                f"PackedRNN {self.name} is stateful, so the size of its batch must be known while building: "
                "keras.Input(batch_shape=[B, None, D])."
            )
        with tf.init_scope():
            begin = [tf.convert_to_tensor(one) for one in tf.nest.flatten(initial_states(self.cell, batch))]
        return [  # which begin as the cell does, as those of Keras' layers
            self.add_weight(
                shape=(batch, n),
                initializer=lambda shape, dtype, one=one: tf.cast(one, dtype),
                trainable=False,
                name=f"state_{i}",
                dtype=None if one.dtype.is_floating else one.dtype.name,
            )
            for i, (n, one) in enumerate(zip(self._state_sizes(), begin, strict=True))
        ]

    def _post_build(self) -> None:
        """Keras calls it after `build`."""
        super()._post_build()
        freeze_inside(self)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """See `call`.

        While a functional model is made, outputs that end by `sequence_length` have no mask: the layers behind
        would keep the inputs' one for their calls. When the model runs `call` gives them theirs.
        """
        outputs = super().__call__(inputs, *args, **kwargs)
        first = outputs[0] if self.return_state else outputs
        lengths = args[0] if args else kwargs.get("sequence_length")
        if lengths is not None and isinstance(first, keras.KerasTensor):
            first._keras_mask = None
        return outputs

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
        inputs = as_tensors(inputs)  # what is ragged is refused before its mask is read
        masks = _given(inputs, mask) or _given(inputs, inputs_mask)
        lengths, counts = sequence_length, None
        if lengths is None and masks:
            counts, wrong = _one_mask(masks, tf.nest.flatten(inputs)[0])
            inputs, lengths = gather_valid(inputs, counts)
            lengths = tf.where(wrong, tf.shape(counts)[1] + 1, lengths)
        if self.stateful and initial_state is None:
            initial_state = [tf.convert_to_tensor(state) for state in self.states]
        states = nested_as(self.cell, initial_state)
        outputs, states = packed_rnn(
            self.cell, inputs, lengths, initial_state=states, training=bool(training), **self.options
        )
        for kept, state in zip(self.states or (), tf.nest.flatten(states), strict=bool(self.states)):
            kept.assign(state)
        if not self.return_sequences:
            outputs = self._last(outputs, lengths)
        else:
            outputs = outputs if counts is None else spread(outputs, counts)
            turned = self.options["go_backwards"] and self.output_order == "steps"
            outputs = tf.reverse(outputs, [1]) if turned else outputs
            if sequence_length is not None:  # `compute_mask` is not told of it
                valid = sequence_mask(lengths, tf.shape(outputs)[1])
                outputs._keras_mask = tf.reverse(valid, [1]) if turned else valid
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
        if mask is not None and self.options["go_backwards"] and self.output_order == "steps":
            mask = keras.ops.flip(mask, 1)  # also of what stands for it while a model is made
        return (mask, *(None for _ in self._state_sizes())) if self.return_state else mask

    def compute_output_shape(self, input_shape: Any, initial_state_shape: Any = None) -> Any:
        """That of the outputs; with `return_state` a tuple of it and each state's."""
        shapes: list[Any] = []
        _each_shape(input_shape, shapes.append)
        batch, time_steps = shapes[0][:2]
        output = (batch, *([time_steps] if self.return_sequences else []), output_size(self.cell))
        return (output, *((batch, n) for n in self._state_sizes())) if self.return_state else output

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Shapes without a trace."""
        shapes = self.compute_output_shape(keras.tree.flatten(inputs)[0].shape)
        if not self.return_state:
            return keras.KerasTensor(shapes, dtype=self.compute_dtype)
        return tuple(keras.KerasTensor(shape, dtype=self.compute_dtype) for shape in shapes)

    def _state_sizes(self) -> list[int]:
        return tf.nest.flatten(state_sizes(self.cell))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`.

        Forward, both orders are one; "steps" is what Keras' Bidirectional, which turns a copy around, expects.
        """
        return {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "stateful": self.stateful,
            **self.options,
            "output_order": self.output_order if self.options["go_backwards"] else "steps",
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PackedRNN:
        """Makes the cell first."""
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})


def _check_each_row(cell: Any) -> None:
    """Refuses a cell whose activation looks at other examples, of which a packed step sees those that still run."""
    for inner in with_those_inside(cell):
        if name := beyond_its_row(inner, may_draw=True):
            raise ValueError(
                f"the {name} of {type(inner).__name__} looks at the whole batch, and a packed step "
                'computes only the examples that still run: give PackedRNN kernel="masked", which computes all, or '
                "take keras.layers.RNN(cell)."
            )


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


def _one_mask(masks: Sequence[Any], inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Masks [B, T] of such inputs, all equal, as one of booleans, and which examples have others [B].

    That is asserted, but inside an outer jit, where no assertion runs.
    """
    shape, shape_now = inputs.shape[:2], tf.shape(inputs)[:2]
    masks = [tf.cast(mask, tf.bool) for mask in masks]
    masks = [mask[..., 0] if mask.shape.rank == 3 and mask.shape[-1] == 1 else mask for mask in masks]
    for n, mask in enumerate(masks):
        if mask.shape.rank == 2 and mask.shape[0] == 1 and mask.shape[1:].is_compatible_with(shape[1:]):
            # one for all examples
            masks[n] = mask = tf.broadcast_to(mask, shape_now)
        if not mask.shape.is_compatible_with(shape):
            more = ": give lengths [B] as sequence_length" if mask.shape.rank == 1 else ""
            raise ValueError(f"PackedRNN needs a mask of shape [B, T], {shape}, not {mask.shape}{more}.")
    first, *others = masks
    differs = tf.zeros([tf.shape(first)[0]], tf.bool)
    for other in others:
        differs |= tf.reduce_any(other != first, 1)
    if not others or inside_jit():
        return first, differs
    check = tf.debugging.assert_equal(
        tf.reduce_any(differs), False, "PackedRNN needs a mask that is the same for all inputs"
    )
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(first), differs


_NEVER = object()
# Options of Keras' RNN layers that are none here: what they may be nevertheless, and what to do instead.
_OF_KERAS_LAYERS = {
    "unroll": (False, "no loop is unrolled here; leave it away"),
    "time_major": (False, "inputs are [B, T, D]; transpose them, or call workbench.rnn.packed_rnn"),
    "zero_output_for_mask": (True, "outputs past an example's end are always zero; leave it away"),
    "merge_mode": (
        _NEVER,
        "keras.layers.Bidirectional(PackedRNN(cell), merge_mode=...) runs both directions",
    ),
    "use_cudnn": ("auto", "this layer never runs on cuDNN; workbench.rnn.cudnn_rnn does"),
}
_OF_CELLS = {
    name
    for layer in (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
    for name, parameter in inspect.signature(layer.__init__).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD and name not in ("self", "activity_regularizer")
}


def _of_a_layer(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The options of any layer; those of Keras' RNN layers, and of cells, are refused with what to do instead."""
    for name in kwargs:
        if name in _OF_KERAS_LAYERS:
            allowed, instead = _OF_KERAS_LAYERS[name]
            if kwargs[name] != allowed:
                raise ValueError(f"PackedRNN has no option {name}={kwargs[name]!r}: {instead}.")
        elif name in _OF_CELLS:
            raise ValueError(
                f"{name} is an option of the cell, not of PackedRNN: give it to the cell, as "
                f"PackedRNN(keras.layers.LSTMCell(units, {name}={kwargs[name]!r}))."
            )
    return {name: value for name, value in kwargs.items() if name not in _OF_KERAS_LAYERS}
