import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.masking import (
    copy_state,
    last_valid,
    reverse_valid,
    sequence_mask,
    valid_tokens,
    zero_past_end,
)

LENGTHS = [3, 0, 2]
lengths_and_batches = st.lists(st.integers(0, 5), min_size=1, max_size=4).map(
    lambda n: (n, np.arange(1.0, len(n) * 5 * 2 + 1).reshape(len(n), 5, 2))
)


def test_sequence_mask():
    np.testing.assert_array_equal(sequence_mask(LENGTHS, 4), [[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize("content", [np.nan, np.inf, 7.0])
def test_zero_past_end_whatever_was_there(content):
    outputs = tf.constant([[1.0, 2.0, 3.0], [content] * 3, [4.0, 5.0, content]])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        zeroed = zero_past_end(outputs, LENGTHS)
        loss = tf.reduce_sum(zeroed**2)
    np.testing.assert_array_equal(zeroed, [[1, 2, 3], [0, 0, 0], [4, 5, 0]])
    np.testing.assert_array_equal(tape.gradient(loss, outputs), [[2, 4, 6], [0, 0, 0], [8, 10, 0]])


def test_zero_past_end_takes_nests_any_rank_and_integers():
    nest = {"ids": tf.ones([3, 3], tf.int32), "images": tf.ones([3, 3, 2, 2], tf.float16)}
    zeroed = zero_past_end(nest, LENGTHS)
    assert zeroed["ids"].dtype == tf.int32
    assert [int(tf.reduce_sum(zeroed["ids"])), int(tf.reduce_sum(zeroed["images"]))] == [5, 20]


def test_copy_state_keeps_the_structure_of_the_old_state():
    old = [tf.constant([[1.0], [2.0]]), [tf.constant([3, 4])]]
    new = (tf.constant([[5.0], [np.nan]]), (tf.constant([7, 8]),))
    kept = copy_state(tf.constant([True, False]), new, old)
    assert isinstance(kept, list)
    assert isinstance(kept[1], list)
    np.testing.assert_array_equal(kept[0], [[5], [2]])
    np.testing.assert_array_equal(kept[1][0], [7, 4])


@settings(deadline=None, max_examples=25)
@given(lengths_and_batches)
def test_reverse_valid_is_its_own_inverse_and_leaves_padding(case):
    lengths, batch = case
    reversed_ = reverse_valid(tf.constant(batch), lengths).numpy()
    for row, n in enumerate(lengths):
        np.testing.assert_array_equal(reversed_[row, :n], batch[row, :n][::-1])
        np.testing.assert_array_equal(reversed_[row, n:], batch[row, n:])
    np.testing.assert_array_equal(reverse_valid(reversed_, lengths), batch)


def test_reverse_valid_without_lengths_reverses_all():
    np.testing.assert_array_equal(reverse_valid(tf.constant([[1, 2, 3]]), None), [[3, 2, 1]])


@settings(deadline=None, max_examples=25)
@given(lengths_and_batches)
def test_last_valid(case):
    lengths, batch = case
    expected = [batch[row, n - 1] if n else np.zeros(2) for row, n in enumerate(lengths)]
    np.testing.assert_array_equal(last_valid(tf.constant(batch), lengths), expected)


def test_last_valid_of_an_empty_example_gives_no_gradient():
    outputs = tf.ones([1, 3, 2])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = tf.reduce_sum(last_valid(outputs, [0]))
    np.testing.assert_array_equal(tape.gradient(loss, outputs), np.zeros([1, 3, 2]))


def test_last_valid_where_there_is_no_step():
    np.testing.assert_array_equal(last_valid(tf.ones([2, 0, 3]), [0, 0]), np.zeros([2, 3]))


def test_valid_tokens_is_a_plain_int():
    assert valid_tokens(np.array([2**31 - 1, 2], "int32")) == 2**31 + 1
