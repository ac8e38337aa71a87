"""What a browser shows of a sweep in MLflow: the saved view with its arms, and report.html in the artifact pane."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import COMMITTED
from workbench.record import tags as names
from workbench.report import in_mlflow
from workbench.tracking import Tracker

pytestmark = pytest.mark.slow  # tests/report/test_in_mlflow.py holds what is recorded; here MLflow shows it
LIMIT_MS = 120_000


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address that `workbench.ui` prints of a small sweep, and the id of the sweep's own run."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'm.db'}"
    tracker = Tracker(uri, str(folder / "artifacts"))
    experiment = tracker.experiment("padding")
    tags = {names.SWEEP: "s1"}
    own = tracker.start(experiment, "sweep", params={"name": "padding"}, tags={**tags, names.KIND: "sweep"})
    for arm in ("bucket", "batch"):
        for block in (0, 1, 2):
            of_run = {
                names.KIND: "run",
                names.ARM: f"padding={arm}",
                names.TITLE: arm,
                names.BLOCK: str(block),
            }
            params = {"padding.name": arm, "seed": block}
            run = tracker.start(
                experiment, f"{arm} · block {block}", params=params, tags={**tags, **of_run}, parent=own
            )
            tracker.log(run, [(0, {"speed/valid_tokens_per_s": 1000.0 + block, "data/padding_share": 0.5})])
            tracker.finish(run, "FINISHED")
    tracker.artifact(own, COMMITTED / "report.html")
    in_mlflow.show(
        tracker, tracker.get(own), [], tracker.jobs("padding", "s1"), {"question": "What does padding cost?"}
    )
    tracker.finish(own, "FINISHED")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = folder / "said"
    command = [sys.executable, "-m", "workbench.ui", "--uri", uri, "--port", str(port), "--no-browser"]
    with said.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
    try:
        begun = time.monotonic()
        while "#/experiments/" not in said.read_text():
            assert process.poll() is None
            assert time.monotonic() - begun < 300
            time.sleep(0.5)
        address = next(line for line in said.read_text().splitlines() if "#/experiments/" in line)
        yield address.strip(), own
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.wait(60)


def test_the_view_shows_arms_and_what_was_found(open_page, shown, shots: Path) -> None:
    address, _ = shown
    page = open_page(address, 1600, quiet=False)  # MLflow's own page says much on the console
    for words in ("bucket · block 1", "batch · block 2", "Group by: workbench.title"):
        page.get_by_text(words).first.wait_for(timeout=LIMIT_MS)
    page.screenshot(path=shots / "view.png")
    assert page.get_by_text("block 0").count() == 0, "the throw-away block is left out"
    assert page.get_by_text("padding/").count() == 0
    assert page.get_by_text("What does padding cost?").count() > 0


def test_the_page_opens_in_the_artifact_pane(open_page, shown, verdicts, shots: Path) -> None:
    address, own = shown
    runs = address.partition("?")[0]
    page = open_page(f"{runs}/{own}/artifacts/report.html", 1600, quiet=False)
    inside = page.frame_locator("iframe").locator("h1")
    inside.wait_for(timeout=LIMIT_MS)
    labels = [one["label"] for one in verdicts]
    assert f"{len(labels)} claims: {labels.count('reproduced')} reproduced" in inside.inner_text()
    frame = page.frame_locator("iframe")
    frame.locator("#which").select_option("contradicted")
    assert frame.locator("#claims tbody tr:visible").count() == labels.count("contradicted") > 0
    frame.locator("#theme").click()
    page.screenshot(path=shots / "artifact.png")
