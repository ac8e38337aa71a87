"""Keras' recurrent layers in anyone's model run packed, and back: one line each."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from workbench.cells.base import initial_states, innermost, with_those_inside
from workbench.cells.pure import beyond_its_row
from workbench.rnn.any_mask import gather_valid, spread
from workbench.rnn.checks import OF_FLOATS, nested_as
from workbench.rnn.compared import (
    Comparison,
    Measured,
    compare,
    measure,
    measure_with_rounding,
    step_is_of_each_row,
)
from workbench.rnn.keras_dropout import draws_once, masks_of_the_layer
from workbench.rnn.keras_layer import PackedRNN
from workbench.rnn.packed import BESIDE_ANOTHER, kernels_of, packed_rnn

_CELLS = (
    keras.layers.LSTMCell,
    keras.layers.GRUCell,
    keras.layers.SimpleRNNCell,
    keras.layers.StackedRNNCells,
)
_NOT_YET = "accelerate(model) packs it"
_NOT_CALLED = "the sample did not call it, or by a tf.function that has traced Keras' loop"
_BY_SAMPLE = "accelerate(model, sample=inputs) packs it where the numbers stay"
_KINDS = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN, keras.layers.RNN)


class LayerReport(NamedTuple):
    """Of one recurrent layer: whether it runs packed, and by which kernels once it has run, or why not."""

    name: str
    kind: str
    packed: bool
    reason: str


class Acceleration(NamedTuple):
    """What `accelerate` did to a model; its text is a table."""

    layers: list[LayerReport]
    comparison: Comparison | None  # with a sample

    def __str__(self) -> str:
        rows = [
            (one.name, one.kind, "runs packed" if one.packed else "left", one.reason) for one in self.layers
        ]
        rows = [("layer", "kind", "", "why"), *rows]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows]
        if not self.layers:
            lines = ["The model has no recurrent layer of Keras'."]
        return "\n".join(lines + ([str(self.comparison)] if self.comparison else []))


_OF_A_LOOP = ("inner_loop", "call")


class _Before(NamedTuple):
    """What a layer had of its own before it was packed."""

    supports_jit: bool
    use_cudnn: Any


_LAYERS: weakref.WeakKeyDictionary[Any, _Before] = weakref.WeakKeyDictionary()
_COMPARISONS: weakref.WeakKeyDictionary[Any, Comparison] = weakref.WeakKeyDictionary()
_JIT: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""Models whose `jit_compile` was turned off: what `compile` left, weakly, which another `compile` replaces."""


def accelerate(model: Any, sample: Any = None) -> Any:
    """The same model, whose recurrent layers of Keras' compute no masked step of a batch; returns it.

        model = accelerate(model)
        model.fit(...)
        print(acceleration_of(model))
        restore(model).save("model.keras")

    Every LSTM, GRU, SimpleRNN and RNN(cell) in the model is changed in place, wherever it stands: in functional,
    Sequential, nested and subclassed models, in Bidirectional and TimeDistributed. What is changed is its loop
    alone, which `packed_rnn` runs from then on. So all else is what it was: the layers and their names, the
    variables with the optimizer's slots, losses, metrics, `trainable`, states of `stateful` layers, options, and
    the numbers, also those that Keras repeats at masked steps. Any mask is taken, with padding in front too.
    All steps are computed inside an outer `jit_compile`, in a TimeDistributed of an unknown number of steps, and by
    a layer that is called with `initial_state` and no `mask`, as Keras does not tell it its inputs' mask then.
    On a GPU the layers lose Keras' cuDNN kernels for the "tiles" kernel, which was not measured against them yet:
    give a sample, and read what it took.

    `sample`: inputs of the model, as it is called with. Outputs and gradients are then computed and timed before
    and after (without dropout and jit_compile, and without TF32 on a GPU); where they differ by more than rounding,
    ValueError says by how much, and the model is what it was: its variables, states and seeds are in any case.

    A cell of your own (any class but Keras' and those of workbench.cells) is packed with a sample alone: it sees
    the examples that still run, longest first, so it must treat each by itself, and draw nothing at random, in
    training either: a step of it is tried on five examples. `workbench.check_cell` looks at more.

    What is saved, cloned or copied of the model holds Keras' plain layers: it loads where there is no workbench,
    and is accelerated by a call of its own. (For a changed copy beside the model as it is: `clone_model`,
    `set_weights`, then this.) A `tf.function` of your own that has traced the model, and a model around it that was
    fitted, keep what they traced: accelerate the outermost. The model is not compiled as a whole by XLA from then
    on, as the layers compile their own part; `restore` gives `jit_compile` back (to compile the model with
    `jit_compile=True` now would undo that: leave it away). A gradient of a
    gradient is refused (NotImplementedError).
    """
    _check(model)
    if sample is None:
        _pack_all(model, (layer for layer in _recurrent(model) if not _foreign(layer)))
        _trace_anew(model)
        return model
    if tf.distribute.has_strategy() and tf.distribute.in_cross_replica_context():
        raise ValueError(
            "a sample cannot be tried inside strategy.scope(), where variables are of all replicas at once: call "
            "accelerate(model, sample) outside of it, or without a sample."
        )
    packed, compared = [layer for layer in _recurrent(model) if layer in _LAYERS], _COMPARISONS.get(model)
    try:
        before = _measured_as_it_was(restore(model), sample)
        _pack_all(model, (layer for layer in _recurrent(model) if layer.built or not _foreign(layer)))
        _trace_anew(model)
        comparison = _held_to(before, _measured_packed(model, sample))
        _refuse_what_looks_around(model)
    except BaseException:
        restore(model)
        _pack_all(model, packed)
        _trace_anew(model)
        if compared is not None:
            _COMPARISONS[model] = compared
        raise
    _COMPARISONS[model] = comparison
    return model


