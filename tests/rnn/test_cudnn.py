"""cuDNN's runner without cuDNN: its op replaced by what the op is documented to do; and the op, where a GPU is."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as private

from tests.alone import run_alone
from workbench.cells import CELLS, WRAPPERS
from workbench.rnn import bidirectional_rnn, cudnn, cudnn_rnn, kernels_of, stacked_bidirectional_rnn
from workbench.rnn.dynamic import dynamic_rnn

LENGTHS = [3, 0, 5, 1]
INPUTS = np.random.default_rng(0).normal(size=(4, 7, 2))
for _row, _length in enumerate(LENGTHS):
    INPUTS[_row, _length:] = np.nan
SEEN = []
CALLED = []


def sigmoid(x):
    return 1 / (1 + tf.exp(-x))


def unpacked(params, mode, widths, units):
    """cuDNN's canonical order: all matrices [units, n] of each layer and direction, then all biases."""
    gates, at, layers = {"lstm": 4, "gru": 3}[mode], 0, []
    for width in widths:
        matrices = []
        for n in [width] * gates + [units] * gates:
            matrices.append(tf.reshape(params[at : at + units * n], [units, n]))
            at += units * n
        layers.append([matrices])
    for layer in layers:
        layer.append([params[at + i * units : at + (i + 1) * units] for i in range(2 * gates)])
        at += 2 * gates * units
    assert at == params.shape[0]
    return layers


def one_step(mode, matrices, biases, x, h, c):
    half = len(matrices) // 2
    from_x = [x @ tf.transpose(w) + b for w, b in zip(matrices[:half], biases[:half], strict=True)]
    from_h = [h @ tf.transpose(w) + b for w, b in zip(matrices[half:], biases[half:], strict=True)]
    if mode == "lstm":
        i, f, g, o = (a + b for a, b in zip(from_x, from_h, strict=True))
        c = sigmoid(f) * c + sigmoid(i) * tf.tanh(g)
        return sigmoid(o) * tf.tanh(c), c
    r, z = (sigmoid(a + b) for a, b in zip(from_x[:2], from_h[:2], strict=True))
    n = tf.tanh(from_x[2] + r * from_h[2])
    return (1 - z) * n + z * h, c


