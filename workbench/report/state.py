"""The instrument's state, quiet or noisy: the first thing to know of a sweep whose runs were timed."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.claims import Verdict
from workbench.record import METRICS, Run, gate
from workbench.report import arms
from workbench.wording import counted

DISTURBED_SHARE = 0.1  # of the timed runs that count, from where the machine is called noisy


def timed(runs: Sequence[Run]) -> list[Run]:
    """The runs that the calibration gate can judge."""
    before, after, foreign = gate.WATCHED
    return [run for run in runs if {before, after} <= run.metrics.keys() or foreign in run.metrics]


def is_often_disturbed(windows: Sequence[Run]) -> bool:
    """Whether a tenth of the timed windows or more were disturbed."""
    found = sum(bool(run.disturbance) for run in windows)
    return bool(found) and found >= len(windows) * DISTURBED_SHARE


def instrument_state(verdicts: Sequence[Verdict], runs: Sequence[Run]) -> str:
    """`Instrument quiet: ...` or `Instrument NOISY: ...`, with what says so; empty where no clock was read.

    Noisy is an instrument of which a tenth of the timed windows that count were disturbed, or whose control differs
    from itself (A/A failed, or to watch) in what a clock measures.
    """
    windows = timed(arms.counted(runs))
    again = [one for one in verdicts if one.kind == "instrument" and METRICS[one.metric].noisy]
    if not windows and not again:
        return ""
    found = sum(bool(run.disturbance) for run in windows)
    parts = [f"{found} of {counted(len(windows), 'timed window')} disturbed"] if windows else []
    parts += [f"the control against itself (A/A): {one.verdict}" for one in again]
    noisy = is_often_disturbed(windows) or any(one.verdict in ("watch", "instrument failed") for one in again)
    return f"Instrument {'NOISY' if noisy else 'quiet'}: {'; '.join(parts)}."