def restore(model: Any) -> Any:
    """The model with Keras' own loops again, and the weights as they are now; returns it."""
    _check(model)
    _unpack(layer for layer in _recurrent(model) if layer in _LAYERS)
    _COMPARISONS.pop(model, None)
    _trace_anew(model)
    return model


def acceleration_of(model: Any) -> Acceleration:
    """Which recurrent layers of a model run packed now, why the others do not, and what a sample showed."""
    _check(model)
    reports, comparison = [], _COMPARISONS.get(model)
    for layer in _recurrent(model):
        name, kind = getattr(layer, "path", None) or layer.name, type(layer).__name__
        packed = layer in _LAYERS or isinstance(layer, PackedRNN)
        if packed:
            reason = _left(layer) or _ran(layer) or (_NOT_CALLED if comparison else "")
        else:
            reason = _left(layer) or _foreign(layer) or _NOT_YET
        reports.append(LayerReport(name, kind, packed, reason))
    return Acceleration(reports, comparison)


def _check(model: Any) -> None:
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"accelerate takes a model or a layer of Keras', not {type(model).__name__}.")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"KERAS_BACKEND={keras.backend.backend()}: packed layers are TensorFlow's; set it to tensorflow before "
            "Keras is imported."
        )


def _recurrent(model: Any) -> Iterator[Any]:
    """Each once: the recurrent layers that Keras finds in a model."""
    seen = set()
    for layer in model._flatten_layers():
        if isinstance(layer, (keras.layers.RNN, PackedRNN)) and id(layer) not in seen:
            seen.add(id(layer))
            yield layer


def _left(layer: Any) -> str | None:
    """Why a layer is not packed; None where it can be."""
    if isinstance(layer, PackedRNN):
        return "a PackedRNN"
    kind = type(layer).__name__
    if type(layer) not in _KINDS:
        return f"{kind} is a class of its own, whose loop may be another than Keras' for RNN"
    if layer not in _LAYERS and (name := next((one for one in _OF_A_LOOP if one in vars(layer)), None)):
        return f"its {name} was replaced on this layer"
    if getattr(layer, "use_cudnn", None) is True:
        return "use_cudnn=True asks for cuDNN"
    if layer.unroll and layer.go_backwards and layer.zero_output_for_mask:
        return (
            "unrolled and backwards Keras zeroes outputs by the mask of the other end; unroll=False does not"
        )
    for cell in with_those_inside(layer.cell):
        if "call" in getattr(cell, "__dict__", {}):
            return f"the call of its {type(cell).__name__} was replaced on this cell"
        if getattr(cell, "activity_regularizer", None) is not None:
            kind = type(cell).__name__
            return f"the activity_regularizer of its {kind} adds a loss at every step, also at masked ones"
    drawing = [
        id(cell)
        for cell in innermost(layer.cell)
        if getattr(cell, "dropout", 0) or getattr(cell, "recurrent_dropout", 0)
    ]
    if len(set(drawing)) < len(drawing):
        return "one cell stands in its stack more than once, and Keras gives both places one mask"
    for cell in innermost(layer.cell):
        if hasattr(cell, "get_dropout_mask") and layer.built and not draws_once(cell):
            return f"{type(cell).__name__} draws masks as Keras' cells do, and has not their two kernels"
    sizes = tf.nest.flatten(layer.cell.state_size)
    if not all(isinstance(size, int) for size in sizes):
        return f"its cell has states that are no vectors: {sizes}"
    return None


