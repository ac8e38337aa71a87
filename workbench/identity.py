"""What a run's numbers follow from, beside its seed: its configuration, its data, and what makes them.

What makes them is known by names that are the run's tags too: `code.sha256` (the workbench), `source.FILE` (a
person's own cell and what it imports), `version.PACKAGE`, `environment.VARIABLE`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

GROUPS = ("data", "padding", "rnn", "cell", "loss", "model", "optimizer", "training", "measure")
"""The config groups that describe an experiment; all else (tracking, hydra, sweep, name) is how it is run."""
NOT_IDENTITY = {
    "data.cache_dir",
    "data.path",
    "training.checkpoint_every",
    "training.log_every",
    "training.worker_timeout_s",
}
_PACKAGES = ("python", "tensorflow", "tf-nightly", "keras", "numpy", "nvidia-")
SOURCE = "source."
_MAKES = ("code.sha256", SOURCE, "environment.", *(f"version.{name}" for name in _PACKAGES))
NOISE = ("environment.padding_bytes", "environment.PYTHONHASHSEED")
"""What the workbench itself sets in the environment: an amount drawn for each block, and one value for all runs."""
_LISTED = "sources."
"""Tags of many files in one: a name that no file of its own has."""
_MOST, _LONGEST = 60, 4000
"""Files beyond which a run's tags list them, and how many characters of that list go into a tag."""


def identity(
    tree: Mapping[str, Any],
    fingerprint: str,
    made_by: Mapping[str, str],
    *,
    length: int = 16,
) -> str:
    """The hash of what bears on a run's result: these groups of the config, seed, repeat, label, data, its makers.

    Where the data lies and how often it is logged do not count; what it is does, by its fingerprint.
    """
    kept = {
        f"{group}.{key}": value
        for group in GROUPS
        for key, value in tree[group].items()
        if f"{group}.{key}" not in NOT_IDENTITY
    }
    kept |= {key: tree[key] for key in ("seed", "repeat", "label")}
    text = json.dumps([kept, fingerprint, makers(made_by)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def makers(tags: Mapping[str, str]) -> dict[str, str]:
    """Of a run's tags those that say what made its numbers, a file each.

    >>> makers({"version.numpy": "2.4.6", "version.mlflow": "3.17", "environment.padding_bytes": "12"})
    {'version.numpy': '2.4.6'}
    """
    each = unpacked(tags)
    return {name: value for name, value in each.items() if name.startswith(_MAKES) and name not in NOISE}


def packed(made_by: Mapping[str, str]) -> dict[str, str]:
    """As tags of a run: where the files are many, they and their digests stand in the values of a few tags."""
    files = [name for name in made_by if name.startswith(SOURCE)]
    if len(files) <= _MOST:
        return dict(made_by)
    kept = {name: value for name, value in made_by.items() if name not in files}
    lists: list[dict[str, str]] = [{}]
    room = _LONGEST
    for name in sorted(files):
        one = {name.removeprefix(SOURCE): made_by[name]}
        room -= len(json.dumps(one))
        if room < 0:
            lists.append({})
            room = _LONGEST - len(json.dumps(one))
        lists[-1] |= one
    return kept | {f"{_LISTED}{number}": json.dumps(one) for number, one in enumerate(lists, 1)}


def unpacked(tags: Mapping[str, str]) -> dict[str, str]:
    """A run's tags with a file each, as `packed` got them.

    >>> unpacked({"sources.1": '{"lab/a.py": "80cd51", "lab/b.py": "99ab07"}', "version.numpy": "2.4.6"})
    {'version.numpy': '2.4.6', 'source.lab/a.py': '80cd51', 'source.lab/b.py': '99ab07'}
    """
    found = {name: value for name, value in tags.items() if not name.startswith(_LISTED)}
    for name, value in tags.items():
        if name.startswith(_LISTED):
            found |= {f"{SOURCE}{file}": digest for file, digest in json.loads(value).items()}
    return found


def changes(was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """In words, what of the makers is not the same.

    >>> changes({"version.numpy": "2.4.6"}, {"version.numpy": "2.5.0", "environment.XLA_FLAGS": "-x"})
    ['XLA_FLAGS (was not set, is -x)', 'numpy (was 2.4.6, is 2.5.0)']
    """
    first, second = makers(was), makers(now)
    return [
        _named(name, first.get(name), second.get(name))
        for name in sorted({*first, *second})
        if first.get(name) != second.get(name)
    ]


def unlike(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """The makers by which two runs of different arms are not a pair, with both values.

    A file or version that only one of them has belongs to its arm (another cell); a variable that one lacks was
    not set there. Records of before a maker was recorded are alike in it.
    """
    first, second = makers(one), makers(other)
    names = {name for name in {*first, *second} if name.startswith("environment.")} | (
        first.keys() & second.keys()
    )
    both = {name: (first.get(name, "not set"), second.get(name, "not set")) for name in sorted(names)}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def _named(name: str, was: str | None, now: str | None) -> str:
    kind, _, what = name.partition(".")
    if kind == "code":
        return "the workbench's code"
    lacking = {"source": "not there", "version": "not installed"}.get(kind, "not set")
    return f"{what} (was {was or lacking}, is {now or lacking})"
