"""report.html: whole in itself, in its order, true to the verdicts, safe with anyone's words."""

from __future__ import annotations

import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from workbench import claims as claims_room
from workbench.places import claims_file, experiments_folder
from workbench.record.frames import runs_of
from workbench.report import decisions, guide, page, results, said
from workbench.report.__main__ import main
from workbench.report.curves import Curve, read_curves, to_csv
from workbench.report.html import page_html
from workbench.report.recorded import ReportError


class Read(HTMLParser):
    """Tags with their attributes, and the text of headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self._heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag in ("h1", "h2"):
            self._heading = True
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        self._heading = self._heading and tag not in ("h1", "h2")

    def handle_data(self, data: str) -> None:
        if self._heading:
            self.headings[-1] += data


@pytest.fixture
def html(verdicts, sweep_runs, facts) -> str:
    runs = runs_of(sweep_runs)
    curves = [Curve(run.run_id, "loss/step", (1, 2, 3), (3.0, 2.0, 1.0)) for run in runs[5:40]]
    more = page.evidence(verdicts, runs, facts)
    return page_html(
        verdicts, runs, facts | {"question": "What?"}, warnings=["Loud."], details=more, curves=curves
    )


def test_it_needs_nothing_from_outside(html: str) -> None:
    read = Read(html)
    assert not {"link", "img", "iframe", "object", "embed"} & {tag for tag, _ in read.tags}
    fetched = [
        value
        for tag, attributes in read.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "action") and value and not value.startswith("#")
    ]
    assert fetched == []
    assert "@import" not in html
    assert "url(http" not in html
    assert len(html.encode()) < 1_000_000


def test_the_answers_come_first(html: str) -> None:
    titles = Read(html).headings
    assert titles[0] == "5 claims: 3 reproduced, 1 contradicted, 1 inconclusive"
    order = [
        "Answers",
        "Claims",
        "Effects with",
        "Learning curves",
        "Speed against",
        "Arms",
        "Method",
        "Facts",
    ]
    places = [next(n for n, title in enumerate(titles) if title.startswith(word)) for word in order]
    assert places == sorted(places)
    assert html.index("Loud.") < html.index('id="answers-title"')


def test_ids_are_unique_and_what_is_named_is_there(html: str) -> None:
    read = Read(html)
    assert len(read.ids) == len(set(read.ids))
    named = {
        value
        for _, attributes in read.tags
        for name, value in attributes.items()
        if name in ("aria-labelledby", "data-table", "data-figure") and value
    }
    jumps = {str(a["href"])[1:] for tag, a in read.tags if tag == "a" and str(a.get("href")).startswith("#")}
    assert named | jumps <= set(read.ids)


def test_each_claim_has_its_value_and_its_threshold(html: str, verdicts) -> None:
    for words in ("3.53x [3.47, 3.60]", "at least 1.2x", "worth the name from 3x", "at most -20 MB"):
        assert words in html
    assert html.count('<tr id="') == 5


def test_a_row_says_what_was_compared_and_an_exact_one_in_how_many_pairs_it_holds(
    html: str, verdicts
) -> None:
    exact = next(one for one in verdicts if one.kind == "exact")
    held = said.held(exact)
    assert held is not None
    assert f'class="short">{held[0]} of {held[1]} hold</td>' in html
    assert f"<span>{said.arms(verdicts[0])}: training speed, more is better</span>" in html
    assert 'class="decided"' in html


def test_the_page_of_the_guide_says_what_to_do_first_and_nothing_false_of_the_instrument(verdicts) -> None:
    again = {"x": next(one for one in verdicts if one.kind == "instrument")}
    names = guide.of_the_guide()
    found, links = guide.committed(names), {name: f"{name}/results/report.html" for name in names}
    text = guide.write_html(found, links, again, decisions.declared())
    titles = Read(text).headings
    assert titles.index("What to do") < titles.index("Answers") < titles.index("Was the instrument quiet?")
    assert "the instrument is unchecked" not in text
    assert 'href="padding_ablation/results/report.html"' in text


def test_nothing_to_show_is_a_page_too(facts) -> None:
    text = page_html([], [], {**facts, "question": ""}, details=page.evidence([], [], facts))
    assert Read(text).headings[0] == "0 runs"


def test_words_of_others_are_text(verdicts, sweep_runs, facts) -> None:
    evil = "<script>alert(1)</script>\"'&"
    odd = [replace(verdicts[0], statement=evil, reasons=(evil,), claim="a<b"), *verdicts[1:]]
    text = page_html(odd, runs_of(sweep_runs), facts | {"name": evil}, warnings=[evil], details=[("x", evil)])
    assert "<script>alert" not in text
    assert sum(tag == "script" for tag, _ in Read(text).tags) == 1


@pytest.mark.slow  # quick: the page's answers
def test_runs_are_linked_where_a_server_is_known(verdicts, sweep_runs, facts) -> None:
    at = "http://mlflow.example.org:5000/#/experiments/7/runs"
    text = page_html(verdicts, runs_of(sweep_runs), facts | {"runs_at": at})
    assert f'href="{at}/lstm-global-0-1"' in text
    assert 'href="http' not in page_html(verdicts, runs_of(sweep_runs), facts)


def test_curves_survive_their_file(tmp_path: Path) -> None:
    curves = [Curve("a", "loss/step", (1, 5), (2.0, 0.1)), Curve("b", "loss/validation_epoch", (5,), (0.3,))]
    (tmp_path / "curves.csv").write_text(to_csv(curves))
    assert read_curves(tmp_path) == curves
    assert read_curves(tmp_path / "nowhere") == []


FOLDERS = sorted(experiments_folder().glob("*_ablation/results*"))


@pytest.mark.parametrize(
    "committed",
    [FOLDERS[0], *(pytest.param(folder, marks=pytest.mark.slow) for folder in FOLDERS[1:])],
    ids=lambda folder: f"{folder.parent.name}-{folder.name}",
)
def test_committed_pages_are_those_of_their_runs(committed: Path, tmp_path: Path) -> None:
    """The quick one stands for all: each is drawn again from its runs, to the same bytes."""
    folder = tmp_path / "results"
    shutil.copytree(committed, folder)
    path = claims_file(committed.parent.name)
    assert path is not None
    written = results.redraw(folder, claims_room.load(path))
    assert {one.name for one in written} >= {"report.html", "report.md", "effects.svg"}
    for one in ("report.html", "report.md", "verdicts.json", "verdicts.csv", "figures/effects.svg"):
        assert (folder / one).read_bytes() == (committed / one).read_bytes(), one


def test_a_folder_that_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"holds no runs\.csv"):
        results.redraw(tmp_path, None)
    with pytest.raises(ReportError, match="was judged by other claims"):
        results.redraw(FOLDERS[0], None)


def test_what_was_not_measured_has_the_value_that_sorts_last(verdicts) -> None:
    """For page.js that is a dash, whichever way the rest is sorted."""
    none = replace(verdicts[0], effect=None, interval=None, decision_interval=None, by_block=())
    for one, value in ((verdicts[0], verdicts[0].effect), (none, "–")):
        assert f'data-label="measured" data-value="{value}">' in page_html([one], [], {"name": "x"})


def test_the_folder_of_a_sweep_is_drawn_again_by_the_claims_of_the_experiment_that_its_facts_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "20260101-000000-abcd" / "report"
    folder.mkdir(parents=True)
    shutil.copy(FOLDERS[0] / "facts.json", folder)
    by_which = []
    monkeypatch.setattr(results, "redraw", lambda folder, claims: by_which.append(claims) or [])
    assert main([str(folder)]) == 0
    assert by_which == [claims_room.load(claims_file(FOLDERS[0].parent.name))]
