"""Sweeps and runs over several hosts, on a network of their own whose links are cut and whose hosts die.

`--kills 1000` cuts links for a minute too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.commands.conftest import ROOT, SMALL
from tests.commands.hosts import Hosts, hosts, wait_until, why_not
from tests.commands.test_server import programs
from workbench.sweep.launch import is_there

# quick: tests/sweep, tests/process/test_replicas.py, tests/training/test_distribution.py, all on one host
pytestmark = [pytest.mark.command, pytest.mark.slow]
PYTHON = Path(sys.executable)
PORT = 5000
READ = """
import json, sys
from workbench.tracking import Tracker
runs = Tracker(sys.argv[1]).runs(sys.argv[2])
facts = lambda run: {"run_id": run.run_id, "status": run.status, "start": run.start, "end": run.end}
print(json.dumps([{**facts(run), **run.tags} for run in runs]))
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Two hosts that compute and one that keeps the record."""
    if why := why_not():
        pytest.skip(why)
    with hosts(["one", "two", "store"], tmp_path_factory.mktemp("network")) as made:
        yield made


@pytest.fixture
def three(network: Hosts, tmp_path: Path) -> Iterator[Hosts]:
    """All three, of which the first two have nothing running and a folder of their own."""
    network.folder = tmp_path
    yield network
    for host in ("one", "two"):
        network.power_off(host)
    for host in ("one", "two", "store"):
        network.link(host, up=True)


@pytest.fixture(scope="module")
def uri(network: Hosts) -> Iterator[str]:
    """The address of an MLflow server over PostgreSQL on the third host."""
    three = network
    pytest.importorskip("psycopg2", reason="make setup LOCK=requirements-extras.txt")
    where = programs()
    if where is None:
        pytest.skip("PostgreSQL's initdb is not here: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="workbench-store-"))  # not pytest's, which root alone may enter
    other: dict[str, Any] = {}
    if os.getuid() == 0:  # PostgreSQL does not run as root
        other = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    made = [
        where / "initdb",
        "--no-sync",
        "--no-locale",
        "--encoding=UTF8",
        "--username=mlflow",
        "--auth=trust",
    ]
    subprocess.run([*made, folder / "data"], check=True, capture_output=True, **other)
    serve = [where / "postgres", "-D", folder / "data", "-F", "-h", "127.0.0.1", "-k", folder]
    try:
        three.start(
            "store",
            "setpriv",
            "--reuid=nobody",
            "--regid=nogroup",
            "--clear-groups",
            *serve,
            log="postgres.log",
        )
        there = ["-h", "127.0.0.1", "-U", "mlflow"]
        _answers(three, where / "pg_isready", "-q", *there)
        three.ask("store", where / "createdb", *there, "mlflow")
        address = f"http://{three.address('store')}:{PORT}"
        words = [PYTHON, "-m", "mlflow", "server", "--host", "0.0.0.0", "--port", str(PORT), "--workers", "1"]
        words += ["--allowed-hosts", f"{three.address('store')}:{PORT}"]
        words += ["--backend-store-uri", "postgresql+psycopg2://mlflow@127.0.0.1/mlflow"]
        words += ["--artifacts-destination", folder / "artifacts"]
        three.start("store", *words, log="mlflow.log", env=surroundings(three))
        asked = f"import urllib.request as u; u.urlopen('{address}/health', timeout=5).close()"
        _answers(three, PYTHON, "-c", asked)
        yield address
    finally:
        three.power_off("store")
        shutil.rmtree(folder)


def _answers(three: Hosts, *words: str | Path) -> None:
    def ready() -> bool:
        try:
            three.ask("store", *words)
        except AssertionError:
            return False
        return True

    wait_until(ready, 90, lambda: three.said("postgres.log") + three.said("mlflow.log"))


def typed(three: Hosts, host: str, *words: str, log: str, **environment: str) -> subprocess.Popen[bytes]:
    """`python -m workbench WORDS` on a host, in a folder of its own."""
    folder = three.folder / host
    folder.mkdir(exist_ok=True)
    own = surroundings(three) | environment
    return three.start(host, PYTHON, "-m", "workbench", *SMALL, *words, log=log, cwd=folder, env=own)


def recorded(three: Hosts, uri: str, name: str) -> list[dict[str, Any]]:
    """The runs of an experiment, as the store has them."""
    done = three.ask("one", PYTHON, "-c", READ, uri, name, cwd=ROOT)
    found: list[dict[str, Any]] = json.loads(done.splitlines()[-1])
    return found


def jobs(three: Hosts, uri: str, name: str) -> list[dict[str, Any]]:
    return [one for one in recorded(three, uri, name) if one.get("workbench.kind") == "run"]


def begun(three: Hosts, uri: str, name: str) -> None:
    """Wait until a job has finished and another runs."""

    def some() -> bool:
        return {"FINISHED", "RUNNING"} <= {one["status"] for one in jobs(three, uri, name)}

    wait_until(some, 300, lambda: three.said(f"{name}.log"))


def ended_while_a_job_runs(three: Hosts, uri: str, name: str, host: str) -> None:
    """End all that runs on a host, once a job has finished, at a moment when another runs as the store has it.

    To ask the store takes seconds, in which a job may end: the host stands still meanwhile.
    """
    begun(three, uri, name)

    def caught() -> bool:
        everything = three.processes(host)
        for one in everything:
            with suppress(psutil.NoSuchProcess):
                one.suspend()
        if any(one["status"] == "RUNNING" for one in jobs(three, uri, name)):
            return True
        for one in everything:
            with suppress(psutil.NoSuchProcess):
                one.resume()
        time.sleep(2)
        return False

    wait_until(caught, 120, lambda: three.said(f"{name}.log"))
    for one in three.processes(host):
        with suppress(psutil.NoSuchProcess):
            one.kill()


def only_in_the_long_form(request: pytest.FixtureRequest) -> None:
    """What takes minutes and shows little more than the short form."""
    if request.config.getoption("--kills") <= 100:
        pytest.skip("is of the long form: --kills 1000")


@pytest.mark.parametrize("seconds", [5, 60])
def test_a_sweep_waits_for_the_store_whose_link_is_cut(
    three: Hosts, uri: str, seconds: int, request: pytest.FixtureRequest
) -> None:
    """It goes on when the link comes back; each job once."""
    if seconds > 5:
        only_in_the_long_form(request)
    name = f"cut_for_{seconds}"  # the store keeps what it has from test to test
    words = ["tracking=server", f"tracking.uri={uri}", f"name={name}", "measure=off"]
    sweep = typed(three, "one", "-m", *words, "padding=global,batch", "seed=1,2,3", log="cut.log")
    begun(three, uri, name)
    three.link("store", up=False)
    time.sleep(seconds)
    three.link("store", up=True)
    assert sweep.wait(300) == 0, three.said("cut.log")
    found = jobs(three, uri, name)
    assert [one["status"] for one in found] == ["FINISHED"] * 6
    assert len({one["workbench.identity"] for one in found}) == 6


def test_a_store_that_stays_away_ends_the_sweep_which_resume_completes(three: Hosts, uri: str) -> None:
    """Within what MLflow's own variables say, with the store's address."""
    words = ["-m", "tracking=server", f"tracking.uri={uri}", "name=away", "measure=off"]
    words += ["padding=global,batch", "seed=1,2,3", "workbench.resume=true"]
    patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    sweep = typed(three, "one", *words, log="away.log", **patience)
    begun(three, uri, "away")
    three.link("store", up=False)
    assert sweep.wait(180) == 1, three.said("away.log")
    assert f"tracking.uri={uri}: nothing answers there" in three.said("away.log")
    assert "What is left was not begun; workbench.resume=true begins it" in three.said("away.log")
    three.link("store", up=True)
    again = typed(three, "one", *words, log="again.log")
    assert again.wait(300) == 0, three.said("again.log")
    found = jobs(three, uri, "away")
    assert {one["status"] for one in found} <= {"FINISHED", "KILLED", "FAILED"}
    done = [one for one in found if one["status"] == "FINISHED"]
    assert len(done) == len({one["workbench.identity"] for one in done}) == 6


CLOCK = """
import os, time
_ahead, _time, _time_ns = int(os.environ["CLOCK_AHEAD_S"]), time.time, time.time_ns
time.time = lambda: _time() + _ahead
time.time_ns = lambda: _time_ns() + _ahead * 10**9
"""


@pytest.mark.parametrize("seconds", [-60, 60])
def test_a_sweep_goes_on_at_a_host_whose_clock_is_a_minute_off(three: Hosts, uri: str, seconds: int) -> None:
    """Each job once, and nothing ends before it began.

    The clock is that which Python reads (MLflow's times come from it); the system's is one for all hosts here.
    """
    clock = three.folder / "clock"
    clock.mkdir()
    # on both hosts: a file that one of them lacks would be another program
    (clock / "sitecustomize.py").write_text(CLOCK)
    path = {"PYTHONPATH": f"{clock}{os.pathsep}{ROOT}"}
    name = f"clocks{seconds}"
    words = ["-m", "tracking=server", f"tracking.uri={uri}", f"name={name}", "measure=off"]
    words += ["padding=global,batch", "seed=1,2,3", "workbench.resume=true"]
    sweep = typed(three, "one", *words, log=f"{name}.log", **path, CLOCK_AHEAD_S="0")
    ended_while_a_job_runs(three, uri, name, "one")
    sweep.wait(30)
    other = {**path, "CLOCK_AHEAD_S": str(seconds)}
    alone = typed(three, "two", *words, log="refused.log", **other)
    assert alone.wait(60) == 2, three.said("refused.log")
    assert "belongs to a process on one" in three.said("refused.log")
    again = typed(three, "two", *words, "workbench.take_over=true", log="again.log", **other)
    assert again.wait(300) == 0, three.said("again.log")
    found = recorded(three, uri, name)
    assert all(one["end"] >= one["start"] for one in found)
    of_jobs = [one for one in found if one.get("workbench.kind") == "run"]
    assert sorted(one["status"] for one in of_jobs) == ["FINISHED"] * 6 + ["KILLED"]
    done = [one for one in of_jobs if one["status"] == "FINISHED"]
    assert len({one["workbench.identity"] for one in done}) == 6
    first = min(one["start"] for one in of_jobs if one["workbench.owner"].startswith("two/"))
    (killed,) = (one for one in of_jobs if one["status"] == "KILLED")
    assert (first < killed["start"]) == (seconds < 0), "the clocks did differ"


RAY_PORT = 6379


@pytest.fixture
def ray(three: Hosts) -> Iterator[list[str]]:
    """A Ray cluster of the first two hosts, a core each; the words by which a sweep takes it."""
    if not is_there("hydra_plugins.hydra_ray_launcher"):
        pytest.skip("its plugin is not here: make setup LOCK=requirements-extras.txt")
    head = f"{three.address('one')}:{RAY_PORT}"
    of_all = ["-m", "ray.scripts.scripts", "start", "--num-cpus=1"]
    # a folder for each, since they share this machine's disk; and its name is short, for it is a socket's
    first = ["--head", f"--port={RAY_PORT}", "--include-dashboard=false", f"--temp-dir=/tmp/{three.mark}"]
    for host, role in (("one", first), ("two", [f"--address={head}"])):
        words = [*of_all, *role, f"--node-ip-address={three.address(host)}"]
        three.ask(host, PYTHON, *words, env=surroundings(three))
    yield ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={head}"]
    shutil.rmtree(f"/tmp/{three.mark}", ignore_errors=True)


def surroundings(three: Hosts) -> dict[str, str]:
    """The environment of what runs on a host."""
    own = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(three.folder / "cache")}
    return {**os.environ, **own, "RAY_AUTH_MODE": "disabled", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def running_on(three: Hosts, uri: str, name: str, host: str) -> list[dict[str, Any]]:
    """The jobs that run on a host just now."""
    return [
        one
        for one in jobs(three, uri, name)
        if one["status"] == "RUNNING" and one["workbench.owner"].startswith(f"{host}/")
    ]


def ray_sweep(three: Hosts, uri: str, ray: list[str], name: str) -> tuple[list[str], subprocess.Popen[bytes]]:
    """A sweep that has begun on the cluster: its words, its process."""
    words = ["-m", "tracking=server", f"tracking.uri={uri}", f"name={name}", "measure=off", *ray]
    words += ["padding=global,batch", "seed=1,2,3", "training.epochs=300", "workbench.resume=true"]
    sweep = typed(three, "one", *words, log=f"{name}.log")
    begun(three, uri, name)
    return words, sweep


def each_once(three: Hosts, uri: str, name: str) -> None:
    """Of each job of that sweep one run counts."""
    done = [one for one in jobs(three, uri, name) if one["status"] == "FINISHED"]
    assert len(done) == len({one["workbench.identity"] for one in done}) == 6


def test_a_link_to_a_host_of_a_ray_cluster_is_cut_for_seconds(three: Hosts, uri: str, ray: list[str]) -> None:
    """It costs nothing."""
    _, sweep = ray_sweep(three, uri, ray, "spread")
    three.link("two", up=False)
    time.sleep(5)
    three.link("two", up=True)
    assert sweep.wait(400) == 0, three.said("spread.log")
    assert len(jobs(three, uri, "spread")) == 6
    each_once(three, uri, "spread")


def test_a_host_of_a_ray_cluster_dies(
    three: Hosts, uri: str, ray: list[str], request: pytest.FixtureRequest
) -> None:
    """It costs its job, which is KILLED and resumed; Ray takes ten minutes to give the host up."""
    only_in_the_long_form(request)
    words, sweep = ray_sweep(three, uri, ray, "dying")
    wait_until(lambda: bool(running_on(three, uri, "dying", "two")), 180, lambda: three.said("dying.log"))
    three.power_off("two")
    (victim,) = running_on(three, uri, "dying", "two")
    assert sweep.wait(1200) == 1, three.said("dying.log")
    found = {one["run_id"]: one for one in jobs(three, uri, "dying")}
    assert sorted(one["status"] for one in found.values()) == ["FINISHED"] * 5 + ["KILLED"]
    assert found[victim["run_id"]]["status"] == "KILLED"
    assert found[victim["run_id"]]["workbench.error"]
    again = typed(three, "one", *words, log="again.log")
    assert again.wait(300) == 0, three.said("again.log")
    each_once(three, uri, "dying")


def workers(three: Hosts, uri: str, name: str, *words: str) -> list[subprocess.Popen[bytes]]:
    """One run of two workers, a host each; the first is the chief."""
    cluster = {"worker": [f"{three.address(host)}:7000" for host in ("one", "two")]}
    words = ("tracking=server", f"tracking.uri={uri}", f"name={name}", *TRAINED, *words)
    found = []
    for number, host in enumerate(("one", "two")):
        place = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": number}})
        found.append(typed(three, host, *words, log=f"{host}.log", TF_CONFIG=place))

    def trains() -> bool:
        return any(log.stat().st_size for log in three.folder.glob("one/mlruns/hydra/*/*/*/log.jsonl"))

    wait_until(trains, 180, lambda: three.said("one.log") + three.said("two.log"))
    return found


TRAINED = (
    "training.strategy=multi_worker", "training.workers=2", "training.worker_timeout_s=30", "training.log_every=1",
)  # fmt: skip


def test_a_run_over_two_hosts_goes_on_after_a_short_cut(three: Hosts, uri: str) -> None:
    chief, other = workers(three, uri, "wide", "training.max_steps=1500", "measure=off")
    three.link("two", up=False)
    time.sleep(5)
    assert (chief.poll(), other.poll()) == (None, None), three.said("one.log")
    three.link("two", up=True)
    assert (chief.wait(300), other.wait(60)) == (0, 0), three.said("one.log") + three.said("two.log")
    (run,) = recorded(three, uri, "wide")
    assert run["status"] == "FINISHED"
    assert "worker 1 of 2 has done its part" in three.said("two.log")


@pytest.mark.parametrize("dies", [False, True], ids=["cut for 60 s", "dies"])
def test_a_run_whose_other_host_is_gone_ends_and_says_so(
    three: Hosts, uri: str, dies: bool, request: pytest.FixtureRequest
) -> None:
    if not dies:
        only_in_the_long_form(request)
    chief, other = workers(three, uri, f"gone{dies}", "training.epochs=1000000")
    begun_at = time.monotonic()
    if dies:
        three.power_off("two")
    else:
        three.link("two", up=False)
        time.sleep(60)
        three.link("two", up=True)
    assert chief.wait(150) == 1, three.said("one.log")
    assert time.monotonic() - begun_at < 150
    (run,) = recorded(three, uri, f"gone{dies}")
    assert run["status"] == "FAILED"
    assert f"worker 1 ({three.address('two')}:7000)" in run["workbench.error"]
    assert other.wait(150) != 0, three.said("two.log")
