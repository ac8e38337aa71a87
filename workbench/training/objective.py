"""What training minimises: a batch's loss, masked and averaged as its options say, and its gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from workbench.losses import LOSSES, MASKS, class_weighted
from workbench.model import SequenceModel
from workbench.options.loss import Loss

Batch = Mapping[str, Any]


def label_lengths(batch: Batch, task: str) -> tf.Tensor:
    """How many labels of each example are real: its length, or where the whole is classified 1 (0 if empty)."""
    length = tf.cast(batch["length"], tf.int32)
    return tf.minimum(length, 1) if task == "classify" else length


def aligned(logits: tf.Tensor, batch: Batch, task: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Logits [B, L, C], targets [B, L] and label lengths [B], where L is T, or 1 if the whole is classified."""
    targets, lengths = batch["labels"], label_lengths(batch, task)
    if task == "classify":
        return logits[:, tf.newaxis], targets[:, tf.newaxis], lengths
    return logits, targets, lengths


def batch_loss(model: SequenceModel, batch: Batch, logits: tf.Tensor, loss: Loss) -> Any:
    """The LossParts (sum, denominator, valid_tokens) of a batch; class weights as `resolved` gives them.

    A batch's `weights`, of its steps [B, T] or its examples [B], say how much each counts; those of steps are 0 in
    the padding, which then counts under no mask.
    """
    weights = batch.get("weights")
    logits, targets, lengths = aligned(logits, batch, model.task)
    mask = MASKS[loss.mask](targets, lengths)
    if loss.class_weights is not None:
        if not isinstance(loss.class_weights, list):
            raise ValueError(
                f"loss.class_weights={loss.class_weights}: no list of a weight a class yet; make it one by "
                "workbench.class_weights.resolved"
            )
        weighed = class_weighted(mask, targets, loss.class_weights)
        if model.task == "classify" and loss.average == "example":
            # one label an example: within it the weight would be divided out again, so it is the example's
            weights = weighed[:, 0] * (1.0 if weights is None else tf.cast(weights, weighed.dtype))
        else:
            mask = weighed
    if weights is not None and len(weights.shape) == 2:
        mask, weights = mask * tf.cast(weights, mask.dtype), None
    return LOSSES[loss.average](logits, targets, mask, weights)


def counted(parts: Any) -> tf.Tensor:
    """The denominator by which a batch weighs among others: 0 where nothing counts (LossParts has 1 there)."""
    return tf.where(parts.valid_tokens > 0, parts.denominator, tf.zeros([], parts.denominator.dtype))


def penalty(model: SequenceModel, dtype: tf.DType) -> tf.Tensor | None:
    """What layers add to the loss (regularizers, `add_loss`) since `forget_penalties`; None where none does."""
    losses = model.losses
    if any(
        not tf.executing_eagerly() and one.graph is not tf.compat.v1.get_default_graph() for one in losses
    ):
        raise ValueError(
            "a step of the cell adds to the loss (add_loss, an activity regularizer) inside the loop over steps, "
            "where it is lost: regularize its weights, or take rnn=static"
        )
    added = [tf.cast(tf.reduce_sum(one), dtype) for one in losses]
    return tf.add_n(added) if added else None


def forget_penalties(model: SequenceModel) -> None:
    """Before a model is called: what its layers added in an earlier call, or trace, is no more."""
    model._clear_losses()


def dense_gradients(tape: tf.GradientTape, value: tf.Tensor, variables: Sequence[Any]) -> list[tf.Tensor]:
    """The gradient of each variable, of the variable's shape; zeros where `value` does not depend on it.

    An embedding's gradient comes as rows, one for each token (IndexedSlices). Made dense, a token that is there
    twice counts by its sum, as it must in the norm that clipping takes, and in the optimizers of Keras, which
    square each row on its own.
    """
    slopes = tape.gradient(value, variables)
    return [
        tf.zeros(variable.shape, variable.dtype) if slope is None else tf.convert_to_tensor(slope)
        for slope, variable in zip(slopes, variables, strict=True)
    ]
