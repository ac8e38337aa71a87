"""A sweep as it is recorded, with numbers made up to look like one, and its verdicts by the real judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.claims import ClaimSet, load
from workbench.claims.table import judge_table

CLAIMS = """\
schema: 1
confidence: 0.95
pairs: 8
equal: [data.fingerprint]
claims:
- name: P2_batch_padding_is_faster
  statement: Padding to the longest example of each batch trains faster than padding to the longest of the data set.
  source: "guide, batching and padding (P2)"
  metric: speed/valid_tokens_per_s
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: higher
  smallest: 1.2
  why_smallest: under 20% nobody rewrites an input pipeline
  over: {rnn.unroll: [dynamic], cell.name: [lstm, gru]}
- name: bucketing_is_faster_than_batch_padding
  statement: Batches of like length train faster than random batches padded to their longest.
  source: ours
  metric: speed/valid_tokens_per_s
  treatment: {padding.name: bucket}
  control: {padding.name: batch}
  direction: higher
  smallest: 3
  why_smallest: a bound set too high, to be contradicted
  over: {rnn.unroll: [dynamic], cell.name: [lstm]}
- name: bucketing_does_not_hurt
  statement: At equal valid tokens bucketing reaches the same validation loss.
  source: ours
  metric: loss/validation_per_token
  treatment: {padding.name: bucket}
  control: {padding.name: batch}
  direction: same
  smallest: 1.005
  why_smallest: too little for so few pairs
  over: {rnn.unroll: [dynamic], cell.name: [lstm]}
- name: P2_batch_padding_takes_less_memory
  statement: Padding within the batch lowers the peak memory of training.
  source: "guide, batching and padding (P2)"
  metric: memory/rss_growth_mb
  scale: difference
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: lower
  smallest: 20
  why_smallest: the least that lets a larger batch in
  over: {rnn.unroll: [dynamic], cell.name: [lstm]}
- name: outputs_past_the_end_are_zero
  kind: exact
  statement: With lengths passed, outputs past an example's end are zero.
  source: "guide, passing sequence_length (L3)"
  metric: correctness/max_abs_output_past_end_with_lengths
  scale: difference
  treatment: {padding.name: batch}
  control: {value: 0}
  direction: same
  smallest: 0
  why_smallest: zero is zero
  over: {rnn.unroll: [dynamic], cell.name: [lstm]}
"""
SPEED = {"global": 12_000.0, "batch": 42_000.0, "bucket": 88_000.0}
PADDING = {"global": 0.86, "batch": 0.61, "bucket": 0.09}
MEMORY = {"global": 310.0, "batch": 240.0, "bucket": 228.0}


def make_runs(blocks: int = 8, seed: int = 0) -> pd.DataFrame:
    """What mlflow.search_runs() gives of a sweep: parent, throw-away block, arms, the control again."""
    rng = np.random.default_rng(seed)
    rows = [{"run_id": "parent", "status": "FINISHED", "tags.workbench.kind": "sweep"}]
    for block in range(blocks + 1):
        for cell in ("lstm", "gru"):
            for padding, repeat in (("global", 0), ("batch", 0), ("bucket", 0), ("global", 1)):
                if repeat and cell == "gru":
                    continue
                loss = (
                    0.9 + 0.03 * math.sin(block) + (0.01 * math.cos(3 * block) if padding == "bucket" else 0)
                )
                rows.append(
                    {
                        "run_id": f"{cell}-{padding}-{repeat}-{block}",
                        "status": "FINISHED",
                        "params.seed": str(block),
                        "params.padding.name": padding,
                        "params.rnn.unroll": "dynamic",
                        "params.cell.name": cell,
                        "params.cell.units": "64",
                        "params.data.name": "python_source",
                        "params.data.fingerprint": f"f{block}",
                        "params.repeat": str(repeat),
                        "tags.workbench.kind": "run",
                        "tags.workbench.sweep": "s1",
                        "tags.workbench.block": str(block),
                        "tags.workbench.repeat": str(repeat),
                        "tags.workbench.planned_pairs": str(blocks),
                        "metrics.speed/valid_tokens_per_s": SPEED[padding]
                        * (0.7 if cell == "gru" else 1)
                        * math.exp(rng.normal(0, 0.03)),
                        "metrics.speed/batches": 62.0,
                        "metrics.speed/graph_build_s": 0.8 * math.exp(rng.normal(0, 0.1)),
                        "metrics.loss/validation_per_token": loss,
                        "metrics.accuracy/validation_per_token": 0.71 - 0.1 * (loss - 0.9),
                        "metrics.memory/rss_growth_mb": MEMORY[padding] + rng.normal(0, 12),
                        "metrics.data/padding_share": PADDING[padding] + rng.normal(0, 0.004),
                        "metrics.data/predicted_padding_share": PADDING[padding],
                        "metrics.correctness/max_abs_output_past_end_with_lengths": 0.0,
                    }
                )
    frame = pd.DataFrame(rows)
    starts = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(range(len(frame)), unit="min")
    return frame.assign(start_time=starts, end_time=starts)


@pytest.fixture(scope="session")
def sweep_runs() -> pd.DataFrame:
    return make_runs()


@pytest.fixture(scope="session")
def verdicts(sweep_runs, tmp_path_factory):
    path: Path = tmp_path_factory.mktemp("claims") / "claims.yaml"
    path.write_text(CLAIMS, encoding="utf-8")
    return judge_table(load(path), sweep_runs)


BESIDE = """\
schema: 1
pairs: 8
claims:
- name: batch_is_faster
  statement: Batch padding trains faster.
  source: ours
  metric: speed/valid_tokens_per_s
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: higher
  smallest: 1.2
  why_smallest: less is not worth it
  over: {cell.name: [lstm, gru]}
"""


@pytest.fixture
def declare(tmp_path: Path) -> Callable[[str], ClaimSet]:
    """The claim that a report says something beside, and another, written as in claims.yaml."""

    def load_with(another: str) -> ClaimSet:
        path = tmp_path / "claims.yaml"
        path.write_text(BESIDE + another)
        return load(path)

    return load_with


@pytest.fixture
def facts():
    return {
        "name": "padding_ablation",
        "sweep": "s1",
        "machine": "Some CPU, 2 cores, 8 GB",
        "versions": {"tensorflow": "2.21.0", "python": "3.11.9"},
        "commit": "dbab1c5",
        "dirty": "true",
        "command": "python -m workbench +experiment=padding_ablation -m",
        "started": "2026-01-01T00:00:00Z",
        "minutes": 7.4,
        "scale": "quick",
        "skipped": [
            (
                {"padding.name": "batch", "rnn.unroll": "static"},
                "a static graph for every length; rnn.allow_retrace=true asks for it",
            )
        ],
        "failures": [("gru-batch-3", "killed: out of memory", "abc123")],
        "planned": 8,
        "claims_sha": "0f" * 32,
        "window_is_epoch": False,
        "notes": ["the second block was queued again"],
    }
