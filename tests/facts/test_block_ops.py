"""What the block cells lean on: TensorFlow's raw ops, held against their equations in float64."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

B, D, H, T = 3, 5, 4, 6
BOUND = 0.3  # of a cell's memory: small enough that it acts


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def draw():
    random = np.random.default_rng(0)
    return lambda *shape: random.normal(size=shape).astype("float32")


def lstm(x, c, h, w, peepholes, b, order, forget_bias, clip):
    """One step with the op's own gate order; new c and h."""
    gate = dict(zip(order, np.split(np.concatenate([x, h], 1) @ w + b, 4, 1), strict=True))
    i = sigmoid(gate["i"] + peepholes[0] * c)
    f = sigmoid(gate["f"] + forget_bias + peepholes[1] * c)
    c = f * c + i * np.tanh(gate["c"])
    c = np.clip(c, -clip, clip) if clip > 0 else c
    return c, sigmoid(gate["o"] + peepholes[2] * c) * np.tanh(c)


@pytest.mark.parametrize("clip", [-1.0, BOUND])
@pytest.mark.parametrize("peephole", [False, True])
def test_the_lstm_step_has_its_gates_in_the_order_i_c_f_o(draw, peephole, clip):
    x, c, h, w, b = draw(B, D), draw(B, H), draw(B, H), draw(D + H, 4 * H), draw(4 * H)
    wci, wcf, wco = draw(H), draw(H), draw(H)
    out = tf.raw_ops.LSTMBlockCell(
        x=x, cs_prev=c, h_prev=h, w=w, wci=wci, wcf=wcf, wco=wco, b=b,
        forget_bias=0.5, cell_clip=clip, use_peephole=peephole,
    )  # fmt: skip
    peepholes = (wci, wcf, wco) if peephole else (0, 0, 0)
    expected = lstm(*(a.astype("float64") for a in (x, c, h, w)), peepholes, b, "icfo", 0.5, clip)
    np.testing.assert_allclose(out.cs, expected[0], atol=1e-6)
    np.testing.assert_allclose(out.h, expected[1], atol=1e-6)


@pytest.mark.parametrize("clip", [0.0, BOUND])
def test_the_lstm_over_time_has_its_gates_in_the_order_i_f_c_o_and_no_forget_bias(draw, clip):
    x, c, h, w, b = draw(T, B, D), draw(B, H), draw(B, H), draw(D + H, 4 * H), draw(4 * H)
    peepholes = [draw(H), draw(H), draw(H)]
    out = tf.raw_ops.BlockLSTMV2(
        seq_len_max=np.int64(T - 2), x=x, cs_prev=c, h_prev=h, w=w, wci=peepholes[0], wcf=peepholes[1],
        wco=peepholes[2], b=b, cell_clip=clip, use_peephole=True,
    )  # fmt: skip
    for t in range(T - 2):
        c, h = lstm(x[t], c, h, w, peepholes, b, "ifco", 0.0, clip)
        np.testing.assert_allclose(out.cs[t], c, atol=1e-5)
        np.testing.assert_allclose(out.h[t], h, atol=1e-5)
    assert not np.any(out.h[T - 2 :])  # seq_len_max is the whole batch's, and what follows is zero


def test_the_gru_step_takes_r_and_u_in_this_order_and_u_keeps_the_state(draw):
    x, h = draw(B, D), draw(B, H)
    w_ru, w_c, b_ru, b_c = draw(D + H, 2 * H), draw(D + H, H), draw(2 * H), draw(H)
    out = tf.raw_ops.GRUBlockCell(x=x, h_prev=h, w_ru=w_ru, w_c=w_c, b_ru=b_ru, b_c=b_c)
    r, u = np.split(sigmoid(np.concatenate([x, h], 1).astype("float64") @ w_ru + b_ru), 2, 1)
    c = np.tanh(np.concatenate([x, r * h], 1) @ w_c + b_c)
    np.testing.assert_allclose(out.r, r, atol=1e-6)
    np.testing.assert_allclose(out.u, u, atol=1e-6)
    np.testing.assert_allclose(out.h, u * h + (1 - u) * c, atol=1e-6)


@pytest.mark.parametrize("name", ["LSTMBlockCell", "GRUBlockCell", "LSTMBlockCellGrad", "GRUBlockCellGrad"])
def test_the_ops_of_one_step_have_no_gradient_of_their_own(name):
    """Why the cells give them one; where TensorFlow has it, theirs can go."""
    with pytest.raises(LookupError):
        ops._gradient_registry.lookup(name)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_the_gru_step_has_a_kernel_for_float32_only(draw, dtype):
    given = {"x": draw(B, D), "h_prev": draw(B, H), "w_ru": draw(D + H, 2 * H), "w_c": draw(D + H, H)}
    given |= {"b_ru": draw(2 * H), "b_c": draw(H)}
    cast = {key: tf.cast(value, dtype) for key, value in given.items()}
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.NotFoundError, TypeError)):
        tf.raw_ops.GRUBlockCell(**cast)


@pytest.mark.parametrize("brought_inside", [False, True])
def test_a_gradient_of_ones_own_in_a_branch_sees_operands_of_outside_unless_they_are_brought_in(
    brought_inside,
):
    """Why block cells pass their operands through `inside`."""

    def doubled(x):
        @tf.custom_gradient
        def op(x):
            return 2 * x, lambda dy: dy * 2 * tf.ones_like(x)

        return op(tf.identity(x) if brought_inside else x)

    @tf.function(input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int32)], autograph=False)
    def run(x, lengths):
        with tf.GradientTape() as tape:
            tape.watch(x)
            state = x
            for t in range(2):

                def step(state=state, t=t):
                    return tf.where((t < lengths)[:, tf.newaxis], doubled(state), state)

                state = tf.cond(t < tf.reduce_max(lengths), step, lambda state=state: state)
            total = tf.reduce_sum(state)
        return tape.gradient(total, x)

    batch = tf.ones([3, 2]), tf.constant([2, 0, 1])
    if not brought_inside:
        with pytest.raises(tf.errors.InvalidArgumentError, match="You must feed a value for placeholder"):
            run(*batch)
    else:
        np.testing.assert_array_equal(run(*batch)[:, 0], [4, 1, 2])
