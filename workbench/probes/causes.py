"""From what differs, and the layer where it starts, to sentences: what is wrong and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from workbench.probes.case import Case
from workbench.probes.layers import Call, LostMask, first_difference, lost_mask, record

CHANGES = {
    "longer": "with more padding behind",
    "alone": "beside the example alone, without its padding",
    "content": "with other numbers in the padding",
    "order": "with the examples in another order",
    "company": "without the other examples of the batch",
}

_PASS = (
    "Pass the mask (Masking, mask_zero, `mask=`) or the lengths to it, and keep every layer "
    "before it from losing them."
)
_BY_LAYER: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("Bidirectional",),
        "The backward direction starts in the padding: it is reversed as a whole, not by each example's length.",
        "Give the layer its mask, or reverse only the valid part (tf.reverse_sequence with the lengths).",
    ),
    (
        ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D"),
        "The recurrent state runs on over padding.",
        _PASS,
    ),
    (
        (
            "GlobalAveragePooling1D",
            "GlobalMaxPooling1D",
            "AveragePooling1D",
            "MaxPooling1D",
            "Mean",
            "Max",
            "Sum",
            "Min",
        ),
        "It pools over padded steps as if they were real.",
        "Pool under the mask: a sum of valid steps divided by the lengths, or a maximum with padding at -inf.",
    ),
    (
        (
            "MultiHeadAttention",
            "Attention",
            "AdditiveAttention",
            "GroupedQueryAttention",
            "Softmax",
            "Dot",
            "Einsum",
            "Matmul",
        ),
        "Attention gives weight to padded steps.",
        "Mask the scores before the softmax with a number that leaves no weight (-1e9 in float32, "
        "-3e4 in float16).",
    ),
    (
        (
            "BatchNormalization",
            "LayerNormalization",
            "GroupNormalization",
            "UnitNormalization",
            "Normalization",
        ),
        "It takes its mean and variance over padded steps.",
        "Normalise over features only, or under the mask.",
    ),
    (
        ("Conv1D", "SeparableConv1D", "DepthwiseConv1D", "Conv1DTranspose", "Conv2D"),
        "Its window reaches past the end, where padding is not what the layer itself would put there.",
        "Set padded steps to zero before each convolution, or use padding='causal'.",
    ),
    (
        ("GetItem", "Take", "TakeAlongAxis", "Flatten", "Reshape", "Cropping1D"),
        "It takes the last column of the batch, or a fixed place, where the example's last step is meant.",
        "Take the step at length - 1 (tf.gather with batch_dims=1).",
    ),
    (
        ("Arange", "Flip", "Cumsum"),
        "It counts positions from the padded end.",
        "Count from the first step, or from each example's own length.",
    ),
)
_GENERIC = {
    "longer": (
        "Padded steps are taken in: by pooling, attention or normalisation without a mask, by a "
        "backward RNN, or by "
        "the last column in place of the last step.",
        "Make a mask of the lengths and use it wherever steps meet; take the step at length - 1.",
    ),
    "content": (
        "What stands at padded steps reaches a result, though the lengths are given.",
        "Mask with tf.where by the lengths; do not rely on padding being zero.",
    ),
    "order": (
        "A result goes to the wrong example, or depends on its place in the batch.",
        "Undo every sorting, and keep reshapes from mixing examples.",
    ),
    "company": (
        "An example's result depends on the others in its batch: a mean, a maximum or a length of "
        "the batch is in it.",
        "Take statistics of the example alone, or moving ones; reduce over steps and features, "
        "never over examples.",
    ),
    "kept": (
        "The model keeps something from one call to the next, so a batch begins where another ended.",
        "Start each batch from its own initial state (stateful=False, or reset before each batch).",
    ),
}
_GENERIC["alone"] = _GENERIC["longer"]


@dataclass(frozen=True)
class Cause:
    """Sentences for a finding; `change` says what was changed, `layer` where it starts."""

    cause: str
    remedy: str
    change: str = ""
    layer: str = ""
    call: Call | None = None
    size: float = 0.0  # of the difference behind that layer


class Locator:
    """Finds causes, by the layers of a Keras model where there are some; runs are recorded once."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._base: list[Call] | None = None
        self._causes: dict[tuple[str, int], Cause] = {}

    @property
    def base(self) -> list[Call]:
        """The calls of the batch as it was given."""
        if self._base is None:
            self._base = record(self.case, self.case.batch) if self.case.keras_model is not None else []
        return self._base

    def causes(self) -> list[Cause]:
        """Those that were looked for in the layers."""
        return list(self._causes.values())

    def lost(self) -> LostMask | None:
        """Where the mask is lost, if it is."""
        return lost_mask(self.case, self.base)

    def __call__(self, change: str, output: int = 0, row: int = -1) -> Cause:
        """The cause of a difference under a change."""
        if change == "kept" or row < 0 or self.case.keras_model is None:
            return self._generic(change)
        known = next((c for (kind, _), c in self._causes.items() if kind == change), None)
        if known is not None:
            return known
        self._causes[change, row] = found = self._look(change, row)
        return found

    def _generic(self, change: str) -> Cause:
        cause, remedy = _GENERIC[change]
        return Cause(cause, remedy, CHANGES.get(change, ""))

    def _look(self, change: str, row: int) -> Cause:
        batch, generic = self.case.batch, self._generic(change)
        length = int(batch.lengths[row])
        if change == "longer" and self.case.longer is not None:
            other, at, steps = self.case.longer, row, self.case.longer.steps
        elif change == "alone":
            other, at, steps = batch.rows([row]).cut(length), 0, length
        elif change == "company":
            other, at, steps = batch.rows([row]), 0, batch.steps
        else:
            return generic
        first = first_difference(
            self.case, self.base, record(self.case, other), (row, at), (batch.steps, steps), length
        )
        if first is None:
            return generic
        call, size = first
        cause, remedy, where = generic.cause, generic.remedy, f"; it first matters after {call.name}"
        kind = _kind(call.layer)
        for names, by_layer, mend in _BY_LAYER if change != "company" else ():
            if kind in names:
                lost = self.lost()
                cause = f"{by_layer} The mask was lost {lost.at}." if lost else by_layer
                remedy = mend
        return Cause(cause, remedy, generic.change, where, call, size)


def _kind(layer: Any) -> str:
    """The layer's class, or the one of Keras' that it is made of."""
    for made in type(layer).__mro__:
        if made.__module__.startswith("keras."):
            return str(made.__name__)
    return type(layer).__name__


def is_rnn(call: Call | None) -> bool:
    """Is it a recurrent layer?"""
    return call is not None and isinstance(call.layer, keras.layers.RNN | keras.layers.Bidirectional)
