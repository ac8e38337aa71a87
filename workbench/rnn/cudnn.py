"""cuDNN's own RNN: all layers and directions of a batch in one call, on a GPU only.

    params = every layer's and direction's matrices, one after another, then all their biases
    outputs, h, c = CudnnRNNV3(inputs [T, B, D], h, c, params, sequence_lengths)

The op reads the lengths on the host; where all are T it takes cuDNN's way without padding. What it prepares for
lengths it keeps without regard to that, so equal lengths and others have an op each. (CudnnRNNV2, which takes no
lengths, is refused by TensorFlow where it is built on cuDNN 9; and with time second V3 hands the states of several
layers or directions to cuDNN as if they stood first.)

What cuDNN wants and what the runners promise differ in three things, which are mended here: it takes no example
of length 0 (such run one step, whose results are thrown away), no NaN in the padding, and gates in an order of
its own. Padding is always behind, as lengths say. Nothing here was run on a GPU yet: what its ops do is taken from
their documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import Cell, KerasForm, keras_form_of
from workbench.cells.wrappers import MultiRNNCell
from workbench.cells.xla import inside_jit
from workbench.masking import copy_state, reverse_valid, zero_past_end
from workbench.measure.device import cudnn_version
from workbench.rnn.checks import renamed
from workbench.rnn.packing.kernel import Choice, keep_choice
from workbench.rnn.packing.received import Received, receive
from workbench.rnn.step import swap_time

CORRUPT = ((8, 1, 0), (8, 9, 0))
"""First and last version of cuDNN that gave corrupt results under sequence lengths."""

MOST = 65_535
"""Steps, and examples, of one call: cuDNN has no kernel for more steps (pytorch #133751); for examples no number is
published, and with an older cuDNN a batch of 6,464 failed (tensorflow #39453)."""

_MODES = {keras.layers.LSTM: "lstm", keras.layers.GRU: "gru"}
# cuDNN's i, f, c, o of Keras' i, f, c, o; its r, z, n of Keras' z, r, n
_GATES = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}


def cudnn_rnn(
    cell: Any,
    inputs: Any,
    sequence_length: Any = None,
    *,
    initial_state: Any = None,
    training: bool = False,
    time_major: bool = False,
    go_backwards: bool = False,
) -> tuple[Any, Any]:
    """Runs an LSTM, a GRU with `reset_after`, or a MultiRNNCell of such, in one call of cuDNN's.

    Arguments and results are `dynamic_rnn`'s, and so are the numbers up to rounding. `go_backwards` runs each
    example's valid part from its end; outputs stand in the order of the inputs.

    Raises RuntimeError where TensorFlow sees no GPU, or cuDNN is of a version that gave corrupt results under
    lengths; ValueError for a cell that cuDNN does not have, inside an outer jit_compile, where ops are to be
    deterministic, and for more steps or examples than MOST (InvalidArgumentError where these are not known while
    tracing).

    Source: cuDNN, https://docs.nvidia.com/deeplearning/cudnn/.
    """
    _refuse_here()
    check_machine(lengths=sequence_length is not None)
    layers = _layers(cell)
    got = receive(cell, inputs, sequence_length, initial_state, training, time_major, go_backwards)
    given = got.lengths if sequence_length is not None else None
    vectors = reverse_valid(got.inputs, given) if go_backwards else got.inputs
    states = got.states if isinstance(cell, MultiRNNCell) else [got.states]
    known = known_lengths(sequence_length)
    outputs, finals = _call([[layer] for layer in layers], vectors, given, [[s] for s in states], known)
    outputs = reverse_valid(outputs, given) if go_backwards else outputs
    finals = [final for (final,) in finals]
    outputs, finals = got.shaped(outputs, finals if isinstance(cell, MultiRNNCell) else finals[0])
    return (swap_time(outputs) if time_major else outputs), finals


def cudnn_both_ways(
    cells_fw: Sequence[Any],
    cells_bw: Sequence[Any],
    inputs: Any,
    sequence_length: Any = None,
    *,
    initial_states_fw: Sequence[Any] | None = None,
    initial_states_bw: Sequence[Any] | None = None,
    training: bool = False,
    time_major: bool = False,
) -> tuple[tf.Tensor, tuple[list[Any], list[Any]]]:
    """`stacked_bidirectional_rnn` in one call: layers of two directions, each reading both of the one below."""
    _refuse_here()
    check_machine(lengths=sequence_length is not None)
    pairs = [[_single(fw), _single(bw)] for fw, bw in zip(cells_fw, cells_bw, strict=True)]
    got = [
        _receive_pair(pairs, layer, inputs, sequence_length, initial, training, time_major)
        for layer, initial in enumerate(
            zip(
                initial_states_fw or [None] * len(pairs),
                initial_states_bw or [None] * len(pairs),
                strict=True,
            )
        )
    ]
    first = got[0][0]
    given = first.lengths if sequence_length is not None else None
    states = [[one.states for one in pair] for pair in got]
    outputs, finals = _call(pairs, first.inputs, given, states, known_lengths(sequence_length))
    outputs = tf.ensure_shape(outputs, [*first.first.shape[:2], outputs.shape[-1]])
    outputs = swap_time(outputs) if time_major else outputs
    return outputs, ([fw for fw, _ in finals], [bw for _, bw in finals])


def _receive_pair(
    pairs: list[list[Any]],
    layer: int,
    inputs: Any,
    lengths: Any,
    initial: tuple[Any, Any],
    training: bool,
    time_major: bool,
) -> list[Received]:
    """Checks and builds a layer's two cells; above the first, for inputs as wide as both below put out."""
    if layer:
        below = sum(cell.output_size for cell in pairs[layer - 1])
        inputs = tf.zeros([*tf.unstack(tf.shape(tf.convert_to_tensor(inputs)))[:2], below])
    got = []
    for way, cell, state in zip(("fw", "bw"), pairs[layer], initial, strict=True):
        with renamed({"initial_state": f"initial_states_{way}[{layer}]"}):
            got.append(receive(cell, inputs, lengths, state, training, time_major, False))
    return got


def _call(
    layers: Sequence[Sequence[Any]],
    inputs: tf.Tensor,
    lengths: tf.Tensor | None,
    states: Sequence[Sequence[Any]],
    known: set[int] | None,
) -> tuple[tf.Tensor, list[list[Any]]]:
    """Layers of one or two directions each: outputs [B, T, units * directions], and final states nested alike.

    `known` are the lengths that there are, if they are known while tracing.
    """
    forms = [[_form(cell) for cell in layer] for layer in layers]
    mode, units = _MODES[forms[0][0].layer], layers[0][0].units
    kinds = {
        f"{form.layer.__name__} of {cell.units}, {cell.compute_dtype}"
        for cells, row in zip(layers, forms, strict=True)
        for cell, form in zip(cells, row, strict=True)
    }
    if len(kinds) > 1:
        raise ValueError(
            "cuDNN runs layers and directions of one kind, size and dtype in one call, not "
            f"{' and '.join(sorted(kinds))}: take rnn=packed."
        )
    time_steps = tf.shape(inputs)[1]
    if lengths is None and inputs.shape[1] == 0:
        lengths = tf.zeros(tf.shape(inputs)[:1], tf.int32)
    seen, steps = None, time_steps
    full = True if lengths is None else None if known is None else len(known) <= 1
    if lengths is not None:
        seen = tf.maximum(lengths, 1)
        steps = tf.reduce_max(tf.concat([seen, [1]], 0))
        inputs = zero_past_end(inputs, lengths)
        inputs = tf.pad(inputs, [[0, 0], [0, tf.maximum(1 - time_steps, 0)], [0, 0]])[:, :steps]
    how = {True: "all lengths equal", False: "lengths that differ", None: "lengths as they come"}[full]
    choice = Choice("CudnnRNNV3", f"{how}, {len(layers)} layers and {len(layers[0])} directions in one call")
    for cell in (cell for layer in layers for cell in layer):
        keep_choice(cell, choice)
    flat = [state for row in states for state in row]  # layer by layer, forward before backward
    h, c = (
        tf.stack([s[i] for s in flat], 1) if i < len(flat[0]) else tf.zeros([], inputs.dtype) for i in (0, 1)
    )
    params = pack_params([form for row in forms for form in row], mode)
    with tf.control_dependencies(check_size(inputs, steps)):
        run = partial(run_op, inputs, h, c, params, mode=mode, units=units, directions=len(layers[0]))
        outputs, h, c = _as_lengths_are(full, seen, run)
    parts = [h, c] if mode == "lstm" else [h]
    after = [
        list(state) for state in zip(*(tf.unstack(part, len(flat), axis=1) for part in parts), strict=True)
    ]
    if lengths is not None:
        outputs = zero_past_end(outputs, lengths)
        outputs = tf.pad(outputs, [[0, 0], [0, tf.maximum(time_steps - steps, 0)], [0, 0]])[:, :time_steps]
        after = [copy_state(lengths > 0, new, old) for new, old in zip(after, flat, strict=True)]
    wide = len(layers[0])
    return outputs, [after[i : i + wide] for i in range(0, len(after), wide)]


def known_lengths(lengths: Any) -> set[int] | None:
    """Which lengths there are, where the host knows it while tracing; None where it does not."""
    known = None if lengths is None else tf.get_static_value(tf.convert_to_tensor(lengths))
    return None if known is None else set(known.tolist())


def _as_lengths_are(full: bool | None, lengths: Any, run: Callable[..., Any]) -> Any:
    """Without lengths where all are equal; where that shows at run time only, the host looks, as the op would."""
    if full is None:
        with tf.device("CPU:0"):
            equal = tf.reduce_all(lengths == lengths[:1])
        return tf.cond(equal, partial(run, lengths=None), partial(run, lengths=lengths))
    return run(lengths=None if full else lengths)


def check_size(inputs: tf.Tensor, steps: Any) -> list[tf.Operation]:
    """Refuses what is larger than cuDNN takes: now, or before the call where its size is not known yet."""
    checks = []
    for number, what in ((steps, "steps"), (tf.shape(inputs)[0], "examples")):
        message = f"cuDNN takes at most {MOST} {what} in one call: take rnn=packed"
        known = tf.get_static_value(number)
        if known is None:
            checks.append(tf.debugging.assert_less_equal(number, MOST, message))
        elif known > MOST:
            raise ValueError(f"{message}, or fewer than these {known}.")
    return checks


def run_op(
    inputs: tf.Tensor,
    h: tf.Tensor,
    c: tf.Tensor,
    params: tf.Tensor,
    lengths: tf.Tensor | None,
    *,
    mode: str,
    units: int,
    directions: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The op: inputs [B, T, D], h and c [B, layers * directions, units]; lengths [B] from 1 to T, None for T."""
    options = {
        "params": params,
        "rnn_mode": mode,
        "direction": "bidirectional" if directions == 2 else "unidirectional",
        "is_training": True,  # keeps what the gradient reads; there is no dropout in it
    }
    if lengths is None:
        lengths = tf.fill(tf.shape(inputs)[:1], tf.shape(inputs)[1])
    of_lstm = swap_time if mode == "lstm" else tf.identity  # a GRU has no c
    outputs, h, c, *_ = tf.raw_ops.CudnnRNNV3(
        input=swap_time(inputs),
        input_h=swap_time(h),
        input_c=of_lstm(c),
        sequence_lengths=lengths,
        time_major=True,
        **options,
    )
    outputs, h, c = swap_time(outputs), swap_time(h), of_lstm(c)
    return tf.ensure_shape(outputs, [*inputs.shape[:2], units * directions]), h, c


def pack_params(forms: Sequence[KerasForm], mode: str) -> tf.Tensor:
    """Weights of all layers and directions in cuDNN's canonical order, one flat vector.

    For each of them the gates' input matrices [units, D], then the recurrent ones [units, units]; after all
    matrices, for each of them the gates' input biases, then the recurrent ones.
    """
    order = _GATES[mode]
    matrices, biases = [], []
    for form in forms:
        for name in ("kernel", "recurrent_kernel"):
            parts = tf.split(form.weights[name], len(order), axis=1)
            matrices += [tf.reshape(tf.transpose(parts[gate]), [-1]) for gate in order]
        bias = form.weights["bias"]
        pair = tf.unstack(bias) if mode == "gru" else [tf.zeros_like(bias), bias]  # an LSTM has but one
        for one in pair:
            parts = tf.split(one, len(order))
            biases += [parts[gate] for gate in order]
    return tf.concat([*matrices, *biases], 0)


def check_machine(*, lengths: bool = True, asked: str = "rnn=cudnn") -> None:
    """Refuses in words, before anything runs, a machine on which what was `asked` cannot run rightly."""
    # the visible ones: to ask for logical ones would start the runtime, before a strategy may
    if not tf.config.get_visible_devices("GPU"):
        raise RuntimeError(
            f"{asked}: runs on a GPU only, and TensorFlow sees none (or training.device=cpu hides it); take "
            "rnn=packed, or rnn=keras with rnn.use_cudnn=null."
        )
    wrong = _wrong_version(cudnn_version(), tf.sysconfig.get_build_info().get("cudnn_version"))
    if lengths and wrong:
        raise RuntimeError(
            f"{asked}: under sequence lengths, {wrong}. cuDNN {_shown(CORRUPT[0])} to {_shown(CORRUPT[1])} gave "
            "corrupt results there: install cuDNN 8.9.1 or later, or take rnn=packed."
        )


def _refuse_here() -> None:
    if inside_jit():
        raise ValueError(
            "rnn=cudnn cannot run inside an outer jit_compile, as XLA does not have cuDNN's op: take rnn=packed, "
            "or leave jit_compile away."
        )
    if deterministic():
        raise ValueError(
            "rnn=cudnn gives no equal bits twice: the gradient of CudnnRNNV3 is not deterministic (tensorflow "
            "#59281). Take rnn=packed, or training.deterministic=false."
        )


def deterministic() -> bool:
    """Whether TensorFlow's ops are to be deterministic (`tf.config.experimental.enable_op_determinism`).

    TensorFlow tells by a private function only; where that is gone the answer is no, and
    tests/rnn/test_cudnn.py notices.
    """
    try:
        from tensorflow.python.framework.config import is_op_determinism_enabled
    except ImportError:
        return False
    return bool(is_op_determinism_enabled())


def _wrong_version(loaded: str | None, built: str | None) -> str | None:
    """What is wrong with the cuDNN that is loaded; where it cannot be asked, with that it was built against."""
    if loaded is None:  # a library of another major version cannot be loaded
        major = int((built or "0").split(".")[0])
        return None if major >= 9 else f"the version of cuDNN cannot be asked (built against {built})"
    version = tuple(int(part) for part in loaded.split("."))
    return f"cuDNN {loaded} is loaded" if CORRUPT[0] <= version <= CORRUPT[1] else None


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _layers(cell: Any) -> list[Any]:
    return [_single(one) for one in cell.cells] if isinstance(cell, MultiRNNCell) else [_single(cell)]


def _single(cell: Any) -> Any:
    """The cell, if it may be one that cuDNN has (its form is known once it is built)."""
    if not isinstance(cell, Cell) or not hasattr(cell, "units"):
        raise ValueError(_refused(cell))
    return cell


def _form(cell: Any) -> KerasForm:
    form = keras_form_of(cell)
    if form is None or missing_for_cudnn(form):
        raise ValueError(_refused(cell))
    return form


def missing_for_cudnn(form: KerasForm | None) -> str | None:
    """What cuDNN lacks of a cell, in words that follow its name; None where it has all."""
    if form is None or form.layer not in _MODES:
        return "is not a cell that Keras runs on cuDNN"
    if form.options["activation"] is not keras.activations.tanh or not form.options.get("reset_after", True):
        return "has an option that cuDNN lacks"
    if form.weights["kernel"].dtype not in (tf.float16, tf.float32, tf.float64):
        return "computes in a dtype that cuDNN lacks"
    return None


def _refused(cell: Any) -> str:
    return (
        f"cuDNN does not have {type(cell).__name__} {getattr(cell, 'name', '')} as it is: it has the LSTM without "
        "options and the GRU with reset_after=True, with tanh, unwrapped, in float16, float32 or float64. Take "
        "rnn=packed or rnn=keras."
    )
