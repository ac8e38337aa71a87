import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

from workbench.losses import LOSSES, MASKS, class_weighted, cross_entropy

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


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "uint32"])
def test_targets_are_whole_numbers_of_any_width(dtype):
    assert loss("token", targets=TARGETS.astype(dtype)) == pytest.approx(loss("token"), rel=1e-12)


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


# ------------------------------------------------------------------ weights, against scikit-learn on the unpadded
WEIGHTS = np.array([0.0, 0.5, 1, 1, 2, 1, 3, 1, 1, 7])  # of classes
STEPS, SAMPLES = RANDOM.uniform(0, 2, (4, 8)), np.array([0.5, 2.0, 0.0, 1.0])


def flat(values):
    return np.concatenate([values[row, :n] for row, n in enumerate(LENGTHS)])


def expected(weights):
    scores = flat(LOGITS)
    chances = np.exp(scores - scores.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    return log_loss(flat(TARGETS), chances, sample_weight=flat(weights), labels=range(10))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_weights_of_classes_steps_and_examples(size):
    """Whatever the batch size: sums and denominators of batches are added."""
    weights = WEIGHTS[TARGETS] * STEPS * SAMPLES[:, np.newaxis]
    total = denominator = 0.0
    for start in range(0, 4, size):
        part = slice(start, start + size)
        longest = LENGTHS[part].max()
        targets = TARGETS[part, :longest]
        mask = tf.cast(MASKS["length"](targets, LENGTHS[part]), tf.float64) * STEPS[part, :longest]
        mask = class_weighted(mask, targets, WEIGHTS)
        parts = LOSSES["token"](LOGITS[part, :longest], targets, mask, SAMPLES[part])
        if int(parts.valid_tokens):
            total, denominator = total + float(parts.sum), denominator + float(parts.denominator)
    assert total / denominator == pytest.approx(expected(weights), rel=1e-12)


def test_weights_of_classes_within_each_example():
    mask = class_weighted(tf.cast(MASKS["length"](TARGETS, LENGTHS), tf.float64), TARGETS, WEIGHTS)
    parts = LOSSES["example"](LOGITS, TARGETS, mask, SAMPLES)
    weighed = [WEIGHTS[TARGETS[row, :n]] for row, n in enumerate(LENGTHS)]
    means = [np.average(own, weights=w) for own, w in zip(EXAMPLES, weighed, strict=True)]
    assert float(parts.sum / parts.denominator) == pytest.approx(
        np.average(means, weights=SAMPLES), rel=1e-12
    )
    assert int(parts.valid_tokens) == sum(np.count_nonzero(weighed[row]) for row in (0, 1, 3))


def test_a_weight_of_no_class_is_no_fault_where_nothing_counts():
    mask = class_weighted([[1.0, 0.0, 0.0]], [[9, -1, 300]], WEIGHTS)
    np.testing.assert_array_equal(mask, [[7, 0, 0]])
