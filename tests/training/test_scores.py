"""F1 and weighted losses against scikit-learn on the unpadded."""

from __future__ import annotations

import csv
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support
from sklearn.utils import compute_class_weight

from workbench.class_weights import resolved
from workbench.model import SequenceModel
from workbench.options.cell import SCHEMAS as CELLS
from workbench.options.loss import Loss
from workbench.options.model import Model
from workbench.options.optimizer import SCHEMAS
from workbench.options.rnn import SCHEMAS as RNNS
from workbench.options.training import Training
from workbench.training import F1, ClassCounts, Evaluator, batch_loss, make_train_step, train

CLASSES = 5


def drawn(seed: int, lengths: list[int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Labels [n], scores [n, C] and weights [n] of each example; class 4 is rare."""
    draw = np.random.default_rng(seed)
    chances = [0.4, 0.3, 0.2, 0.1, 0.0]
    return [
        (draw.choice(CLASSES, n, p=chances), draw.normal(size=(n, CLASSES)), draw.uniform(0, 3, n))
        for n in lengths
    ]


def padded(examples, width, fill):
    """Labels [B, T], scores [B, T, C], weights [B, T] and lengths [B], with anything past the ends."""
    draw = np.random.default_rng(1)
    lengths = np.array([len(labels) for labels, _, _ in examples])
    labels = np.full((len(examples), width), fill)
    scores, weights = draw.normal(size=(*labels.shape, CLASSES)), draw.uniform(0, 3, labels.shape)
    for row, (own, values, weigh) in enumerate(examples):
        labels[row, : len(own)], scores[row, : len(own)], weights[row, : len(own)] = own, values, weigh
    return labels, scores, weights, lengths


def batches(examples, size, longer, fill=0):
    for start in range(0, len(examples), size):
        some = examples[start : start + size]
        yield padded(some, max(len(labels) for labels, _, _ in some) + longer, fill)


def flat(examples):
    labels, scores, weights = (np.concatenate(parts) for parts in zip(*examples, strict=True))
    return labels, scores.argmax(-1), weights


MANY = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any)


@settings(max_examples=40, deadline=None)
@given(
    MANY,
    st.integers(0, 99),
    st.integers(1, 12),
    st.integers(0, 5),
    st.sampled_from([0, 4, -1]),
    st.booleans(),
)
def test_f1_is_scikit_learns_on_the_unpadded(lengths, seed, size, longer, fill, weighed):
    examples = drawn(seed, lengths)
    labels, guesses, weights = flat(examples)
    counts, metric = ClassCounts.none(CLASSES), F1(CLASSES)
    each = F1(CLASSES, average=None)
    for true, scores, weigh, ends in batches(examples, size, longer, fill):
        given_weights = weigh if weighed else None
        counts += ClassCounts.of(scores.argmax(-1), true, ends, classes=CLASSES, weights=given_weights)
        valid = (np.arange(true.shape[1]) < ends[:, np.newaxis]) * (weigh if weighed else 1.0)
        for one in (metric, each):
            one.update_state(true, scores, valid)
    options = {"sample_weight": weights if weighed else None, "zero_division": 0}
    right = precision_recall_fscore_support(labels, guesses, labels=range(CLASSES), **options)
    for ours, expected in zip((counts.precision(), counts.recall(), counts.f1()), right[:3], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
    macro = f1_score(labels, guesses, average="macro", **options)
    assert counts.macro_f1() == pytest.approx(macro, rel=1e-12)
    assert float(metric.result()) == pytest.approx(macro, rel=1e-12)
    np.testing.assert_allclose(each.result(), right[2], rtol=1e-12)


def test_weights_of_examples_count_for_each_of_their_steps():
    examples = drawn(3, [4, 2, 7])
    labels, guesses, _ = flat(examples)
    of_examples = np.array([0.5, 0.0, 2.0])
    true, scores, _, ends = next(batches(examples, 3, 2))
    counts = ClassCounts.of(scores.argmax(-1), true, ends, classes=CLASSES, weights=of_examples)
    weights = np.repeat(of_examples, ends)
    assert counts.macro_f1() == pytest.approx(
        f1_score(labels, guesses, average="macro", sample_weight=weights, zero_division=0)
    )


def test_scores_that_are_not_numbers_are_no_class():
    scores = tf.constant([[[9.0, 0.0], [math.nan, 0.0]]])
    metric = F1(2, average=None)
    metric.update_state([[0, 0]], scores)
    np.testing.assert_allclose(metric.result(), [2 / 3, 0])


def test_nothing_has_no_f1():
    assert ClassCounts.none(3).macro_f1() is None
    assert float(F1(3).result()) == 0


def test_the_table_names_the_classes_that_occur(tmp_path):
    counts = ClassCounts.of([[0, 2, 0]], [[0, 0, 1]], [2], classes=4)
    counts.write(tmp_path / "classes.csv", ["NOUN", "VERB", "a,b", "X"])
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == ["NOUN", "a,b"]
    assert rows[0] == {
        "class": "NOUN", "precision": "1.000000", "recall": "0.500000", "f1": "0.666667",
        "labels": "2", "predictions": "1",
    }  # fmt: skip


@pytest.mark.slow  # quick: scikit-learn's F1
def test_in_keras_fit_the_masks_steps_count():
    """By Keras' own mask, in `metrics`; of a batch size that splits the set unevenly."""
    model = keras.Sequential(
        [
            keras.layers.Embedding(9, CLASSES, mask_zero=True),
            keras.layers.LSTM(CLASSES, return_sequences=True),
        ]
    )
    ids = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 1]])
    labels = np.array([[0, 1, 2, 3], [1, 1, 4, 4], [2, 3, 4, 0]])
    model.compile(loss="sparse_categorical_crossentropy", metrics=[F1(CLASSES)])
    found = model.evaluate(ids, labels, batch_size=2, verbose=0, return_dict=True)["f1"]
    guesses = model.predict(ids, verbose=0).argmax(-1)
    assert found == pytest.approx(
        f1_score(labels[ids > 0], guesses[ids > 0], average="macro", zero_division=0)
    )


