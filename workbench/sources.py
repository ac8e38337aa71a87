"""What a person's own class is made of: its module and all that this imports, found without running any of it.

Of an installed package that a source imports, its version stands for its files; where that says little (installed
from a folder or a repository, or by no installer), and for the package of the class itself, the files do.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from workbench.modules import Found, find, is_own, module_of, release

AT_START = ("sitecustomize", "usercustomize")
"""What Python imports by itself where it is there."""
_VERSIONED = ("tensorflow", "keras", "numpy", "workbench")
"""Packages whose version, or whose code, every run records."""
_FILES = (".py", ".pyc", ".so", ".pyd")


class SourceError(ValueError):
    """A class whose module, or what that needs, is not there or is no Python."""


@dataclass(frozen=True)
class Source:
    """A file of a person's own, or an installed package that one imports."""

    name: str
    digest: str
    """Of a file's content; of a package its version."""
    path: str = ""
    """Where a file lies."""


def sources_of(target: str | None) -> list[Source]:
    """What `module:Class` is made of, by name; without a target, what every process imports by itself.

    Raises:
        SourceError: there is no such module or class, or something that it surely imports is not there.
    """
    importlib.invalidate_caches()
    walk = _Walk((target or "").partition(".")[0].partition(":")[0])
    for name in AT_START:
        if (found := find(name)) and is_own(found.origin):
            walk.sources[found.name] = Source(found.name, digest(found.data()), found.origin)
    if target:
        _walk_class(walk, *target.split(":", 1))
    return sorted(walk.sources.values(), key=lambda source: source.name)


def digest(data: bytes) -> str:
    """As a record has it."""
    return hashlib.sha256(data).hexdigest()[:16]


def digest_now(name: str) -> str:
    """The digest of a source by the name that a record has of it, as it is now; empty where it is not there."""
    try:
        if name.startswith("/"):
            return digest(Path(name).read_bytes())
        found = find(module_of(name))
        if not name.endswith(_FILES):
            return (found and release(found)) or ""
        return digest(found.data()) if found and found.origin and found.name == name else ""
    except OSError:
        return ""


@dataclass
class _Walk:
    own_package: str
    """The class's own: its files count wherever they lie."""
    sources: dict[str, Source] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    reaches_past: bool = False
    """Whether some source changes what can be imported, so that nothing can be said to be missing."""
    _seen: dict[str, bool] = field(default_factory=dict)

    def follow(self, module: str) -> bool:
        """What an import of a module brings: it and the packages that it lies in. Whether it is there."""
        parts = module.split(".")
        names = [".".join(parts[: n + 1]) for n in range(len(parts))]
        top = names[0]
        if top not in self._seen:
            self._seen[top] = self._stands_for_itself(top)
        if self._seen[top]:
            return True
        for name in names:
            if name not in self._seen or name == top:
                found = find(name) if all(names) else None
                if found is None:
                    return False
                self._seen.setdefault(name, False)
                self._take(found)
        return True

    def _stands_for_itself(self, package: str) -> bool:
        """Whether an import is known by more than its files; one known by its version is written down so."""
        if package in _VERSIONED:
            return True
        found = find(package) if package else None
        version = release(found) if found and package != self.own_package else None
        if version:
            self.sources[package] = Source(package, version)
        return version is not None

    def _take(self, found: Found) -> None:
        """A module's file, and all that it imports."""
        if not found.origin or found.name in self.sources:
            return
        data = found.data()
        self.sources[found.name] = Source(found.name, digest(data), found.origin)
        if not found.origin.endswith(".py"):
            return
        tree = parsed(data, found.origin)
        self.reaches_past |= any(_reaches_past(node) for node in ast.walk(tree))
        package = found.module if found.folders is not None else found.module.rpartition(".")[0]
        for module, line, is_sure in _imports(tree, package):
            if not self.follow(module) and is_sure:
                self.missing.append(f"{found.origin}, line {line}: imports {module}, which is not there")


def _walk_class(walk: _Walk, module: str, name: str) -> None:
    if module == "__main__":
        raise SourceError(
            "a class of a notebook or of __main__ is not there in a run's process: put it in a module"
        )
    if not all(part.isidentifier() for part in module.split(".")):
        raise SourceError(f"{module!r} is no module's name: must be module:Class, as lab.cells:MyLSTMCell")
    if walk.own_package in _VERSIONED:
        return
    found = find(module)
    if found is None:
        raise SourceError(f"there is no module {module}; is its folder on PYTHONPATH?")
    walk.follow(module)
    if walk.missing and not walk.reaches_past:
        raise SourceError("; ".join(walk.missing))
    if found.origin.endswith(".py") and not _may_have(parsed(found.data(), found.origin), name):
        raise SourceError(f"{found.origin} has no {name}")


def parsed(data: bytes, path: str) -> ast.Module:
    """A source's tree.

    Raises:
        SourceError: it is no Python; with the line.
    """
    try:
        return ast.parse(data)
    except SyntaxError as error:
        raise SourceError(f"{path}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise SourceError(f"{path}: {error}") from error


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, int, bool]]:
    """Modules that a source may import, the line, and whether it surely does."""
    sure = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in sure
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            yield base, node.lineno, id(node) in sure
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno, False
        elif isinstance(node, ast.Call) and _is_import(node.func) and node.args:
            named = node.args[0]
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                yield _absolute(named.value, package), node.lineno, False


def _absolute(name: str, package: str) -> str:
    """A relative import as an absolute one; as it stands where there is no such package around it."""
    try:
        return importlib.util.resolve_name(name, package)
    except ImportError:
        return name


def _is_import(called: ast.expr) -> bool:
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in ("import_module", "__import__")


def _reaches_past(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute):
        return False
    of_sys = isinstance(node.value, ast.Name) and node.value.id == "sys"
    return node.attr == "addsitedir" or (of_sys and node.attr in ("path", "modules", "meta_path"))


def _may_have(tree: ast.Module, name: str) -> bool:
    """Whether a module may have a name: it is bound somewhere, or what is bound cannot be seen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in (name, "__getattr__"):
            return True
        if isinstance(node, ast.alias) and (node.asname or node.name) in (name, "*"):
            return True
        if isinstance(node, ast.Name) and node.id in ("globals", "exec", "vars", "setattr", name):
            return True
    return False