def _ran(layer: Any) -> str:
    """Each kernel that has run it, and why that; nothing before its first call."""
    return "; ".join(f"{choice.kernel}: {choice.reason}" for choice in kernels_of(layer.cell))


def _foreign(layer: Any) -> str | None:
    """Why a layer is packed with a sample alone: what cells of one's own look at is not known."""
    for cell in with_those_inside(layer.cell):
        if type(cell) not in _CELLS and not type(cell).__module__.startswith("workbench."):
            return (
                f"{type(cell).__name__} is a cell of your own, which may look at the whole batch or draw; "
                + _BY_SAMPLE
            )
        if name := beyond_its_row(cell):
            return f"its {name} looks at the whole batch or draws; {_BY_SAMPLE}"
    return None


def _refuse_what_looks_around(model: Any) -> None:
    """A sample whose examples all run to the end shows nothing of a cell that looks at others: it is tried."""
    for layer in _recurrent(model):
        if layer in _LAYERS and _foreign(layer) and not step_is_of_each_row(layer):
            raise ValueError(
                f"packed, layer {layer.name} gives other numbers than Keras' on batches of unlike lengths: a step "
                f"of its {type(layer.cell).__name__} gives an example other numbers beside others than alone, or "
                "draws. The model is as it was."
            )


def _pack_all(model: Any, layers: Iterable[Any]) -> None:
    both = [one for one in model._flatten_layers() if isinstance(one, keras.layers.Bidirectional)]
    beside = {id(layer) for one in both for layer in (one.forward_layer, one.backward_layer)}
    for layer in layers:
        if layer not in _LAYERS and _left(layer) is None:
            _pack(layer, BESIDE_ANOTHER if id(layer) in beside else {})