@pytest.mark.parametrize(
    ("wrong", "words"), [({"classes": 0}, "classes is 0"), ({"average": "micro"}, "average is")]
)
def test_wrong_options_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        F1(**{"classes": 3, **wrong})


def test_scores_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="scores are of 2 classes, F1 of 3"):
        F1(3).update_state([[0]], [[[0.0, 1.0]]])


def test_it_is_saved_with_its_model():
    metric = F1.from_config(F1(3, average=None, name="mine").get_config())
    assert (metric.classes, metric.average, metric.name) == (3, None, "mine")


# ------------------------------------------------------------------ class weights of a run
LABELS = ["NOUN", "VERB", "X"]


def weights(given, counts=(6, 3, 0)):
    return resolved(Loss("length", class_weights=given), LABELS, counts).class_weights


def test_class_weights_in_the_order_of_classes():
    assert weights({"X": 0.5, "NOUN": 2}) == [2.0, 1.0, 0.5]
    assert weights([1, 2, 3]) == [1.0, 2.0, 3.0]
    labels = np.repeat([0, 1], [6, 3])
    balanced = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert weights("balanced") == [*balanced, 1.0]
    assert resolved(Loss("length"), LABELS, (1, 1, 1)) == Loss("length")


def test_weights_that_are_not_resolved_are_refused():
    with pytest.raises(ValueError, match="no list of a weight a class yet"):
        batch_loss(
            SimpleNamespace(task="tag"),
            {"labels": tf.zeros([1, 1], tf.int32), "length": [1]},
            tf.zeros([1, 1, 2]),
            Loss("length", class_weights="balanced"),
        )


def test_large_counts_keep_their_digits(tmp_path):
    ClassCounts(*np.full((3, 1), 1_234_567.0)).write(tmp_path / "classes.csv")
    assert (tmp_path / "classes.csv").read_text().splitlines()[
        1
    ] == "0,1.000000,1.000000,1.000000,1234567,1234567"


