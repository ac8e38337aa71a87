"""Does a model compute what each example would give alone? `check` says so of any model, and what to mend."""

from workbench.probes.findings import KINDS, Finding, Findings
from workbench.probes.padding_check import assert_padding_invariant, check

__all__ = ["KINDS", "Finding", "Findings", "assert_padding_invariant", "check"]
