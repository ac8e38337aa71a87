"""What a check finds: a fault in a model of variable-length sequences, its size, place, cause and remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = {
    "outputs": "an output at a valid step, or of a whole example, depends on padding",
    "state": "a final state runs over padding, or a state is kept from one call to the next",
    "loss": "the loss depends on padding, or leaves valid steps out",
    "metric": "a metric counts padding, or averages the means of unlike batches",
    "gradient": "padding gets or gives gradient, or the gradient is not finite",
    "class_zero": "a real class, id or value is taken for padding",
    "empty_sequence": "an example of length 0 gives numbers that are not finite",
    "mask_lost": "a mask that was there does not reach what needs it",
    "order": "an example's result depends on its company in the batch, or on its place",
}


@dataclass(frozen=True)
class Finding:
    """A fault. `kind` is one of KINDS; `size` is the largest difference (NaN where numbers are not finite).

    `where` names the output, the example, the step and, for Keras models, the layer after which padding first
    matters; `cause` and `remedy` are sentences.
    """

    kind: str
    size: float
    where: str
    cause: str
    remedy: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind = {self.kind!r}: must be one of {', '.join(KINDS)}")

    def __str__(self) -> str:
        return f"{self.kind}: {self.where} (by {self.size:.3g}). {self.cause} {self.remedy}"


class Findings(list[Finding]):
    """A list of findings; `not_tried` says in words what could not be tried, and what is worth knowing beside."""

    def __init__(self, found: Iterable[Finding] = (), not_tried: Iterable[str] = ()) -> None:
        super().__init__(found)
        self.not_tried = list(not_tried)

    @property
    def kinds(self) -> set[str]:
        """The kinds that were found."""
        return {finding.kind for finding in self}

    def add(self, kind: str, size: float, where: str, cause: str, remedy: str) -> None:
        """Note a finding; of those of one kind and cause the largest stays."""
        new = Finding(kind, size, where, cause, remedy)
        for i, old in enumerate(self):
            if (old.kind, old.cause) == (kind, cause):
                if size > old.size or (math.isnan(size) and not math.isnan(old.size)):
                    self[i] = new
                return
        self.append(new)

    def note(self, text: str) -> None:
        """Note, once, what was not tried."""
        if text not in self.not_tried:
            self.not_tried.append(text)