@pytest.mark.parametrize(
    ("given", "counts", "words"),
    [
        ({"NOUN": 0, "VERB": 0, "X": 0}, (1, 1, 1), "all are 0"),
        (
            {"NOUM": 2},
            (1, 1, 1),
            "NOUM is no label of this data set; must be one of NOUN, VERB, X; did you mean NOUN",
        ),
        ([1.0, 2.0], (1, 1, 1), "2 numbers for 3 classes"),
        ("balanced", (), "does not count its labels"),
    ],
)
def test_class_weights_that_do_not_fit_the_labels_are_refused(given, counts, words):
    with pytest.raises(ValueError, match=words):
        weights(given, counts)


@pytest.mark.slow  # quick: the weighted losses of tests/losses
def test_a_weighted_loss_moves_training_towards_the_class(toy):
    """Where class 0 is worth nothing, nothing of it is learnt."""
    model = SequenceModel(
        CELLS["basic_rnn"]("basic_rnn", 4), RNNS["dynamic"]("dynamic", True, "forward"), Model(embedding_size=4),
        task="tag", classes=2, vocabulary_size=10,
    )  # fmt: skip
    step = make_train_step(model, SCHEMAS["adam"]("adam", 0.05), Loss("length", class_weights=[0.0, 1.0]))
    train(step, toy, Training(epochs=4))
    guesses = tf.argmax(model(toy(0)[0]), -1).numpy()
    assert (guesses == 1).all()


def test_a_model_of_the_next_token_has_a_perplexity_and_no_f1(toy):
    """The mean over all tokens, so that neither padding nor the batch size has a say; a tagger has none."""
    found = {}
    for task in ("tag", "next"):
        model = SequenceModel(
            CELLS["basic_rnn"]("basic_rnn", 4), RNNS["dynamic"]("dynamic", True, "forward"),
            Model(embedding_size=4), task=task, classes=10, vocabulary_size=10,
        )  # fmt: skip
        evaluation = Evaluator(model, Loss("length"))(toy())
        found[task] = evaluation.metrics("validation")
        assert evaluation.loss_per_token > 1
    assert found["next"]["f1/validation_macro"] is None
    assert found["next"]["perplexity/validation"] == pytest.approx(
        math.exp(found["next"]["loss/validation_per_token"]), rel=1e-12
    )
    assert found["tag"]["perplexity/validation"] is None
    assert found["tag"]["f1/validation_macro"] >= 0


@pytest.mark.parametrize("average", ["token", "example"])
def test_class_weights_weigh_examples_that_have_one_label(average):
    """Within its example a weight is divided out again, so that of the mean over examples it weighs the example."""
    draw = np.random.default_rng(0)
    model = SequenceModel(
        CELLS["lstm"]("lstm", 4), RNNS["dynamic"]("dynamic", True, "forward"), Model(embedding_size=4),
        task="classify", classes=3, vocabulary_size=9, seed=0,
    )  # fmt: skip
    labels, weights = np.array([0, 1, 2, 1]), [1.0, 5.0, 0.0]
    batch = {"inputs": draw.integers(1, 9, (4, 6)), "length": np.array([6, 3, 2, 1]), "labels": labels}
    logits = model(batch)
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits).numpy()
    own = np.array(weights)[labels]
    parts = batch_loss(model, batch, logits, Loss("length", average, class_weights=weights))
    assert float(parts.sum / parts.denominator) == pytest.approx((own * each).sum() / own.sum(), rel=1e-6)


def test_a_class_that_is_ruled_out_and_a_label_that_is_none():
    scores = np.array(
        [[[0.0, -np.inf, 1.0], [2.0, -np.inf, -np.inf], [0.0, 1.0, 0.0], [np.nan, 0.0, 0.0]]], "float32"
    )
    metric = F1(3, average=None)
    metric.update_state([[2, 0, -1, 1]], scores)
    np.testing.assert_allclose(metric.result(), [1.0, 0.0, 1.0])
