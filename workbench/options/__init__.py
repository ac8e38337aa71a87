"""What a run may be told: a frozen dataclass a variant of a conf group; each option with default, meaning, range.

Plain Python, for both halves: `workbench.config` holds what was composed against it, and the room that uses an
option is handed the whole dataclass. conf/ shows the same defaults; tests/config holds the two equal.
"""
