"""Claims and sweeps made by hand: frames with the columns of mlflow.search_runs(), without MLflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.claims import Claim

SPEED = "speed/valid_tokens_per_s"


@pytest.fixture(scope="session")
def claim() -> Callable[..., Claim]:
    """A claim that batch padding is 1.2 times as fast as global padding, with any field changed."""

    def make(**changes: Any) -> Claim:
        fields: dict[str, Any] = {
            "name": "batch_is_faster",
            "statement": "Padding within the batch trains faster.",
            "source": "ours",
            "metric": SPEED,
            "treatment": {"padding.name": "batch"},
            "control": {"padding.name": "global"},
            "direction": "higher",
            "smallest": 1.2,
            "why_smallest": "less is not worth it",
            "pairs": 6,
            "equal": (),
            "control_again": False,
        }
        return Claim(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def sweep() -> Callable[..., pd.DataFrame]:
    """Runs of a sweep: each arm is (params, one value a block); None is a run that died.

    Columns given by name (`**{"tags.workbench.scale": "quick"}`) are the same in every row; `metric` names
    the column of the values; blocks count from `first`.
    """

    def make(
        *arms: tuple[Mapping[str, Any], Sequence[float | None]],
        metric: str = SPEED,
        first: int = 1,
        start: int = 0,
        **columns: Any,
    ) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for block in range(max(len(values) for _, values in arms)):
            for params, values in arms:
                if block < len(values):
                    rows.append(
                        _row(start + len(rows), params, block + first, metric, values[block]) | columns
                    )
        return pd.DataFrame(rows)

    return make


def _row(
    number: int, params: Mapping[str, Any], block: int, metric: str, value: float | None
) -> dict[str, Any]:
    own = {
        (name if name.startswith(("tags.", "metrics.")) else f"params.{name}"): one
        for name, one in params.items()
    }
    return {
        "run_id": f"run{number:03d}",
        "status": "FINISHED" if value is not None else "FAILED",
        "start_time": pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(minutes=number),
        "params.seed": str(100 + block),
        f"metrics.{metric}": float("nan") if value is None else value,
        "tags.workbench.kind": "run",
        "tags.workbench.sweep": "sweep-a",
        "tags.workbench.block": str(block),
        "tags.workbench.repeat": "0",
        "tags.workbench.attempt": "1",
        **own,
    }


GOOD = """\
schema: 1
confidence: 0.95
pairs: 10
claims:
- name: batch_is_faster
  statement: Padding within the batch trains faster.
  source: ours
  metric: speed/valid_tokens_per_s
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: higher
  smallest: 1.20
  why_smallest: less is not worth it
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """A good claims.yaml with lines replaced (old -> new), on disk."""

    def write(*changes: tuple[str, str], more: Iterable[str] = ()) -> Path:
        text = GOOD
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "claims.yaml"
        path.write_text(text + "".join(line + "\n" for line in more))
        return path

    return write
