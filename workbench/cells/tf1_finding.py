"""Which of TF 1's variables are a cell's: by what they are called, and by the scope's class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from workbench.cells.tf1_layouts import Layout, Variable, layout_of
from workbench.cells.tf1_names import CLASSES, class_of, layer_scope, names_of

Found = list[str | None]  # of each variable of a layout its full name in some scope; None: not there


class Place(NamedTuple):
    """A variable under its full name, and the path of the cell that has it."""

    name: str
    path: str
    variable: Variable
    shards: tuple[str, ...] = ()  # the names of its further rows, where TF 1 cut it: W_0, W_1, ...


@dataclass
class Fit:
    """Where each variable was found; what was not, or in several scopes, or is another class's, in words."""

    forget_bias: float | None = None
    places: list[Place] = field(default_factory=list)
    missing: list[Place] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)
    candidates: set[str] = field(default_factory=set)  # the names in those several scopes
    of_another_class: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(cell: Any, names: Iterable[str], within: str = "", forget_bias: float | None = None) -> Fit:
    """A cell's variables, and those of the cells in it, among the names in the scope `within`."""
    fit = Fit(forget_bias)
    _resolve(cell, dict.fromkeys(names, 0), "", within, fit)
    return fit


def _resolve(cell: Any, names: dict[str, int], path: str, within: str, fit: Fit) -> None:
    """Finds a cell's variables. `names` says of each name at which letter what is left to match begins, `within`
    is the scope that was passed, as far as it is known."""
    layout = layout_of(cell, fit.forget_bias)
    if layout.variables:
        _own(cell, layout, names, path, within, fit)
    siblings = {child.scope for child in layout.children}
    for child in layout.children:
        inner, scope = dict(names), within
        if child.scope:
            inner = dict(_below(child.scope, siblings, names))
            heads = {name[:at] for name, at in inner.items()} or {
                name[:at].rstrip("/").rpartition("/")[0] + f"/{child.scope}/"
                for other in siblings
                for name, at in _below(other, siblings, names)
            }
            scope = heads.pop() if len(heads) == 1 else f"{within}*/{child.scope}/"
        _resolve(child.cell, inner, path + child.path, scope, fit)


def _own(cell: Any, layout: Layout, names: dict[str, int], path: str, within: str, fit: Fit) -> None:
    """The variables of a cell itself."""
    scopes = _scopes(layout.variables, names)
    whole = _likeliest([scope for scope, found in scopes.items() if None not in found], layout)
    if len(whole) > 1:
        fit.ambiguous.append(
            f"{type(cell).__name__} could be any of {', '.join(whole)}: pass scope= to choose one"
        )
        for candidate in (name for scope in whole for name in scopes[scope] if name):
            names.pop(candidate)
            fit.candidates.add(candidate)
        return
    nearest = whole[0] if whole else _nearest(scopes, layout)
    found = scopes.get(nearest or "", [None] * len(layout.variables))
    scope = f"{within}*/" if nearest is None else nearest
    _check_class(scope, layout, fit)
    usual = _spelling(scope, layout.variables, found)
    for variable, name, other in zip(
        layout.by_class.get(class_of(scope) or "", layout.variables), found, usual, strict=True
    ):
        if name is None:
            fit.missing.append(Place(scope + other, path, variable))
        else:
            names.pop(name)
            fit.places.append(Place(name, path, variable, tuple(_shards(name, names, found))))
    if None in found and layout.note:
        fit.notes.append(layout.note)


def _scopes(variables: Sequence[Variable], names: Mapping[str, int]) -> dict[str, Found]:
    """The scopes that hold any of the variables, under any of their spellings, the shortest first."""
    spelled = [list(dict.fromkeys(names_of(variable.name))) for variable in variables]
    scopes = {
        name[: len(name) - len(spelling)]
        for name, start in names.items()
        for spellings in spelled
        for spelling in spellings
        if f"/{name[start:]}".endswith(f"/{spelling}")
    }
    return {
        scope: [next((scope + s for s in spellings if scope + s in names), None) for spellings in spelled]
        for scope in sorted(scopes, key=lambda s: (len(s), s))
    }


def _rank(scope: str, layout: Layout) -> int:
    """0: a scope named after one of the layout's classes; 1: with a name of its own; 2: after another class."""
    named = class_of(scope)
    return 1 if named is None else 0 if named in layout.classes else 2


def _likeliest(scopes: Sequence[str], layout: Layout) -> list[str]:
    ranks = [_rank(scope, layout) for scope in scopes]
    return [scope for scope, rank in zip(scopes, ranks, strict=True) if rank == min(ranks)]


def _nearest(scopes: Mapping[str, Found], layout: Layout) -> str | None:
    """The scope that lacks least."""
    return min(scopes, key=lambda s: (scopes[s].count(None), _rank(s, layout)), default=None)


def _check_class(scope: str, layout: Layout, fit: Fit) -> None:
    named = class_of(scope)
    if named is not None and layout.classes and named not in layout.classes:
        here = f"is {CLASSES[named]} here" if CLASSES[named] else "is none of the cells here"
        fit.of_another_class.append(
            f"{scope} holds a {named}, which {here}; where only "
            "the scope has that name, rename it in a dict of the variables"
        )


def _spelling(scope: str, variables: Sequence[Variable], found: Found) -> list[str]:
    """All the variables' names in the spelling that most of those that were found have."""
    spellings = list(zip(*(names_of(variable.name) for variable in variables), strict=True))
    return list(
        max(
            spellings,
            key=lambda spelling: sum(scope + s == name for s, name in zip(spelling, found, strict=True)),
        )
    )


def _shards(name: str, names: dict[str, int], found: Found) -> Iterator[str]:
    """The further rows of a matrix that LSTMCell's `num_unit_shards` had cut: W_1, W_2, ... after W_0."""
    stem, number = name[:-1], 1
    while (
        name.endswith("_0")
        and f"{stem}{number}" not in found
        and names.pop(f"{stem}{number}", None) is not None
    ):
        yield f"{stem}{number}"
        number += 1


def _below(scope: str, siblings: set[str], names: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The names in whose path `scope` comes before any of its siblings; what is left begins behind it."""
    for name, start in names.items():
        at = start
        for part in name[start:].split("/")[:-1]:
            at += len(part) + 1
            if layer_scope(part) in siblings:
                if layer_scope(part) == scope:
                    yield name, at
                break
