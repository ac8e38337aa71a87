"""The table of metrics: what each name stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["higher", "lower", "zero"] | None


@dataclass(frozen=True)
class Metric:
    """What a metric's name stands for: unit, meaning, which way is better, and how two values compare.

    `scale` is `ratio` where a quotient of two values has a meaning, else `difference`.
    `noisy` is true for what a clock or the operating system measures: two equal runs need not agree on it.
    """

    unit: str
    meaning: str
    better: Better = None
    scale: Literal["ratio", "difference"] = "ratio"
    noisy: bool = False
    title: str = ""
    """What it is called in a sentence; empty where its own name, less its group, says it."""
    needs: str = ""
    """The option of `measure` that must be on, or more than 0, for a run to have it; empty: none."""


def _correctness() -> dict[str, Metric]:
    table = {}
    kinds = {"abs": "", "rel": "relative "}
    for given, words, short in (("with", "passed", "given"), ("without", "not passed", "left out")):
        for what, thing in (("output", "valid outputs"), ("state", "final states")):
            for kind, unit in (("abs", "1"), ("rel", "1")):
                table[f"correctness/max_{kind}_error_{what}_{given}_lengths"] = Metric(
                    unit,
                    f"largest {'absolute' if kind == 'abs' else 'relative'} error of {thing} of the trained "
                    f"model on real batches, lengths {words}, against each example run alone and unpadded",
                    "zero",
                    "difference",
                    title=f"{kinds[kind]}error of {'outputs' if what == 'output' else thing}, lengths {short}",
                )
        table[f"correctness/max_abs_output_past_end_{given}_lengths"] = Metric(
            "1",
            f"largest magnitude of an output past its example's end, lengths {words}",
            "zero",
            "difference",
            title=f"outputs past the end, lengths {short}",
        )
    for change, words in (
        ("longer", "padding lengthened by half"),
        ("random", "padding content randomised"),
    ):
        for what in ("loss", "gradient"):
            table[f"correctness/{what}_change_padding_{change}"] = Metric(
                "1",
                f"largest relative change of the {what} when the batch is the same but its {words}, "
                "lengths passed as the run passes them",
                "zero",
                "difference",
            )
    return table | {
        "correctness/gradient_share_past_end": Metric(
            "1",
            "share of the loss's gradient by the logits (sum of magnitudes) that lies past the examples' ends",
            "zero",
            "difference",
            title="share of the gradient past the end",
        ),
        "correctness/takes_longer_sequence": Metric(
            "1",
            "1 where a graph of the model takes a batch one step longer than that it was built with, else 0",
            "higher",
            "difference",
            title="longer sequences that run",
        ),
    }


def _per(group: str, unit: str, meaning: str, better: Better) -> dict[str, Metric]:
    table = {}
    for split in ("train", "validation", "test"):
        for per, words in (
            ("token", "a mean over valid tokens"),
            ("example", "a mean within each example by its true length, then over the non-empty examples"),
        ):
            table[f"{group}/{split}_per_{per}"] = Metric(
                unit,
                f"{meaning} on the {split} split: {words}",
                better,
                title=f"{split} {group}{', per example' if per == 'example' else ''}",
            )
    return table


METRICS: dict[str, Metric] = {
    # speed: the timed window, passes over the same batches; sums, not medians of steps (claims/README.md)
    "speed/valid_tokens_per_s": Metric(
        "tokens/s",
        "valid tokens over time: per batch the median of the passes, then summed",
        "higher",
        noisy=True,
        title="training speed",
        needs="timing",
    ),
    "speed/padded_tokens_per_s": Metric(
        "tokens/s",
        "computed positions, padding included, over the same time",
        "higher",
        noisy=True,
        needs="timing",
    ),
    "speed/examples_per_s": Metric(
        "examples/s", "examples over the same time", "higher", noisy=True, needs="timing"
    ),
    "speed/step_p50_ms": Metric(
        "ms", "median training step (descriptive)", "lower", noisy=True, needs="timing"
    ),
    "speed/step_p95_ms": Metric(
        "ms", "95th percentile of training steps (descriptive)", "lower", noisy=True, needs="timing"
    ),
    "speed/valid_tokens": Metric("tokens", "valid tokens in one pass of the timed window", needs="timing"),
    "speed/batches": Metric("batches", "batches in one pass of the timed window", needs="timing"),
    "speed/passes": Metric("passes", "passes over the timed window's batches", needs="timing"),
    "speed/window_s": Metric("s", "length of the timed window, all passes", noisy=True, needs="timing"),
    "speed/warmup_steps": Metric("steps", "training steps before the timed window", needs="timing"),
    "speed/traces_in_window": Metric(
        "traces", "graphs traced inside the timed window (must be 0)", "lower", needs="timing"
    ),
    "speed/traces": Metric(
        "traces", "graphs of the training step traced in the whole run", "lower", title="graphs traced"
    ),
    "speed/graph_build_s": Metric(
        "s",
        "time to trace the training step for the first batch (forward, backward, update)",
        "lower",
        noisy=True,
        title="time to build the graph",
    ),
    "speed/graph_nodes": Metric(
        "nodes",
        "nodes of the first training graph, bodies of its functions included",
        "lower",
        title="size of the graph",
    ),
    "speed/first_step_s": Metric(
        "s", "first training step, its graph being traced already", "lower", noisy=True
    ),
    "speed/input_wait_share": Metric(
        "1", "share of the timed window spent waiting for a batch", "lower", noisy=True, needs="timing"
    ),
    "speed/train_input_wait_share": Metric(
        "1", "share of training's time spent waiting for a batch", "lower", noisy=True
    ),
    "speed/input_open_s": Metric(
        "s",
        "reading, checking and parsing the training split, as far as data.parse does it once a run",
        "lower",
        noisy=True,
    ),
    "speed/read_examples_per_s": Metric(
        "examples/s",
        "padded batches made as data.parse says, nothing done with them",
        "higher",
        noisy=True,
        title="speed of reading",
        needs="reading",
    ),
    "speed/shards_examples_per_s": Metric(
        "examples/s",
        "the training split read from its shards, parsed and checked, data.readers shards at once",
        "higher",
        noisy=True,
        title="speed of reading shards",
        needs="reading",
    ),
    "speed/train_s": Metric("s", "training to its end, evaluation apart", "lower", noisy=True),
    "speed/calibration_before_gflops": Metric(
        "GFLOP/s", "a matrix product directly before the timed window", "higher", noisy=True, needs="timing"
    ),
    "speed/calibration_after_gflops": Metric(
        "GFLOP/s", "the same directly after the timed window", "higher", noisy=True, needs="timing"
    ),
    "speed/foreign_cpu_share": Metric(
        "1",
        "CPU time of other processes and steal, as a share of the window's CPU time",
        "lower",
        noisy=True,
        needs="timing",
    ),
    # memory
    "memory/peak_rss_mb": Metric(
        "MB",
        "peak resident memory of the process during training, evaluation on the way included",
        "lower",
        noisy=True,
    ),
    "memory/rss_growth_mb": Metric(
        "MB",
        "peak resident memory during training, evaluation on the way included, above what the process held before "
        "it; not on a GPU, where batches lie elsewhere",
        "lower",
        noisy=True,
        title="memory growth",
    ),
    "memory/peak_device_mb": Metric(
        "MB",
        "peak memory of the GPU's allocator during training, evaluation on the way included",
        "lower",
        noisy=True,
    ),
    "memory/largest_batch_bytes": Metric(
        "bytes", "largest batch that the pipeline gave, all its tensors", "lower"
    ),
    "memory/parameters": Metric("parameters", "numbers that training moves"),
    # what was learnt
    **_per("loss", "nats", "true loss", "lower"),
    "loss/step": Metric("nats", "the loss that training minimises, of one step, before its update", "lower"),
    "loss/validation_epoch": Metric(
        "nats",
        "true loss on the validation split after an epoch of training: per token, or per example where one has one "
        "label",
        "lower",
    ),
    "loss/train_objective": Metric(
        "nats", "the loss that training minimised, mask and average as configured, last epoch", "lower"
    ),
    "loss/validation_objective": Metric(
        "nats", "the same loss on the validation split: what a report by this mask would say", "lower"
    ),
    "loss/validation_objective_error": Metric(
        "1",
        "how far the loss reported on the validation split (by the run's mask) lies from the true one of the same "
        "average, relative",
        "zero",
        "difference",
        title="error of the reported loss",
    ),
    **_per("accuracy", "1", "share of labels that are right", "higher"),
    **{
        f"f1/{split}_macro": Metric(
            "1",
            f"F1 on the {split} split, the mean over the classes that occur there as a label or a prediction; of "
            "its valid tokens, or of its examples where one has one label",
            "higher",
            title=f"{split} macro F1",
        )
        for split in ("train", "validation", "test")
    },
    **{
        f"perplexity/{split}": Metric(
            "1",
            f"of the task next: the exponential of loss/{split}_per_token, as if each token were one of so many",
            "lower",
            title=f"{split} perplexity",
        )
        for split in ("train", "validation", "test")
    },
    "accuracy/validation_epoch": Metric(
        "1",
        "share of labels of the validation split that are right after an epoch of training: of its tokens, or "
        "of its examples where one has one label",
        "higher",
    ),
    "f1/validation_epoch": Metric(
        "1", "macro F1 on the validation split after an epoch of training, as f1/validation_macro", "higher"
    ),
    "accuracy/validation_over_commonest": Metric(
        "1",
        "accuracy on the validation split, per token (per example where one has one label), less the share of its "
        "commonest label",
        "higher",
        "difference",
        title="accuracy above the commonest label's",
    ),
    # what was fed
    "data/padding_share": Metric(
        "1", "share of positions that were padding, over the training batches", "lower", "difference"
    ),
    "data/predicted_padding_share": Metric(
        "1", "the same as the length histogram predicts it", "lower", "difference"
    ),
    "data/predicted_padding_error": Metric(
        "1", "the realised share less the predicted one", "zero", "difference"
    ),
    "data/padding_share_random_batches": Metric(
        "1", "share of padding in random batches of this size, from the length histogram", None, "difference"
    ),
    "data/bytes_per_token": Metric(
        "bytes",
        "bytes of the data set's shards for each of its tokens",
        "lower",
        title="size of a token",
        needs="storage",
    ),
    "data/times_text": Metric(
        "times",
        "bytes of the shards over those of the same examples as plain text, floats as 4 bytes (data/storage.py)",
        "lower",
        title="size over that of plain text",
        needs="storage",
    ),
    "data/times_packed_example": Metric(
        "times",
        "bytes of the shards over those of the same examples as tf.train.Example, each list one feature, in the "
        "same compression",
        "lower",
        title="size over that of tf.train.Example",
        needs="storage",
    ),
    "data/shards": Metric("files", "shards of the training split"),
    "data/class_zero_share": Metric(
        "1",
        "share of the true training labels that are class 0, which looks like padding",
        None,
        "difference",
    ),
    "data/batches_at_longest": Metric(
        "batches",
        "training batches of an epoch that were padded to the longest example of the split",
        "lower",
        "difference",
        title="batches padded to the longest",
    ),
    "data/valid_tokens": Metric("tokens", "valid tokens trained on, all epochs"),
    "data/padded_tokens": Metric("tokens", "positions trained on, padding included, all epochs", "lower"),
    "data/examples": Metric("examples", "examples trained on, all epochs"),
    "data/batches": Metric("batches", "batches trained on, all epochs"),
    "data/longest": Metric("tokens", "longest example of the data set"),
    "data/mean_length": Metric("tokens", "mean length of the training split"),
    **{name: replace(one, needs="correctness_batches") for name, one in _correctness().items()},
}

OURS = frozenset(METRICS)
"""The workbench's own: while others' runs are judged theirs stand in the table too."""
_SHARES = ("accuracy/", "f1/")


def may_be_coarse(metric: str) -> bool:
    """Whether a metric may be a share of few examples, which models that differ may have alike; or is not known."""
    return metric not in OURS or metric.startswith(_SHARES)


LARGEST = 1e300
"""What is not below it is no number to compare: MLflow keeps +inf as 1.8e308."""
