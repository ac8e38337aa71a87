"""How each arm in TensorFlow does one training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from experiments.peers.ceiling import plain_ceiling, xla_ceiling
from experiments.peers.check import Result
from experiments.peers.settings import CEILING, CEILINGS, GATES, KERAS, OPTIONS, Setting
from experiments.peers.work import INPUTS, Batch, other_weights, states_of, weights
from workbench.cells.base import output_size
from workbench.cells.composition import compose_cell
from workbench.masking import sequence_mask
from workbench.options.cell import SCHEMAS
from workbench.rnn import RNNS, bidirectional_rnn

Variables = dict[str, tf.Variable]


class Forward(NamedTuple):
    """Runs a batch, `run(inputs, lengths, states) -> (outputs, last output)`, by these variables."""

    run: Callable[[tf.Tensor, tf.Tensor, list[tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]
    variables: Variables
    outputs: int


@dataclass(frozen=True)
class Arm:
    """One training step: the forward pass, and the gradients of inputs, initial states and weights.

    `prepare` takes a batch to where the arm computes, `step` does the work and returns when it is done, `result`
    brings it back. `graphs` tells how many graphs were traced.
    """

    prepare: Callable[[Batch], Any]
    step: Callable[[Any], Any]
    result: Callable[[Any], Result] | None  # none: it computes no result (the ceiling)
    graphs: Callable[[], int | None]
    outputs: int


def make_arm(name: str, setting: Setting, *, longest: int | None = None, dtype: str = "float32") -> Arm:
    """An arm of ARMS that runs in TensorFlow; `longest` is what a static graph is built for."""
    if name in CEILINGS:
        return _ceiling(name, setting)
    forward = _FORWARDS.get(name, _runner)(name, setting, dtype)
    padded = longest if name in _STATIC else None
    return _training(forward, setting, dtype, padded)


def reference(setting: Setting) -> Arm:
    """The dynamic runner in float64, whose values and gradients equal TF 1.15's (tests/golden)."""
    return make_arm("dynamic", setting, dtype="float64")


