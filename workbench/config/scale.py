"""conf/scale: minutes on a laptop, or what a paper would report."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.options.schema import option


@dataclass(frozen=True)
class Scale:
    """Sizes that the other groups refer to by interpolation."""

    name: str = option(help="a name that claims.yaml's `pairs` may use")
    examples: int = option(2000, "examples of a data set, both splits together", low=2)
    sweep_examples: int = option(640, "the same for an experiment that has many runs", low=2)
    sweep_length: int | None = option(60, "longest example in such an experiment; null: any", low=1)
    sweep_epochs: int = option(
        6, "passes over the training split in an experiment on what is learnt, not on speed", low=1
    )
    requeue: int = option(0, "times that a disturbed block may run again", low=0, high=2)
    epochs: int = option(1, "passes over the training split", low=1)
    window_examples: int | None = option(
        None, "examples in the timed window; null: the whole training split", low=1
    )


SCHEMAS: dict[str, type[Scale]] = {"quick": Scale, "full": Scale}
