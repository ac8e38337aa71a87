"""conf/padding: how examples of different lengths become one batch."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.options.schema import Options, option


@dataclass(frozen=True)
class Padding(Options):
    """What every padding has."""

    name: str = option(help="a name in workbench.data.padding.PADDINGS")
    token_budget: int | None = option(
        None, "positions a batch may have, padding included; null: data.batch_size examples", low=1
    )


@dataclass(frozen=True)
class Global(Padding):
    """All examples to one length."""

    name: str = "global"
    length: int | None = option(None, "steps of every batch; null: the data set's longest example", low=1)


@dataclass(frozen=True)
class Bucket(Padding):
    """Examples of like length together."""

    name: str = "bucket"
    boundaries: list[int] | None = option(
        None, "upper limit of each bucket but the last, included; null: those that leave least padding", low=0
    )
    buckets: int | None = option(
        None, "how many, where boundaries is null; null: one for 16 training batches, 8 to 32", low=2
    )
    pad_to_boundary: bool = option(False, "pad to the bucket's boundary, not to the batch's longest")


@dataclass(frozen=True)
class Pooled(Padding):
    """Pools of the random order, each sorted by length and cut into batches."""

    name: str = "pooled"
    pool: int = option(200, "batches that are sorted together", low=1)
    batch_price: int = option(64, "positions of padding for which one batch more is made", low=0)


SCHEMAS: dict[str, type[Padding]] = {
    "global": Global,
    "batch": Padding,
    "bucket": Bucket,
    "pooled": Pooled,
}