def _training(forward: Forward, setting: Setting, dtype: str, padded: int | None) -> Arm:
    names = [*forward.variables]
    sizes = [tf.TensorSpec([setting.batch, setting.units], dtype)] * states_of(setting)
    wide = tf.TensorSpec([setting.batch, padded, forward.outputs], dtype)
    signature = [
        tf.TensorSpec([setting.batch, padded, INPUTS], dtype),
        tf.TensorSpec([setting.batch], tf.int32),
        sizes,
        wide,
        tf.TensorSpec([setting.batch, forward.outputs], dtype),
    ]

    on_gpu = bool(tf.config.list_logical_devices("GPU"))

    @tf.function(autograph=False, input_signature=signature)
    def step(inputs: Any, lengths: Any, states: Any, d_outputs: Any, d_state: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([inputs, *states])
            outputs, state = forward.run(inputs, lengths, states)
        sources = [inputs, *states, *forward.variables.values()]
        gradients = tape.gradient([outputs, state], sources, output_gradients=[d_outputs, d_state])
        return outputs, state, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def prepare(batch: Batch) -> Any:
        more = [[0, 0], [0, (padded or batch.inputs.shape[1]) - batch.inputs.shape[1]], [0, 0]]
        wide = (tf.constant(np.pad(value, more), dtype) for value in (batch.inputs, batch.d_outputs))
        inputs, d_outputs = wide
        states = [tf.constant(state, dtype) for state in batch.states]
        return inputs, tf.constant(batch.lengths), states, d_outputs, tf.constant(batch.d_state, dtype)

    def run(given: Any) -> Any:
        done = step(*given)
        if on_gpu:
            tf.test.experimental.sync_devices()
        return done

    def result(done: Any) -> Result:
        outputs, state, gradients = done
        named = dict(
            zip(["inputs", *(f"state_{k}" for k in range(len(sizes))), *names], gradients, strict=True)
        )
        return Result(outputs.numpy(), state.numpy(), {name: g.numpy() for name, g in named.items()})

    return Arm(prepare, run, result, step.experimental_get_tracing_count, forward.outputs)


# ------------------------------------------------------------ this project's runners
def _cell(setting: Setting, dtype: str, direction: int = 0) -> Any:
    """A cell of the setting with its weights."""
    name, options = OPTIONS.get(setting.cell, (setting.cell, {}))
    chosen = SCHEMAS[name](name, setting.units, **options)
    cell = compose_cell(chosen, dtype=dtype, name=("forward", "backward")[direction])
    cell.build((None, INPUTS))
    if setting.cell in GATES:
        named = weights(setting, direction)
        for variable in cell.weights:
            variable.assign(named[variable.name])
    else:
        cell.set_weights(other_weights([variable.numpy() for variable in cell.weights]))
    return cell


def _variables(cell: Any, prefix: str = "") -> Variables:
    return {prefix + variable.path.partition("/")[2]: variable.value for variable in cell.trainable_weights}


def _runner(name: str, setting: Setting, dtype: str) -> Forward:
    """A runner of RNNS, by its name or with options that ARMS tells."""
    options: dict[str, Any] = {}
    if name == "packed_one_way":
        name, options = "packed", {"chains": 1}
    elif name == "dynamic_8":
        name, options = "dynamic", {"unroll_steps": 8}
    if setting.both:
        return _both(name, setting, dtype)
    cell = _cell(setting, dtype)

    def run(inputs: Any, lengths: Any, states: Any) -> Any:
        outputs, final = RNNS[name](cell, inputs, lengths, initial_state=states or None, **options)
        return outputs, _last(outputs, tf.nest.flatten(final), lengths)

    return Forward(run, _variables(cell), output_size(cell))


def _last(outputs: Any, states: list[Any], lengths: Any) -> Any:
    """The last output: the first state where it is one, else gathered."""
    if states[0].shape[-1] == outputs.shape[-1]:
        return states[0]
    return tf.gather(outputs, tf.maximum(lengths - 1, 0), axis=1, batch_dims=1)


def _both(name: str, setting: Setting, dtype: str) -> Forward:
    cells = [_cell(setting, dtype, direction) for direction in (0, 1)]

    def run(inputs: Any, lengths: Any, states: Any) -> Any:
        half = len(states) // 2
        outputs, (forward, backward) = bidirectional_rnn(
            cells[0],
            cells[1],
            inputs,
            lengths,
            rnn=name,
            initial_state_fw=states[:half],
            initial_state_bw=states[half:],
        )
        return tf.concat(outputs, -1), tf.concat([forward[0], backward[0]], -1)

    variables = _variables(cells[0], "forward ") | _variables(cells[1], "backward ")
    return Forward(run, variables, 2 * setting.units)


# ------------------------------------------------------------ Keras and TensorFlow 1
def _keras_layer(_: str, setting: Setting, dtype: str) -> Forward:
    """Keras' own layer as its users call it: with a mask."""
    kind = keras.layers.LSTM if setting.cell == "lstm" else keras.layers.GRU
    options = {} if setting.cell == "lstm" else {"reset_after": setting.cell == "gru"}

    def made(**more: Any) -> Any:
        return kind(setting.units, return_sequences=True, return_state=True, dtype=dtype, **options, **more)

    if setting.both:
        layers = [made(), made(go_backwards=True)]
        layer = keras.layers.Bidirectional(layers[0], backward_layer=layers[1])
        layer.build((setting.batch, None, INPUTS))
        layers = [layer.forward_layer, layer.backward_layer]
    else:
        layer = made()
        layer.build((setting.batch, None, INPUTS))
        layers = [layer]
    variables: Variables = {}
    for direction, one in enumerate(layers):
        prefix = ("forward ", "backward ")[direction] if setting.both else ""
        for name, value in weights(setting, direction).items():
            weight = getattr(one.cell, name)
            weight.assign(value)
            variables[prefix + name] = weight.value

    def run(inputs: Any, lengths: Any, states: Any) -> Any:
        mask = sequence_mask(lengths, tf.shape(inputs)[1])
        outputs, *final = layer(inputs, mask=mask, initial_state=states)
        if setting.both:
            return outputs, tf.concat([final[0], final[len(final) // 2]], -1)
        return outputs, final[0]

    return Forward(run, variables, setting.units * (2 if setting.both else 1))


def _v1(name: str, setting: Setting, dtype: str) -> Forward:
    """TensorFlow 1's runners around this project's cell; TensorFlow 2.21 has no cells of its own for them."""
    cell = _cell(setting, dtype)

    def dynamic(inputs: Any, lengths: Any, states: Any) -> Any:
        outputs, final = tf.compat.v1.nn.dynamic_rnn(
            cell, inputs, sequence_length=lengths, initial_state=states, dtype=dtype
        )
        return outputs, final[0]

    def static(inputs: Any, lengths: Any, states: Any) -> Any:
        steps = tf.unstack(inputs, axis=1)
        outputs, final = tf.compat.v1.nn.static_rnn(
            cell, steps, sequence_length=lengths, initial_state=states, dtype=dtype
        )
        return tf.stack(outputs, 1), final[0]

    return Forward(dynamic if name == "v1_dynamic" else static, _variables(cell), setting.units)


_FORWARDS: dict[str, Callable[[str, Setting, str], Forward]] = {
    KERAS: _keras_layer,
    "v1_dynamic": _v1,
    "v1_static": _v1,
}
_STATIC = ("static", "v1_static")


# ------------------------------------------------------------ the ceiling
def _ceiling(name: str, setting: Setting) -> Arm:
    named = weights(setting)
    make = xla_ceiling if name == CEILING else plain_ceiling
    prepare, step = make(
        tf.constant(named["kernel"], tf.float32),
        tf.constant(named["recurrent_kernel"], tf.float32),
        setting.batch,
    )
    return Arm(lambda batch: prepare(batch.lengths), step, None, lambda: None, setting.units)
