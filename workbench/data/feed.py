"""A prepared data set as one run reads it: its batches, padded and ordered one way, and what the padding costs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from workbench.data.errors import DataError
from workbench.data.pipeline import MEMORY_MB, Batches, batches
from workbench.data.shards import open_dataset
from workbench.data.verify import read_split
from workbench.lengths import predict


class Feed:
    """Batches of a data set for training, for evaluation and for the timed window.

    `length` is T of `padding="global"`: null for the data set's longest example, else that or more (DataError).
    `window_examples` is how many examples the timed window has, drawn by the seed; None: the training split.
    `parse`, `memory_mb` and `readers` are those of `pipeline.batches`, `options` those of the padding
    (`padding.Batching`, and `buckets`). `held` is what of the training split is in memory, and `at_longest` how
    many of the first epoch's batches are as long as its longest example; both are known when it has been read.
    `open_s` is the time it took to read, check and parse what is held of the training split, known when batches of
    it have been asked for.
    `replicas`: training and window are divided among so many by shards; `batch_size`, `token_budget` and
    `window_examples` are those of all together, and each has its equal part.
    """

    def __init__(
        self,
        folder: Path,
        *,
        padding: str,
        batch_size: int,
        length: int | None = None,
        window_examples: int | None = None,
        seed: int = 0,
        parse: Literal["cached", "vectorised", "one"] = "cached",
        memory_mb: int = MEMORY_MB,
        readers: int = 1,
        replicas: int = 1,
        **options: Any,
    ) -> None:
        self.folder = folder
        self.manifest = open_dataset(folder)
        longest = self.manifest.longest
        if length is not None and length < longest:
            remedy = f"an example has {longest} tokens; give that or more"
            raise DataError(str(folder), "padding.length", length, remedy)
        self.histogram = self.manifest.splits["train"].histogram
        self.held: str = "nothing"
        self.at_longest = 0
        self.open_s: float | None = None
        self._batch_size, self._window_examples = batch_size, window_examples
        self._replicas = replicas
        self._reading: dict[str, Any] = {
            "seed": seed,
            "parse": parse,
            "memory_mb": memory_mb,
            "readers": readers,
        }
        self._padding: dict[str, Any] = {"padding": padding, "longest": length or longest, **options}

    def train(self, epoch: int, replica: int = 0) -> Iterator[Mapping[str, Any]]:
        """The training batches of an epoch, or a replica's; counts those padded to the split's longest example."""
        longest = max(self.histogram)
        made = self._batches("train", epoch=epoch, **self._part(replica))
        self.held = made.held
        for batch in made:
            if epoch == 0 and batch["inputs"].shape[1] >= longest:
                self.at_longest += 1
            yield batch

    def evaluation(self, split: str) -> Iterable[Mapping[str, Any]]:
        """A split's batches in a fixed order, padded as the run pads."""
        return self._batches(split, shuffle=False)

    def window(self, replica: int = 0) -> Iterable[Mapping[str, Any]]:
        """The batches of the timed window, the same each time: an epoch's, or those of a drawn part."""
        examples = self._window_examples
        if examples is not None:
            examples = len(range(replica, examples, self._replicas))
        return self._batches("train", max_examples=examples, **self._part(replica))

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        """The training split from its shards, some thousands of examples at a time, parsed and checked anew."""
        for chunk in read_split(self.folder, "train", self.manifest, readers=self._reading["readers"]):
            yield {"length": chunk.lengths}

    def predicted(self) -> dict[str, float]:
        """What the length histogram says of the padding, before a batch is made."""
        sizes = self._sizes()
        if sizes.get("token_budget"):
            sizes["batch_size"] = None
        chosen = predict(self.histogram, **(self._padding | sizes))
        random = predict(self.histogram, "batch", batch_size=self._batch_size)
        return {
            "data/predicted_padding_share": chosen.padding_share,
            "data/padding_share_random_batches": random.padding_share,
        }

    def _batches(self, split: str, **options: Any) -> Batches:
        start = time.perf_counter()
        made = batches(
            self.folder,
            split,
            **self._reading,
            **(self._padding | {"batch_size": self._batch_size} | options),
        )
        if split == "train" and self.open_s is None:
            self.open_s = time.perf_counter() - start
        return made

    def _part(self, replica: int) -> dict[str, Any]:
        """What a replica's batches are of: its shards, and its share of a batch."""
        return {"replica": replica, "replicas": self._replicas, **self._sizes()}

    def _sizes(self) -> dict[str, Any]:
        """The size of one replica's batch, by examples or by a budget; `config.rules` refuses a rest."""
        sizes: dict[str, Any] = {"batch_size": self._batch_size // self._replicas}
        if budget := self._padding.get("token_budget"):
            sizes["token_budget"] = budget // self._replicas
        return sizes