def documented(inputs, h, c, params, lengths, *, mode, units, directions):
    """CudnnRNNV3 as documented, one example and one step at a time."""
    CALLED.append("equal" if lengths is None else "others")
    lengths = np.full(inputs.shape[0], inputs.shape[1]) if lengths is None else lengths.numpy()
    assert lengths.min() >= 1, "cuDNN takes no empty example"
    assert lengths.max() <= inputs.shape[1]
    assert np.all(np.isfinite(inputs))
    SEEN.append((h.shape[1] // directions, directions, inputs.shape[1]))
    widths = [inputs.shape[2] if i < directions else units * directions for i in range(h.shape[1])]
    last_h, last_c, collected = [], [], []
    for k, (matrices, biases) in enumerate(unpacked(params, mode, widths, units)):
        if k % directions == 0:
            below = tf.concat(collected, -1) if k else inputs
            collected = []
        rows, hs, cs = [], [], []
        for row, n in enumerate(lengths):
            now, memory = h[row : row + 1, k], None if mode == "gru" else c[row : row + 1, k]
            order = range(n)[::-1] if k % directions else range(n)
            outputs = {}
            for t in order:
                now, memory = one_step(mode, matrices, biases, below[row : row + 1, t], now, memory)
                outputs[t] = now[0]
            rest = [tf.zeros([units], inputs.dtype)] * (inputs.shape[1] - n)
            rows.append(tf.stack([outputs[t] for t in range(n)] + rest))
            hs.append(now[0])
            cs.append(now[0] if memory is None else memory[0])
        collected.append(tf.stack(rows))
        last_h.append(tf.stack(hs))
        last_c.append(tf.stack(cs))
    return tf.concat(collected, -1), tf.stack(last_h, 1), tf.stack(last_c, 1)


@pytest.fixture
def replaced(monkeypatch):
    monkeypatch.setattr(cudnn, "run_op", documented)
    monkeypatch.setattr(cudnn, "check_machine", lambda **_: None)
    assert cudnn.MOST == 65_535
    SEEN.clear()
    CALLED.clear()


def cell(kind):
    """Drawn weights: no two gates alike, or an exchange of them would not show."""
    made = CELLS[kind](3, dtype="float64", **({"reset_after": True} if kind == "gru" else {}))
    random = np.random.default_rng(0)
    made.bias_initializer = lambda shape, dtype=None: tf.constant(random.normal(size=shape), dtype)
    return made


def check_same(run, reference, cells, inputs=INPUTS):
    """Outputs, states and gradients of inputs and weights."""
    found = []
    for function in (run, reference):
        x = tf.constant(inputs)
        with tf.GradientTape() as tape:
            tape.watch(x)
            flat = tf.nest.flatten(function(x))
            flat = [tf.reshape(v, [-1]) for v in flat]
            total = tf.add_n(
                [tf.reduce_sum(v * tf.cos(tf.cast(tf.range(tf.size(v)), v.dtype))) for v in flat]
            )
        variables = [v.value for one in cells for v in one.trainable_variables]
        found.append([*flat, *tape.gradient(total, [x, *variables])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("replaced")
class TestAgainstTheOpAsDocumented:
    @pytest.mark.parametrize("kind", ["lstm", "gru"])
    def test_one_layer(self, kind):
        one = cell(kind)
        check_same(lambda x: cudnn_rnn(one, x, LENGTHS), lambda x: dynamic_rnn(one, x, LENGTHS), [one])
        assert SEEN == [(1, 1, 5)]  # cut to the batch's longest

    def test_without_lengths(self):
        one = cell("lstm")
        inputs = np.nan_to_num(INPUTS)
        check_same(lambda x: cudnn_rnn(one, x), lambda x: dynamic_rnn(one, x), [one], inputs)
        assert CALLED == ["equal"]

    @pytest.mark.parametrize(
        ("lengths", "called", "steps"),
        [([7] * 4, "equal", 7), ([4] * 4, "equal", 4), ([1, 0, 1, 0], "others", 1), (LENGTHS, "others", 5)],
        ids=["full", "equal", "some empty", "other"],
    )
    def test_equal_lengths_take_the_call_without_lengths(self, lengths, called, steps):
        """Whatever the padding behind them holds."""
        one, inputs = cell("gru"), np.nan_to_num(INPUTS)
        for row, length in enumerate(lengths):
            inputs[row, length:] = np.nan
        run = lambda x: cudnn_rnn(one, x, lengths)  # noqa: E731
        check_same(run, lambda x: dynamic_rnn(one, x, lengths), [one], inputs)
        assert [called] == CALLED
        assert [(1, 1, steps)] == SEEN

    def test_lengths_that_no_one_knows_while_tracing_are_looked_at_on_the_host(self, monkeypatch):
        """One graph holds both calls, and one of them runs."""

        def told(inputs, h, c, params, lengths, *, mode, units, directions):
            outputs = tf.zeros([*tf.unstack(tf.shape(inputs)[:2]), units], inputs.dtype)
            return outputs + (2.0 if lengths is None else 3.0) * tf.reduce_sum(params), h, c

        monkeypatch.setattr(cudnn, "run_op", told)
        one = cell("lstm")
        inputs = np.nan_to_num(INPUTS)
        one.build((None, 2))

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int32)])
        def run(lengths):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(cudnn_rnn(one, inputs, lengths)[0])
            return tape.gradient(total, one.bias.value)

        np.testing.assert_allclose(run([5] * 4), np.full(12, 2 * 4 * 5 * 3))
        np.testing.assert_allclose(run([5, 4, 5, 5]), np.full(12, 3 * 19 * 3))
        assert "lengths as they come" in kernels_of(one)[0].reason

    def test_more_than_cudnn_takes_is_refused_by_number(self, monkeypatch):
        monkeypatch.setattr(cudnn, "MOST", 3)
        with pytest.raises(ValueError, match=r"at most 3 steps in one call: .* fewer than these 5"):
            cudnn_rnn(cell("lstm"), INPUTS, LENGTHS)
        with pytest.raises(ValueError, match=r"at most 3 examples in one call: .* than these 4"):
            cudnn_rnn(cell("lstm"), INPUTS, [1] * 4)
        one = cell("lstm")
        one.build((None, 2))
        signature = [tf.TensorSpec([None, None, 2], tf.float64), tf.TensorSpec([None], tf.int32)]
        monkeypatch.setattr(
            cudnn,
            "run_op",
            lambda inputs, h, c, *_, **__: (inputs[:, :, :1] * tf.ones([3], tf.float64), h, c),
        )
        run = tf.function(lambda x, n: cudnn_rnn(one, x, n)[0], autograph=False, input_signature=signature)
        assert run(INPUTS[:3], [3, 2, 1]).shape == (3, 7, 3)
        with pytest.raises(tf.errors.InvalidArgumentError, match="at most 3 steps in one call"):
            run(INPUTS[:3], [4, 2, 1])
        with pytest.raises(tf.errors.InvalidArgumentError, match="at most 3 examples in one call"):
            run(INPUTS, [3] * 4)

    def test_ops_that_are_to_be_deterministic_are_refused_by_name(self, monkeypatch):
        monkeypatch.setattr(private, "is_op_determinism_enabled", lambda: True)
        with pytest.raises(ValueError, match="the gradient of CudnnRNNV3 is not deterministic"):
            cudnn_rnn(cell("lstm"), INPUTS, LENGTHS)

    @pytest.mark.parametrize("time", [0, 7])
    def test_only_empty_examples(self, time):
        one, state = cell("lstm"), [tf.ones([4, 3], tf.float64)] * 2
        outputs, (h, _) = cudnn_rnn(one, INPUTS[:, :time], [0] * 4, initial_state=state)
        assert outputs.shape == (4, time, 3)
        assert not np.any(outputs)
        np.testing.assert_array_equal(h, np.ones([4, 3]))

    def test_backwards(self):
        one = cell("gru")
        run = lambda x: cudnn_rnn(one, x, LENGTHS, go_backwards=True)  # noqa: E731
        reference = lambda x: tuple(  # noqa: E731
            part[1] for part in bidirectional_rnn(cell("gru"), one, x, LENGTHS, rnn="dynamic")
        )
        check_same(run, reference, [one])

    @pytest.mark.parametrize("kind", ["lstm", "gru"])
    def test_all_layers_of_a_stack_in_one_call(self, kind):
        stack = WRAPPERS["multi"]([cell(kind), cell(kind), cell(kind)])
        state = [[tf.random.normal([4, 3], dtype="float64")] * (2 if kind == "lstm" else 1)] * 3
        options = {"initial_state": state}
        check_same(
            lambda x: cudnn_rnn(stack, x, LENGTHS, **options),
            lambda x: dynamic_rnn(stack, x, LENGTHS, **options),
            [stack],
        )
        assert SEEN == [(3, 1, 5)]
        assert [choice.kernel for choice in kernels_of(stack)] == ["CudnnRNNV3"]

    @pytest.mark.covering(1)
    @pytest.mark.parametrize("time_major", [False, True])
    @pytest.mark.parametrize("kind", ["lstm", "gru"])
    def test_all_layers_of_both_directions_in_one_call(self, kind, time_major):
        forward, backward = [cell(kind) for _ in range(2)], [cell(kind) for _ in range(2)]

        def run(rnn):
            return lambda x: stacked_bidirectional_rnn(
                forward,
                backward,
                tf.transpose(x, [1, 0, 2]) if time_major else x,
                LENGTHS,
                rnn=rnn,
                time_major=time_major,
            )

        check_same(run("cudnn"), run("dynamic"), [*forward, *backward])
        assert SEEN == [(2, 2, 5)]

    def test_both_directions_in_one_call(self):
        pair = cell("lstm"), cell("lstm")
        run = lambda rnn: lambda x: bidirectional_rnn(*pair, x, LENGTHS, rnn=rnn)  # noqa: E731
        check_same(run("cudnn"), run("dynamic"), pair)
        assert SEEN == [(1, 2, 5)]

    def test_stacks_in_both_directions_each_in_one_call(self):
        pair = [WRAPPERS["multi"]([cell("gru"), cell("gru")]) for _ in range(2)]
        run = lambda rnn: lambda x: bidirectional_rnn(*pair, x, LENGTHS, rnn=rnn)  # noqa: E731
        check_same(run("cudnn"), run("dynamic"), pair)
        assert SEEN == [(2, 1, 5)] * 2

    @pytest.mark.parametrize(
        "make",
        [
            lambda: CELLS["lstm"](3, use_peepholes=True),
            lambda: CELLS["lstm"](3, num_proj=2),
            lambda: CELLS["lstm"](3, activation="relu"),
            lambda: CELLS["gru"](3),
            lambda: CELLS["ugrnn"](3),
            lambda: CELLS["lstm_block"](3),
            lambda: CELLS["lstm"](3, dtype="mixed_bfloat16"),
            lambda: WRAPPERS["residual"](CELLS["lstm"](2)),
            lambda: tf.keras.layers.LSTMCell(3),
        ],
    )
    def test_a_cell_that_cudnn_does_not_have_is_refused(self, make):
        with pytest.raises(ValueError, match=r"cuDNN does not have .* as it is"):
            cudnn_rnn(make(), INPUTS, LENGTHS)

    def test_layers_of_two_sizes_are_refused(self):
        stack = WRAPPERS["multi"]([CELLS["lstm"](3), CELLS["lstm"](4)])
        with pytest.raises(ValueError, match="not LSTM of 3, float32 and LSTM of 4, float32"):
            cudnn_rnn(stack, INPUTS, LENGTHS)


@pytest.mark.covering(1)
@pytest.mark.parametrize("lengths", [None, LENGTHS, [4] * 4])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_op_gets_its_states_as_it_reads_them(monkeypatch, kind, lengths):
    """As the source has it: cuDNN reads their memory as [layers * directions, B, units], whichever axis is time."""

    def op(input, input_h, input_c, params, sequence_lengths, rnn_mode, direction, time_major, **_):
        count, examples = input_h.shape[:2] if time_major else input_h.shape[1::-1]
        as_read = lambda s: tf.transpose(tf.reshape(s, [count, examples, 3]), [1, 0, 2])  # noqa: E731
        written = lambda s: tf.reshape(tf.transpose(s, [1, 0, 2]), input_h.shape)  # noqa: E731
        c = input_c if rnn_mode == "gru" else as_read(input_c)
        rows = tf.transpose(input, [1, 0, 2]) if time_major else input
        ways = 2 if direction == "bidirectional" else 1
        outputs, h, c = documented(
            rows, as_read(input_h), c, params, sequence_lengths, mode=rnn_mode, units=3, directions=ways
        )
        return tf.transpose(outputs, [1, 0, 2]) if time_major else outputs, written(h), written(c), None, None

    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", op)
    monkeypatch.setattr(cudnn, "check_machine", lambda **_: None)
    forward, backward = [cell(kind) for _ in range(2)], [cell(kind) for _ in range(2)]
    draw = np.random.default_rng(3)
    states = [[tf.constant(draw.normal(size=(4, 3))) for _ in range(1 + (kind == "lstm"))] for _ in range(4)]
    given = {"initial_states_fw": states[:2], "initial_states_bw": states[2:]}
    run = lambda rnn: lambda x: stacked_bidirectional_rnn(forward, backward, x, lengths, rnn=rnn, **given)  # noqa: E731
    inputs = np.nan_to_num(INPUTS)
    check_same(run("cudnn"), run("dynamic"), [*forward, *backward], inputs)


class TestTheMachineIsChecked:
    @pytest.mark.slow  # imports TensorFlow in a process; quick: the below
    def test_without_starting_tensorflow(self):
        """A strategy of several processes can be made before that alone."""
        code = (
            "from contextlib import suppress; from tensorflow.python.eager import context; "
            "from workbench.rnn import cudnn\n"
            "with suppress(RuntimeError): cudnn.check_machine()\n"
            "assert not context.context()._initialized"
        )
        run_alone(code)

    def test_no_gpu(self, monkeypatch):
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
        with pytest.raises(RuntimeError, match="runs on a GPU only, and TensorFlow sees none"):
            cudnn_rnn(CELLS["lstm"](3), INPUTS, LENGTHS)

    @pytest.mark.parametrize(
        ("loaded", "built", "wrong"),
        [
            ("8.0.5", "8", False),
            ("8.1.0", "8", True),
            ("8.9.0", "8", True),
            ("8.9.1", "8", False),
            ("9.10.2", "9", False),
            (None, "9", False),
            (None, "8", True),
            (None, None, True),
        ],
    )
    def test_versions_that_gave_corrupt_results(self, monkeypatch, loaded, built, wrong):
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU:0"])
        monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: {"cudnn_version": built})
        monkeypatch.setattr(cudnn, "cudnn_version", lambda: loaded)
        cudnn.check_machine(lengths=False)
        if not wrong:
            cudnn.check_machine()
            return
        with pytest.raises(RuntimeError, match=r"cuDNN 8\.1\.0 to 8\.9\.0 gave corrupt results there"):
            cudnn.check_machine()


@pytest.mark.gpu
@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="TensorFlow sees no GPU")
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_cudnn_itself(kind, layers):
    forward, backward = [cell(kind) for _ in range(layers)], [cell(kind) for _ in range(layers)]
    run = lambda rnn: lambda x: stacked_bidirectional_rnn(forward, backward, x, LENGTHS, rnn=rnn)  # noqa: E731
    check_same(run("cudnn"), run("dynamic"), [*forward, *backward])
