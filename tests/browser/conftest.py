"""A real browser, Debian's chromium, driven by Playwright; skipped with the reason where either is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.places import results_folder

COMMITTED = results_folder("padding_ablation")


@pytest.fixture(scope="module")
def verdicts() -> list[dict[str, Any]]:
    """Those of the claims that the committed page lists, as they lie beside it."""
    found = json.loads((COMMITTED / "verdicts.json").read_text())
    return [one for one in found if one["kind"] != "instrument"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed (extra: browser)"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """open_page(address, width, dark) -> the page; at its end nothing may have been said on the console."""
    said: list[str] = []
    contexts = []

    def open_(address: str, width: int = 1280, *, dark: bool = False, quiet: bool = True) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        contexts.append(context)
        page = context.new_page()
        if quiet:
            page.on(
                "console", lambda one: said.append(one.text) if one.type in ("error", "warning") else None
            )
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture
def shots(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a test's screenshots lie: beside its other files."""
    folder = tmp_path / "shots"
    folder.mkdir()
    return folder
