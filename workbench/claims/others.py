"""What a claims file says of runs that the workbench did not make: their metrics, and the params to ignore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workbench.record import METRICS, Metric
from workbench.record.metrics import OURS
from workbench.wording import did_you_mean

OF_A_METRIC: dict[str, tuple[str, ...]] = {
    "unit": (),
    "meaning": (),
    "better": ("higher", "lower"),
    "scale": ("ratio", "difference"),
}
"""What may be said of a metric that the workbench does not know, and the values of each; any text where there are
none."""


def complaint(value: Any) -> str | None:
    """What is wrong with what is said of runs that the workbench did not make."""
    if not isinstance(value, dict) or not value.get("metrics"):
        return f"{value!r} names no metrics; write what they hold, such as {{metrics: {{accuracy: {{unit: '1'}}}}}}"
    if unknown := [name for name in value if name not in ("metrics", "ignore")]:
        return (
            f"{unknown[0]!r} is none of metrics, ignore{did_you_mean(str(unknown[0]), ('metrics', 'ignore'))}"
        )
    ignore = value.get("ignore", [])
    if not isinstance(ignore, list) or not all(isinstance(name, str) for name in ignore):
        return f"ignore: {ignore!r} is no list of params; write [output_dir]"
    if not isinstance(value["metrics"], dict):
        return f"metrics: {value['metrics']!r} is no mapping of names to what they are: {{accuracy: {{unit: '1'}}}}"
    for name, one in value["metrics"].items():
        if name in OURS:
            return f"metrics.{name}: is the workbench's own name; it needs no line here"
        if not isinstance(one, dict | None) or set(one or {}) - set(OF_A_METRIC):
            return f"metrics.{name}: {one!r} is none of {', '.join(OF_A_METRIC)}, as in {{unit: s, better: lower}}"
        for key, allowed in OF_A_METRIC.items():
            if one and key in one and (one[key] not in allowed if allowed else not isinstance(one[key], str)):
                return (
                    f"metrics.{name}.{key}: {one[key]!r} is no {key}; {', '.join(allowed) or 'write a text'}"
                )
    return None


@contextmanager
def known_metrics(runs: Any) -> Iterator[None]:
    """Inside it the metrics that a file's `runs` names are known; what is wrong with them is said elsewhere."""
    own: dict[str, Metric] = {}
    if runs and complaint(runs) is None:
        own = {
            str(name): Metric(**{"unit": "1", "meaning": "of other runs", **(one or {})})
            for name, one in runs["metrics"].items()
        }
    before = {name: METRICS[name] for name in own if name in METRICS}  # where it is known outside, too
    METRICS.update(own)
    try:
        yield
    finally:
        for name in own:
            del METRICS[name]
        METRICS.update(before)
