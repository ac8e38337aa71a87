"""What a custom cell is made of, found without running it."""

from __future__ import annotations

import importlib
import inspect
import sys
import zipfile
from pathlib import Path

import pytest

from workbench import modules
from workbench.identity import makers, packed
from workbench.loading import ChangedError, Loading
from workbench.modules import is_own
from workbench.sources import SourceError, digest, digest_now, sources_of

CELL = "class Cell: pass\n"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes files into the folder where a person types; what is imported there is not run."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def names(target: str) -> list[str]:
    return [source.name for source in sources_of(target)]


def test_all_that_is_imported_is_found_and_nothing_of_it_is_run(lab) -> None:
    lab(
        lab__in____init__="from lab.of_package import x",
        lab__in__of_package="x = 1",
        lab__in__cells="raise SystemExit('was run')\nfrom . import steps\nimport keras, os.path\n"
        "def late():\n    from lab.sub.deep import y\n" + CELL,
        lab__in__steps="from .sub import *\nimport importlib\nimportlib.import_module('.by_name', 'lab')\n",
        lab__in__by_name="try:\n    import torch_that_is_not_here\nexcept ImportError:\n    pass\n",
        lab__in__sub__in____init__="",
        lab__in__sub__in__deep="import top",
        top="import lab.cells",  # a circle
        not_imported="",
    )
    expected = ["__init__", "by_name", "cells", "of_package", "steps", "sub/__init__", "sub/deep"]
    assert names("lab.cells:Cell") == [*(f"lab/{name}.py" for name in expected), "top.py"]
    assert "lab" not in sys.modules


def test_folders_without_init_and_links_are_packages_too(lab, tmp_path: Path) -> None:
    folder = lab(space__in__inner__in__cells="from space.inner import other\n" + CELL, elsewhere="x = 1")
    (folder / "space/inner/other.py").symlink_to(folder / "elsewhere.py")
    assert names("space.inner.cells:Cell") == ["space/inner/cells.py", "space/inner/other.py"]


def test_archives_and_compiled_modules_count_by_their_bytes(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lab()
    with zipfile.ZipFile(folder / "cells.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "")
        archive.writestr("zipped/cells.py", "import fast\n" + CELL)
    suffix = modules.importlib.machinery.EXTENSION_SUFFIXES[0]
    (folder / f"fast{suffix}").write_bytes(b"one")
    monkeypatch.setenv("PYTHONPATH", str(folder / "cells.zip"))
    first = sources_of("zipped.cells:Cell")
    assert [one.name for one in first] == [f"fast{suffix}", "zipped/__init__.py", "zipped/cells.py"]
    assert [digest_now(one.name) for one in first] == [one.digest for one in first]
    (folder / f"fast{suffix}").write_bytes(b"two")
    assert digest_now(f"fast{suffix}") != first[0].digest


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, ["cell.py", "dropped/__init__.py"]),
        ("{}", ["cell.py", "dropped"]),
        ('{"dir_info": {}, "url": "file:///x"}', ["cell.py", "dropped/__init__.py"]),
    ],
)
def test_an_installed_package_counts_by_its_version_where_that_says_which_files(
    lab, monkeypatch: pytest.MonkeyPatch, told: str | None, expected: list[str]
) -> None:
    folder = lab(cell="import dropped\n" + CELL)
    site = folder / "site-packages"
    (site / "dropped").mkdir(parents=True)
    (site / "dropped/__init__.py").touch()
    if told is not None:
        (site / "dropped-1.5.dist-info").mkdir()
        (site / "dropped-1.5.dist-info/METADATA").write_text("Name: dropped\nVersion: 1.5\n")
        (site / "dropped-1.5.dist-info/direct_url.json").write_text(told)
    monkeypatch.syspath_prepend(str(site))
    modules._version.cache_clear()
    try:
        found = sources_of("cell:Cell")
        assert [one.name for one in found] == expected
        assert digest_now(expected[1]) == found[1].digest
        (site / "dropped/__init__.py").write_text(CELL)
        assert names("dropped:Cell") == ["dropped/__init__.py"], "the class's own package, wherever it lies"
    finally:
        modules._version.cache_clear()


