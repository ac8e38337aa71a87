"""A plugin of pytest: a failure is printed as it comes, since time may end the tests."""

from __future__ import annotations

from typing import Any


def pytest_runtest_logreport(report: Any) -> None:
    """Print what failed, or why it was skipped."""
    if report.failed:
        print(f"\nFAILED {report.nodeid}\n{report.longreprtext}", flush=True)
    elif report.skipped and isinstance(report.longrepr, tuple):
        print(f"\nSKIPPED {report.nodeid}: {report.longrepr[2]}", flush=True)