def _pack(layer: Any, options: Mapping[str, Any]) -> None:
    """Gives the layer, not its class, a loop of its own: its configuration stays that of Keras' layer."""
    _LAYERS[layer] = _Before(layer.supports_jit, getattr(layer, "use_cudnn", None))
    here = weakref.ref(layer)

    def inner_loop(sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> tuple:
        return packed_loop(here(), sequences, initial_state, mask, training, options)

    layer.inner_loop = inner_loop
    layer.supports_jit = False
    if hasattr(layer, "use_cudnn"):
        layer.use_cudnn = False  # lest Bidirectional takes a kernel for both


def _unpack(layers: Any) -> None:
    for layer in layers:
        before = _LAYERS.pop(layer)
        del layer.inner_loop
        layer.supports_jit = before.supports_jit
        if hasattr(layer, "use_cudnn"):
            layer.use_cudnn = before.use_cudnn


def _trace_anew(model: Any) -> None:
    """Drops what `fit`, `evaluate` and `predict` have traced of it, and of the models in it.

    Each has a new function at once, as a `fit` whose callback asked for this goes on with it.
    """
    for one in model._flatten_layers():
        if not isinstance(one, keras.Model):
            continue
        packed = any(layer in _LAYERS for layer in _recurrent(one))
        if packed and one.compiled and one.jit_compile:
            _JIT[one] = weakref.ref(one._compile_config)
            one.jit_compile = False
        elif packed and not one.compiled and getattr(one, "_jit_compile", None):
            one._jit_compile = None  # found out before its layers were packed
        elif not packed and one in _JIT and _JIT.pop(one)() is one._compile_config:
            one.jit_compile = True
        for what in ("train", "test", "predict"):
            if getattr(one, f"{what}_function", None) is not None:
                setattr(one, f"{what}_function", None)
                getattr(one, f"make_{what}_function")()


def _measured_as_it_was(model: Any, sample: Any) -> Measured:
    """Keras' own layers on the sample; without cuDNN where that does not take its mask, as of an empty example.

    On a GPU Keras takes cuDNN in a graph whatever the mask, and its check then ends the step.
    """
    try:
        return measure_with_rounding(model, sample)
    except tf.errors.InvalidArgumentError:
        layers = [one for one in _recurrent(model) if getattr(one, "use_cudnn", None) == "auto"]
        if not layers:
            raise
        for layer in layers:
            layer.use_cudnn = False
        try:
            return measure_with_rounding(model, sample)
        finally:
            for layer in layers:
                layer.use_cudnn = "auto"


def _measured_packed(model: Any, sample: Any) -> Measured:
    try:
        return measure(model, sample)
    except Exception as error:
        error.add_note("The sample ran before its layers were packed, and not after. The model is as it was.")
        raise


def _held_to(before: Measured, after: Measured) -> Comparison:
    comparison = compare(before, after)
    if not comparison.alike:
        raise ValueError(
            f"the packed layers give other numbers than Keras' on this sample: {comparison.differences}. The model "
            "is as it was. What draws by tf.random outside of training gives others at each call. A cell of your "
            "own must treat each example by itself and draw nothing, which workbench.check_cell looks at; "
            "accelerate(model) without a sample packs Keras' own cells nevertheless."
        )
    return comparison


def packed_loop(
    layer: Any,
    sequences: tf.Tensor,
    initial_state: Any,
    mask: Any,
    training: bool,
    options: Mapping[str, Any],
) -> tuple[tf.Tensor, tf.Tensor, list[Any]]:
    """What `keras.layers.RNN.inner_loop` returns: the last output, all of them, and the states.

    `options` go to `packed_rnn`.
    """
    mask = next((one for one in tf.nest.flatten(mask) if one is not None), None)
    mask = None if mask is None else tf.cast(mask, tf.bool)
    backwards, lengths = layer.go_backwards, None
    if mask is not None:
        mask = _of_steps(mask, layer)
        if mask.shape[0] == 1:  # one for all examples
            mask = tf.broadcast_to(mask, tf.shape(tf.nest.flatten(sequences)[0])[:2])
        sequences, lengths = gather_valid(sequences, mask)
    if isinstance(next(innermost(layer.cell)), OF_FLOATS):  # as Keras multiplies what is whole
        sequences = tf.nest.map_structure(lambda one: tf.cast(one, layer.compute_dtype), sequences)
    # Keras makes all states floating, whatever the cell's own are
    given, own = tf.nest.flatten(initial_state), tf.nest.flatten(initial_states(layer.cell, 1))
    if len(given) != len(own):
        raise ValueError(f"layer {layer.name} got {len(given)} initial states, and its cell has {len(own)}.")
    begin = [tf.cast(one, its.dtype) for one, its in zip(given, own, strict=True)]
    with masks_of_the_layer(layer.cell):
        outputs, states = packed_rnn(
            layer.cell,
            sequences,
            lengths,
            initial_state=nested_as(layer.cell, begin),
            training=bool(training),
            go_backwards=backwards,
            **options,
        )
    last = _last(outputs, lengths, backwards)
    if mask is not None:
        if layer.zero_output_for_mask:
            last = tf.where(mask[:, 0 if backwards else -1, tf.newaxis], last, tf.zeros([], last.dtype))
        if layer.return_sequences:
            outputs = spread(outputs, mask, backwards=backwards, repeat=not layer.zero_output_for_mask)
    initial_state = initial_state if tf.nest.is_nested(initial_state) else [initial_state]
    states = [tf.cast(one, its.dtype) for one, its in zip(tf.nest.flatten(states), given, strict=True)]
    states = tf.nest.pack_sequence_as(initial_state, states)  # nested as Keras gave them
    return last, tf.reverse(outputs, [1]) if backwards else outputs, states


def _of_steps(mask: tf.Tensor, layer: Any) -> tf.Tensor:
    """A mask [B, T] or [B, T, 1] as [B, T]. Of others Keras' loop would fail."""
    if mask.shape.rank == 3 and mask.shape[-1] == 1:
        return mask[..., 0]
    if mask.shape.rank != 2:
        raise ValueError(
            f"the mask of {layer.name} is {mask.shape}, and must be [B, T]. TimeDistributed hands on the mask of "
            "what it is given, [B, T, steps]: give the layer behind it one of its own, as "
            "keras.ops.any(mask, axis=-1)."
        )
    return mask


def _last(outputs: tf.Tensor, lengths: Any, backwards: bool) -> tf.Tensor:
    if backwards:
        return outputs[:, 0]
    if lengths is None:
        return outputs[:, -1]
    return tf.gather(
        outputs, tf.maximum(lengths - 1, 0), batch_dims=1, axis=1
    )  # zeros where there is no step
