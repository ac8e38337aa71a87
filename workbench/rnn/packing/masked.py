"""The static form: every example at every step, frozen past its end. The one that an outer `jit_compile` takes."""

from __future__ import annotations

from typing import Any

from workbench.masking import reverse_valid
from workbench.rnn.dynamic import run_loop
from workbench.rnn.packing.received import Received
from workbench.rnn.step import finish, prepare


def run_masked(received: Received) -> tuple[Any, Any]:
    """All steps of a batch, for any cell, in shapes that are known while tracing: `(outputs [B, T, ...], states)`.

    XLA knows no rows that come and go, so padded steps are computed here and thrown away; past the batch's longest
    example none is.
    """
    inputs, lengths = received.inputs, received.lengths
    if received.backwards:
        inputs = reverse_valid(inputs, lengths)
    run = prepare(received.cell, inputs, lengths, received.states, received.training, False, cut=False)
    outputs, states = finish(run, *run_loop(run, fixed=True), time_major=False)
    return (reverse_valid(outputs, lengths) if received.backwards else outputs), states
