"""report.html in a browser: no errors, sorts, filters, switches theme, fits a phone, saves, prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import COMMITTED
from workbench.places import experiments_folder

pytestmark = pytest.mark.slow  # tests/report/test_html.py holds what the file says; here a browser runs it
PAGES = sorted(experiments_folder().glob("*/results/report.html"))


def address(page: Path) -> str:
    return page.resolve().as_uri()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.parent.name)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_every_page_opens_and_fits(open_page, shots, path: Path, width: int, dark: bool) -> None:
    page = open_page(address(path), width, dark=dark)
    page.screenshot(path=shots / f"{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#claims tbody tr").count() > 0
    assert page.locator("figure svg").count() > 0


@pytest.fixture
def page(open_page):
    return open_page(address(COMMITTED / "report.html"))


def measured(page) -> list[str]:
    return page.locator('#claims tbody td[data-label="verdict"]').all_inner_texts()


def test_a_click_sorts_and_a_second_turns_it_round(page) -> None:
    before = measured(page)
    head = page.locator("#claims thead button", has_text="verdict")
    head.click()
    up = measured(page)
    assert up == sorted(before)
    assert page.locator("#claims th[aria-sort=ascending]").count() == 1
    head.click()
    assert measured(page) == sorted(before, reverse=True)
    speed = page.locator("#arms thead button", has_text="speed")
    for falling in (False, True):
        speed.click()
        texts = page.locator("#arms tbody td:nth-child(3)").all_inner_texts()
        numbers = [float(text.split(" ")[0].replace(",", "")) for text in texts if text != "–"]
        assert len(numbers) > 2
        assert numbers == sorted(numbers, reverse=falling)
        assert set(texts[len(numbers) :]) <= {"–"}, "an arm whose speed was not measured stands last"


def test_a_filter_leaves_what_was_asked_for(page, verdicts: list[dict]) -> None:
    contradicted = [one for one in verdicts if one["label"] == "contradicted"]
    assert 0 < len(contradicted) < len(verdicts)
    page.select_option("#which", "contradicted")
    assert page.locator("#claims tbody tr:visible").count() == len(contradicted)
    assert page.locator("#shown").inner_text() == f"{len(contradicted)} of {len(verdicts)} claims"
    name = max((one["claim"] for one in contradicted), key=len)  # no other's name begins with it
    page.fill("#mention", name.upper())
    assert page.locator("#claims tbody tr:visible").count() == 1
    assert name in page.locator("#claims tbody tr:visible").inner_text()


def test_the_theme_is_switched_by_hand(page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) != before
    page.click("#theme")
    assert page.evaluate(ground) == before


def test_the_keyboard_reaches_all(page) -> None:
    page.focus("#theme")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#claims thead') !== null"):
            break
    page.keyboard.press("Enter")
    assert page.locator("#claims th[aria-sort]").count() == 1


def test_tables_and_figures_are_saved(page, verdicts: list[dict], tmp_path: Path) -> None:
    def saved(button) -> str:
        with page.expect_download() as download:
            button.click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path.read_text()

    csv = saved(page.locator('button[data-save=csv][data-table="claims"]'))
    assert csv.splitlines()[0] == "claim,verdict,measured,claimed,pairs,over all files,against it"
    assert len(csv.splitlines()) == 1 + len(verdicts)
    latex = saved(page.locator('button[data-save=latex][data-table="claims"]'))
    assert latex.startswith("\\begin{tabular}")
    assert "P2\\_batch\\_padding\\_is\\_faster" in latex
    svg = saved(page.locator("button[data-save=svg]").first)
    assert svg.startswith("<svg")
    assert "var(--" not in svg


def test_it_prints_without_its_controls(page, shots: Path) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#theme").is_visible()
    page.pdf(path=shots / "report.pdf")
    assert (shots / "report.pdf").stat().st_size > 10_000


def test_a_reader_of_screens_finds_names(page) -> None:
    for selector in ("svg[role=img]", "button", "select", "input"):
        for one in page.locator(selector).all():
            name = one.evaluate(
                "e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent"
                " || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent"
            )
            assert name.strip(), one
