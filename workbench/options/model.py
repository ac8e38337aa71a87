"""conf/model: what stands around the RNN."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.options.schema import Options, option


@dataclass(frozen=True)
class Model(Options):
    """Embedding, RNN layers, dense head; the data set says whether it tags or classifies."""

    name: str = option("tagger", "", choices=["tagger"])
    embedding_size: int = option(64, "size of a token's vector; not used for feature inputs", low=1)
    layers: int = option(1, "RNN layers", low=1)
    embedding_dropout: float = option(
        0.0,
        "share of the embeddings' elements dropped in training; not used for feature inputs",
        low=0,
        high=0.95,
    )
    dropout: float = option(0.0, "share of RNN outputs dropped in training", low=0, high=0.95)
    dtype: str = option(
        "float32",
        "of weights and computation; mixed_bfloat16: weights float32, computed in bfloat16",
        choices=["float32", "float64", "mixed_bfloat16"],
    )


SCHEMAS: dict[str, type[Model]] = {"tagger": Model}
