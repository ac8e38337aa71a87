"""What is recorded of a run: its metrics and tags, each in a table, and the one shape that a run has.

Nothing here reads or writes a store (`workbench.tracking`), and nothing imports TensorFlow.
"""

from workbench.record.findings import Difference, Findings, compare
from workbench.record.metrics import LARGEST, METRICS, Metric
from workbench.record.run import FACTS, Key, Run, counted, data_of, one_of_each_job, unfinished
from workbench.record.tags import TAGS, Tag, arm_of, arm_tag
from workbench.record.values import normalise

__all__ = [
    "FACTS",
    "LARGEST",
    "METRICS",
    "TAGS",
    "Difference",
    "Findings",
    "Key",
    "Metric",
    "Run",
    "Tag",
    "arm_of",
    "arm_tag",
    "compare",
    "counted",
    "data_of",
    "normalise",
    "one_of_each_job",
    "unfinished",
]
