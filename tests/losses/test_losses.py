import numpy as np
import pytest
import tensorflow as tf

from workbench.losses import LOSSES, MASKS, cross_entropy

LENGTHS = np.array([1, 2, 3, 8])  # the guide's own batch: B=4, T=8, 10 classes
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(4, 8, 10))
TARGETS = RANDOM.integers(0, 10, (4, 8)).astype("int32")


def loss(kind, logits=LOGITS, targets=TARGETS, mask=None):
    parts = LOSSES[kind](logits, targets, MASKS["length"](targets, LENGTHS) if mask is None else mask)
    return float(parts.sum / parts.denominator)


def by_hand(row, t):
    """-log softmax, in plain NumPy."""
    z = LOGITS[row, t]
    return np.log(np.exp(z).sum()) - z[TARGETS[row, t]]


EXAMPLES = [[by_hand(row, t) for t in range(n)] for row, n in enumerate(LENGTHS)]


def test_cross_entropy():
    np.testing.assert_allclose(cross_entropy(LOGITS, TARGETS)[3], EXAMPLES[3], rtol=1e-12)


def test_token_weighs_tokens_and_example_weighs_examples():
    assert loss("token") == pytest.approx(np.mean(np.concatenate(EXAMPLES)), rel=1e-12)
    assert loss("example") == pytest.approx(np.mean([np.mean(e) for e in EXAMPLES]), rel=1e-12)


@pytest.mark.parametrize("kind", LOSSES)
def test_masked_loss_is_the_loss_of_each_example_alone(kind):
    total, weight = 0.0, 0.0
    for row, n in enumerate(LENGTHS):
        parts = LOSSES[kind](LOGITS[row : row + 1, :n], TARGETS[row : row + 1, :n], np.ones((1, n)))
        total, weight = total + float(parts.sum), weight + float(parts.denominator)
    assert loss(kind) == pytest.approx(total / weight, rel=1e-12)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("content", [np.nan, np.inf, 1e30])
def test_padding_reaches_neither_loss_nor_gradient(kind, content):
    dirty, targets = LOGITS.copy(), TARGETS.copy()
    for row, n in enumerate(LENGTHS):
        dirty[row, n:], targets[row, n:] = content, -1
    mask = MASKS["length"](targets, LENGTHS)
    dirty = tf.constant(dirty)
    with tf.GradientTape() as tape:
        tape.watch(dirty)
        parts = LOSSES[kind](dirty, targets, mask)
        total = parts.sum / parts.denominator
    gradient = tape.gradient(total, dirty).numpy()
    assert float(total) == pytest.approx(loss(kind), rel=1e-12)
    assert np.all(np.isfinite(gradient))
    assert not np.any(gradient[mask.numpy() == 0])
    assert np.all(np.any(gradient != 0, -1)[mask.numpy() == 1])


@pytest.mark.parametrize("kind", LOSSES)
def test_nothing_valid_is_a_loss_of_zero(kind):
    parts = LOSSES[kind](LOGITS, TARGETS, np.zeros((4, 8)))
    assert float(parts.sum / parts.denominator) == 0.0
    assert int(parts.valid_tokens) == 0


@pytest.mark.parametrize(
    ("mask", "tokens"), [("length", 14), ("sign", np.count_nonzero(TARGETS)), ("none", 32)]
)
def test_valid_tokens_counts_what_the_mask_lets_through(mask, tokens):
    parts = LOSSES["token"](LOGITS, TARGETS, MASKS[mask](TARGETS, LENGTHS))
    assert int(parts.valid_tokens) == tokens
    assert float(parts.denominator) == tokens


def test_an_empty_example_has_no_weight_in_the_mean_of_examples():
    mask = MASKS["length"](TARGETS, [1, 2, 0, 8])
    expected = np.mean([np.mean(EXAMPLES[row]) for row in (0, 1, 3)])
    assert loss("example", mask=mask) == pytest.approx(expected, rel=1e-12)


def test_sign_mask_loses_class_zero():
    """The guide's warning: with class 0 in use, sign(y) drops valid tokens."""
    targets = np.array([[0, 1, 0, 0]])
    assert MASKS["sign"](targets, [3]).numpy().tolist() == [[0, 1, 0, 0]]
    assert MASKS["length"](targets, [3]).numpy().tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize("kind", LOSSES)
def test_inside_a_function_and_in_float16(kind):
    mask = MASKS["length"](TARGETS, LENGTHS)
    parts = tf.function(LOSSES[kind])(tf.constant(LOGITS, tf.float16), TARGETS, mask)
    assert parts.sum.dtype == parts.denominator.dtype == tf.float32
    assert float(parts.sum / parts.denominator) == pytest.approx(loss(kind), rel=1e-2)


@pytest.mark.parametrize("kind", LOSSES)
def test_half_precision_counts_rightly(kind):
    """4,099 tokens are no number of a half, and their losses together are over its largest."""
    logits = tf.fill([1, 4099, 2], tf.constant(0, tf.float16)) + tf.constant([0, 30], tf.float16)
    parts = LOSSES[kind](logits, tf.zeros([1, 4099], tf.int32), tf.ones([1, 4099]))
    assert float(parts.sum / parts.denominator) == pytest.approx(30, rel=1e-3)
    assert int(parts.valid_tokens) == 4099
