"""conf/loss: which positions count, and how they are averaged."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.options.schema import Options, option


@dataclass(frozen=True)
class Loss(Options):
    """Cross entropy, masked and averaged."""

    mask: str = option(help="a name in workbench.losses.MASKS", choices=["length", "sign", "none"])
    average: str = option(
        "token",
        "per token, or as in the guide within each example first",
        choices=["token", "example"],
    )
    accept_class_zero: bool = option(False, "let mask=sign drop the real class 0")
    class_weights: list[float] | dict | str | None = option(
        None,
        "how much a label counts: balanced (labels / classes / how often it occurs in training), a mapping of "
        "labels (others count 1), or a list in the order of classes; null: all alike",
    )


SCHEMAS: dict[str, type[Loss]] = {"length": Loss, "sign": Loss, "none": Loss}
