"""YAML -> plain data, and the line on which each key stands (yaml.compose keeps the marks)."""

from __future__ import annotations

import re
from typing import Any

import yaml

At = tuple[str | int, ...]


class YamlError(ValueError):
    """Text that is not YAML, or YAML that says one thing twice; `line` is where."""

    def __init__(self, line: int, problem: str):
        self.line = line
        super().__init__(problem)


def read_with_lines(text: str) -> tuple[Any, dict[At, int]]:
    """The data of a YAML text and the line of each mapping key and list item, by its path.

    >>> data, lines = read_with_lines("pairs: 6\\nclaims:\\n- name: a\\n  smallest: 1e-3\\n")
    >>> data, lines["claims", 0, "smallest"]
    ({'pairs': 6, 'claims': [{'name': 'a', 'smallest': 0.001}]}, 4)

    A key that stands twice in one mapping is refused: YAML would silently keep the last.
    """
    lines: dict[At, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return (None if node is None else _plain(loader, node, (), lines)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise YamlError(1, f"not YAML: {error}") from error


def _plain(loader: _Loader, node: yaml.Node, at: At, lines: dict[At, int]) -> Any:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping = {}
        for key_node, value in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(line, "a key must be a plain word")
            if key in mapping:
                raise YamlError(
                    line, f"{key} stands twice here (first on line {lines[(*at, key)]}); keep one"
                )
            lines[(*at, key)] = line
            mapping[key] = _plain(loader, value, (*at, key), lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, one, (*at, number), lines) for number, one in enumerate(node.value)]
    return loader.construct_object(node)


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number, as Hydra's configs do (YAML 1.1 calls it a word)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
