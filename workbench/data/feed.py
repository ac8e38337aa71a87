"""A prepared data set as one run reads it: its batches, padded and ordered one way, and what the padding costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from workbench.data.errors import DataError
from workbench.data.pipeline import batches
from workbench.data.shards import open_dataset
from workbench.lengths import predict, quantile_boundaries


class Feed:
    """Batches of a data set for training, for evaluation and for the timed window.

    `length` is T of `padding="global"`: null for the data set's longest example, else that or more (DataError).
    `boundaries` are those of buckets; where they are not given, `buckets` quantiles of the training lengths.
    `window_examples` is how many examples the timed window has, drawn by the seed; None: the training split.
    """

    def __init__(
        self,
        folder: Path,
        *,
        padding: str,
        batch_size: int,
        token_budget: int | None = None,
        length: int | None = None,
        boundaries: list[int] | None = None,
        buckets: int | None = None,
        pad_to_boundary: bool = False,
        window_examples: int | None = None,
        seed: int = 0,
        parse: Literal["vectorised", "one"] = "vectorised",
    ) -> None:
        self.folder = folder
        self.manifest = open_dataset(folder)
        longest = self.manifest.longest
        if length is not None and length < longest:
            remedy = f"an example has {longest} tokens; give that or more"
            raise DataError(str(folder), "padding.length", length, remedy)
        self.histogram = self.manifest.splits["train"].histogram
        if buckets and not boundaries:
            boundaries = quantile_boundaries(dict(self.histogram), buckets)
        self.at_longest = 0
        self._batch_size, self._seed, self._parse = batch_size, seed, parse
        self._window_examples = window_examples
        self._padding: dict[str, Any] = {
            "token_budget": token_budget,
            "boundaries": boundaries,
            "pad_to_boundary": pad_to_boundary,
            "longest": length or longest,
        }
        self._name: Any = padding

    def train(self, epoch: int) -> Iterator[Mapping[str, Any]]:
        """The training batches of an epoch; counts those padded to the split's longest example."""
        longest = max(self.histogram)
        for batch in self._batches("train", epoch=epoch):
            if epoch == 0 and batch["inputs"].shape[1] >= longest:
                self.at_longest += 1
            yield batch

    def evaluation(self, split: str) -> Iterable[Mapping[str, Any]]:
        """A split's batches in a fixed order, padded as the run pads."""
        return self._batches(split, shuffle=False)

    def window(self) -> Iterable[Mapping[str, Any]]:
        """The batches of the timed window, the same each time: an epoch's, or those of a drawn part."""
        return self._batches("train", max_examples=self._window_examples)

    def predicted(self) -> dict[str, float]:
        """What the length histogram says of the padding, before a batch is made."""
        size = None if self._padding["token_budget"] else self._batch_size
        chosen = predict(self.histogram, self._name, batch_size=size, **self._padding)
        random = predict(self.histogram, "batch", batch_size=self._batch_size)
        return {
            "data/predicted_padding_share": chosen.padding_share,
            "data/padding_share_random_batches": random.padding_share,
        }

    def _batches(self, split: str, **options: Any) -> Iterable[Mapping[str, Any]]:
        return batches(
            self.folder,
            split,
            padding=self._name,
            batch_size=self._batch_size,
            seed=self._seed,
            parse=self._parse,
            **self._padding,
            **options,
        )
