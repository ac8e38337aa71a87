"""A prepared data set as one run reads it: its batches, padded and ordered one way, and what the padding costs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.data.lengths import predict
from workbench.data.padding import check_length
from workbench.data.pipeline import Batches, batches
from workbench.data.shards import open_dataset
from workbench.data.verify import read_split
from workbench.options.data import Data
from workbench.options.padding import Padding


class Feed:
    """Batches of a data set for training, for evaluation and for the timed window.

    `data` says how the split is read, and how large a batch is where `padding` has no budget; a global padding's
    length under the longest example's is a DataError.
    `window_examples` is how many examples the timed window has, drawn by the seed; None: the training split.
    `evaluated_examples` is how many of each split are evaluated; None: all.
    `held` is what of the training split is in memory, and `at_longest` how many of the first epoch's batches are as
    long as its longest example; both are known when it has been read. `open_s` is the time it took to read, check
    and parse what is held of the training split, known when batches of it have been asked for.
    `replicas`: training and window are divided among so many by shards; batch size, token budget and
    `window_examples` are those of all together, and each has its equal part.
    """

    def __init__(
        self,
        folder: Path,
        data: Data,
        padding: Padding,
        *,
        window_examples: int | None = None,
        evaluated_examples: int | None = None,
        seed: int = 0,
        replicas: int = 1,
    ) -> None:
        self.folder = folder
        self.manifest = open_dataset(folder)
        check_length(padding, self.manifest.longest, folder)
        self.histogram = self.manifest.splits["train"].histogram
        self.held: str = "nothing"
        self.at_longest = 0
        self.open_s: float | None = None
        self._window_examples, self._evaluated_examples = window_examples, evaluated_examples
        self._seed, self._replicas = seed, replicas
        self._whole = data, padding
        budget = padding.token_budget
        self._part = (  # of one replica, by examples or by a budget; `config.rules` refuses a rest
            replace(data, batch_size=max(1, data.batch_size // replicas)),
            replace(padding, token_budget=budget and budget // replicas),
        )

    def train(self, epoch: int, replica: int = 0) -> Iterator[Mapping[str, Any]]:
        """The training batches of an epoch, or a replica's; counts those padded to the split's longest example."""
        longest = max(self.histogram)
        made = self._batches("train", self._part, epoch=epoch, replica=replica, replicas=self._replicas)
        self.held = made.held
        for batch in made:
            if epoch == 0 and batch["inputs"].shape[1] >= longest:
                self.at_longest += 1
            yield batch

    def evaluation(self, split: str) -> Iterable[Mapping[str, Any]]:
        """Batches of a split, or of its part that is evaluated, in a fixed order, padded as the run pads."""
        return self._batches(split, self._whole, shuffle=False, max_examples=self._evaluated_examples)

    def window(self, replica: int = 0) -> Iterable[Mapping[str, Any]]:
        """The batches of the timed window, the same each time: an epoch's, or those of a drawn part."""
        examples = self._window_examples
        if examples is not None:
            examples = len(range(replica, examples, self._replicas))
        drawn: dict[str, Any] = {"max_examples": examples, "replica": replica, "replicas": self._replicas}
        return self._batches("train", self._part, **drawn)

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        """The training split from its shards, some thousands of examples at a time, parsed and checked anew."""
        for chunk in read_split(self.folder, "train", self.manifest, readers=self._whole[0].readers):
            yield {"length": chunk.lengths}

    def predicted(self) -> dict[str, float]:
        """What the length histogram says of the padding, before a batch is made."""
        data, padding = self._part
        chosen = predict(self.histogram, padding, batch_size=data.batch_size, longest=self.manifest.longest)
        random = predict(self.histogram, Padding("batch"), batch_size=self._whole[0].batch_size)
        return {
            "data/predicted_padding_share": chosen.padding_share,
            "data/padding_share_random_batches": random.padding_share,
        }

    def _batches(self, split: str, sizes: tuple[Data, Padding], **drawn: Any) -> Batches:
        start = time.perf_counter()
        made = batches(self.folder, split, *sizes, seed=self._seed, **drawn)
        if split == "train" and self.open_s is None:
            self.open_s = time.perf_counter() - start
        return made