def test_a_package_that_another_finder_knows_is_found(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an editable install is: its finder maps a name to a folder that is on no path."""
    folder = lab(hidden__in____init__="", hidden__in__cells=CELL)

    class Editable:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None):
            if name == "mapped":
                file = str(folder / "hidden/__init__.py")
                make = modules.importlib.util.spec_from_file_location
                return make(name, file, submodule_search_locations=[str(folder / "hidden")])
            return None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable])
    assert names("mapped.cells:Cell") == ["mapped/__init__.py", "mapped/cells.py"]


@pytest.mark.parametrize(
    ("target", "source", "words"),
    [
        ("cell:Cell", "class Cell\n", r"cell\.py, line 1: expected ':'"),
        ("cell:Cell", "x = 1\0", "source code string cannot contain null bytes"),
        ("cell:Cell", "import stepz\n" + CELL, r"cell\.py, line 1: imports stepz, which is not there"),
        ("cell:Cell", "from .steps import x\n" + CELL, r"line 1: imports \.steps, which is not there"),
        ("cell:Gell", CELL, r"cell\.py has no Gell"),
        ("cells:Cell", CELL, "there is no module cells; is its folder on PYTHONPATH?"),
        ("cell.py:Cell", CELL, r"there is no module cell\.py"),
        ("lab/cell:Cell", CELL, "must be module:Class, as lab.cells:MyLSTMCell"),
        ("__main__:Cell", CELL, "of a notebook or of __main__ is not there in a run's process"),
    ],
)
def test_what_is_not_there_is_refused_in_words(lab, target: str, source: str, words: str) -> None:
    lab(cell=source)
    with pytest.raises(SourceError, match=words):
        sources_of(target)


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nsys.path.append('elsewhere')\nimport stepz\n" + CELL,
        "if False:\n    import stepz\n" + CELL,
        "def __getattr__(name): ...\n",
        "from os import *\n",
        "Cell = type('Cell', (), {})\n",
    ],
)
def test_what_cannot_be_seen_is_not_refused(lab, source: str) -> None:
    lab(cell=source)
    assert names("cell:Cell") == ["cell.py"]


def test_what_python_imports_by_itself_counts_for_every_run(lab) -> None:
    folder = lab(sitecustomize="x = 1")
    assert [one.name for one in sources_of(None)] == ["sitecustomize.py"]
    (folder / "sitecustomize.py").unlink()
    assert sources_of(None) == []


def test_python_libraries_workbench_and_what_autograph_writes_are_not_a_persons_own(tmp_path: Path) -> None:
    import json as python

    import numpy as library

    import workbench as ours

    for one in (python, library, ours):
        assert not is_own(one.__file__), one
    assert not is_own(str(tmp_path / "x.py"), "__autograph_generated_fileab12")
    assert is_own(str(tmp_path / "x.py"), "x")


def test_the_tags_of_many_files_are_few_and_have_every_file() -> None:
    many = {f"source.lab/a{n % 5}/b{n % 7}/f{n}.py": digest(b"%d" % n) for n in range(1000)}
    made = {"version.numpy": "1", "code.sha256": "ab", **many}
    tags = packed(made)
    assert len(tags) < 20
    assert max(map(len, tags.values())) < 5000  # what every store of MLflow takes
    assert makers(tags) == made
    assert packed(dict(list(made.items())[:50])) == dict(list(made.items())[:50])


@pytest.fixture
def importing(monkeypatch: pytest.MonkeyPatch):
    """Imports a module from the folder where a person types, and forgets it afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend("")
    yield importlib.import_module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_whoever_reads_a_source_again_finds_what_was_compiled(lab, importing) -> None:
    """As autograph does: an edit between import and tracing must not be traced."""
    folder = lab(read_again="def f():\n    return 1\n")
    with Loading({}) as loading:
        module = importing("read_again")
        (folder / "read_again.py").write_text("def f():\n    return 2 + 2\n")
        assert "return 1" in inspect.getsource(module.f)
        assert loading.loaded()["read_again.py"] == digest(b"def f():\n    return 1\n")


def test_a_changed_source_is_refused_though_its_importer_catches_the_error(lab, importing) -> None:
    lab(catches="try:\n    import caught\nexcept Exception:\n    pass\n", caught="x = 1")
    with Loading({"caught.py": "another"}) as loading:
        importing("catches")
        with pytest.raises(ChangedError, match=r"caught\.py .* changed since this sweep was planned"):
            loading.loaded()


def test_what_a_source_finds_by_a_path_of_its_own_is_found_again(lab, importing) -> None:
    """A resume looks for it without that path; one of the same name elsewhere is another."""
    folder = lab(reaches="import sys\nsys.path.insert(0, 'more')\nimport far\nimport near\nsys.path.pop(0)")
    lab(more__in__far="x = 1", more__in__near="x = 1", near="x = 2")
    with Loading({}) as loading:
        importing("reaches")
        loaded = loading.loaded()
    own = {name: value for name, value in loaded.items() if Path(name).stem in ("reaches", "far", "near")}
    assert set(own) == {"reaches.py", f"{folder}/more/far.py", f"{folder}/more/near.py"}
    assert all(digest_now(name) == value for name, value in own.items())
