"""Several experiments one after another, and one table over all their verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from workbench.claims import Claim, ClaimError, PairingError
from workbench.config import Config, ConfigError, Problem
from workbench.console import say
from workbench.provenance import without_passwords
from workbench.report import guide
from workbench.sweep.compose import Composer
from workbench.sweep.conduct import PrepareError, new_sweep_id
from workbench.sweep.devices import require_devices
from workbench.sweep.journal import RecordLostError
from workbench.sweep.launch import Launch
from workbench.sweep.overrides import first
from workbench.sweep.planning import plan_sweep
from workbench.sweep.start import sweep_folder
from workbench.sweep.sweep import Swept, run_sweep
from workbench.tracking import TrackingError
from workbench.wording import counted

_CHOICE = ("+experiment=", "experiment=", "++experiment=")


@dataclass(frozen=True)
class Series:
    """Experiments by name, and what they are called together."""

    name: str
    experiments: tuple[str, ...]


def asked_series(compose: Composer, overrides: Sequence[str]) -> Series | None:
    """The series that `sweep.experiments` names; None for a sweep with a grid of its own.

    Raises:
        ConfigError: a name that no file in conf/experiment/ has.
    """
    tree, _ = compose.only(first(compose.read(overrides)), ("name", "sweep"))
    section = tree.get("sweep")
    named = section.get("experiments") if isinstance(section, dict) else None
    known = compose.choices("experiment")
    wrong = [one for one in named or [] if one not in known]
    if wrong:
        remedy = f"there are {', '.join(known)}"
        raise ConfigError([Problem("sweep.experiments", one, remedy) for one in wrong])
    return Series(tree.get("name", "runs"), tuple(named)) if named else None


def run_series(compose: Composer, series: Series, overrides: Sequence[str], console: Console) -> int:
    """Each experiment as its own sweep, with the same other overrides; then the table over all verdicts.

    All are planned and checked before the first one starts. What still ends a sweep before its time (its data
    cannot be had, the database is gone, it is not to be resumed so) costs that experiment, and is said once more
    at the end. 0; 1 where a sweep failed, was not run or lost its record; 2 where none was run.
    """
    others = [one for one in overrides if not one.startswith(_CHOICE)]
    given = {name: [f"+experiment={name}", *others] for name in series.experiments}
    planned = {name: plan_sweep(compose, of_one) for name, of_one in given.items()}
    called = {name: config.name for name, (config, _, _) in planned.items()}
    wrong = []
    for common, count in Counter(called.values()).items():
        if count > 1:
            alike = " and ".join(name for name in called if called[name] == common)
            wrong.append(Problem("name", common, f"{alike} would be recorded under one name: leave it out"))
    if wrong:
        raise ConfigError(wrong)
    claimed = [(name, one) for name, (_, declared, _) in planned.items() for one in declared or ()]
    guide.entries(
        [guide.Finding(name, claim, None) for name, claim in claimed]
    )  # each has its place in the table
    for number, (name, (_, declared, plan)) in enumerate(planned.items(), 1):
        claims = f", {counted(len(declared), 'claim')}" if declared else ""
        console.print(f"{number}. {name}: {counted(len(plan.jobs), 'job')}{claims}", highlight=False)
    config = next(config for config, _, _ in planned.values())
    if config.workbench.dry_run:
        return 0
    launch = Launch.chosen(compose, first(compose.read(given[series.experiments[0]])))
    if not config.workbench.resume and (not launch or launch.is_here):
        require_devices(job for _, _, plan in planned.values() for job in plan.jobs)
    ran: dict[str, Swept] = {}
    ended: list[str] = []
    has_run = False
    for name, of_one in given.items():
        console.rule(name)
        try:
            ran[name] = run_sweep(compose, of_one, console)
            has_run = True
        except (ConfigError, ClaimError, PairingError, PrepareError, TrackingError) as error:
            has_run |= isinstance(error, RecordLostError)
            ended.append(f"{name} was ended: {without_passwords(str(error))}")
            say(console, ended[-1], style="red")
    if ran:
        sweeps = {name: (called[name], swept.sweep) for name, swept in ran.items()}
        try:
            _show_table(config, series, sweeps, {name: of[1] for name, of in planned.items()}, console)
        except (ValueError, OSError, PrepareError, TrackingError) as error:
            ended.append(f"{series.name} has no table: {without_passwords(str(error))}")
    for words in ended:
        say(console, words, style="red")
    return max([1 if ended else 0, *(swept.code for swept in ran.values())]) if has_run else 2


def _show_table(
    config: Config,
    series: Series,
    sweeps: Mapping[str, tuple[str, str]],
    declared: Mapping[str, Sequence[Claim] | None],
    console: Console,
) -> None:
    """All verdicts in one table, also as a page beside the reports; what was not run now stands as not run.

    `sweeps`: the experiments that were, each with the name that its sweep is recorded under, and the sweep's id;
    `declared`: the claims that each is judged by.
    """
    found, links, folders = [], {}, {}
    page = sweep_folder(config.tracking.folder, series.name, new_sweep_id()) / "guide.md"
    for name in series.experiments:
        claims = declared[name] or ()
        folder, link = page.with_name(f"{name} was not run"), claims[0].file if claims else name
        if name in sweeps:
            folder = sweep_folder(config.tracking.folder, *sweeps[name]) / "report"
            link = str(folder / "report.md")
        found += guide.findings(name, folder, claims)
        links[name], folders[name] = link, folder
    again = guide.instruments(folders)
    page.write_text(guide.write_page(found, links, again))
    pages = {name: str(Path(link).with_suffix(".html")) for name, link in links.items()}
    page.with_suffix(".html").write_text(guide.write_html(found, pages, again))
    console.rule(series.name)
    console.print(guide.table(found))
    say(console, f"page: {page.with_suffix('.html')}")
