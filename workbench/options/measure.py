"""conf/measure: the timed window and the correctness probes."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.options.schema import Options, option


@dataclass(frozen=True)
class Measure(Options):
    """A window that may be judged has one epoch or at least 200 batches, three passes, after 20 warm-up steps."""

    name: str = option("default", "", choices=["default", "off"])
    timing: bool = option(True, "have a timed window")
    passes: int = option(3, "passes over the same batches; the median of each counts", low=1)
    warmup_steps: int = option(20, "steps before the window", low=0)
    quiet_steps: int = option(3, "of these, the last ones that must trace nothing new", low=0)
    window_examples: int | None = option(
        None, "examples in the window, drawn by the seed; null: the whole training split", low=1
    )
    evaluated_examples: int | None = option(
        None, "examples of each split that are evaluated, drawn by the seed; null: all", low=1
    )
    correctness_batches: int = option(
        2, "validation batches probed for correctness, of which one is padded where any is; 0: none", low=0
    )
    reading: bool = option(
        False, "time reading alone: batches without a model, and the split from its shards"
    )
    storage: bool = option(False, "hold the data set's size against plain text and packed Examples")
    inject_sleep: float = option(0.0, "share of a step slept in each step: the positive control", low=0)


SCHEMAS: dict[str, type[Measure]] = {"default": Measure, "off": Measure}
