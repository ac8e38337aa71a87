"""conf/padding: how examples of different lengths become one batch."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.config.schema import option


@dataclass(frozen=True)
class Padding:
    """What every padding has."""

    name: str = option(help="a name in workbench.data.padding.PADDINGS")
    token_budget: int | None = option(
        None, "positions a batch may have, padding included; null: data.batch_size examples", low=1
    )


@dataclass(frozen=True)
class Global(Padding):
    """All examples to one length."""

    length: int | None = option(None, "steps of every batch; null: the data set's longest example", low=1)


@dataclass(frozen=True)
class Bucket(Padding):
    """Examples of like length together."""

    boundaries: list[int] | None = option(
        None, "upper limit of each bucket but the last, included; null: quantiles", low=1
    )
    buckets: int = option(8, "buckets, where their boundaries come from quantiles", low=2)
    pad_to_boundary: bool = option(False, "pad to the bucket's boundary, not to the batch's longest")


SCHEMAS: dict[str, type[Padding]] = {"global": Global, "batch": Padding, "bucket": Bucket}
