"""A job that computes nothing and says as much as one that does: what is left is its parent, the record, the order.

As `workbench.process.child` is for real jobs; a fork server starts it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from workbench.process.channel import Channel
from workbench.record import METRICS

DATA = "WORKBENCH_SCALE_DATA"
"""The variable that says where the data set is that every job is said to read."""
STEPS = 20


def main(arguments: Sequence[str]) -> int:
    """Say what a run says."""
    channel = Channel()
    if "--prepare" in arguments:
        channel.send("result", folder=os.environ[DATA], fingerprint="the same")
        return 0
    for step in range(1, STEPS + 1):
        channel.log(step, {"loss/step": 2.0 / step})
    channel.quiet()
    values = {name: 1.0 + number for number, name in enumerate(METRICS) if name != "loss/step"}
    channel.send(
        "result", facts={"device": "cpu", "threads": "2"}, metrics=values, tags={"digest.losses": "the same"}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
