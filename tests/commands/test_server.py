"""A sweep against an MLflow server with PostgreSQL, an artifact proxy and basic auth, set up as its README says."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from workbench.record.frames import frame_of
from workbench.tracking import Tracker

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = """
schema: 1
pairs: 2
equal: [data.fingerprint]
control_again: false
claims:
- name: padding_changes_no_result
  kind: exact
  statement: How far a batch is padded does not change what is learnt.
  source: "guide, passing sequence_length"
  metric: loss/validation_per_token
  scale: difference
  treatment: {padding.name: batch}
  control: {padding.name: global}
  direction: same
  smallest: 0
  tolerance: 0.00001
  why_smallest: only the order of sums may differ
"""


ADDRESS = "mlflow.example.org:5000"
SECRETS = ("PGPASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")


@dataclass
class Server:
    """An MLflow server that answers, and where it keeps what it gets."""

    address: str
    folder: Path
    user: str
    password: str
    secrets: dict[str, str]
    dump: Callable[[], bytes]

    @property
    def uri(self) -> str:
        return f"http://{self.address}"


def readme() -> tuple[str, str]:
    """What the sweep room's README has to be typed where the server runs, and what anywhere."""
    text = (ROOT / "workbench" / "sweep" / "README.md").read_text()
    section = text.partition("\n## A tracking server\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    assert len(blocks) == 2
    return textwrap.dedent(blocks[0]), textwrap.dedent(blocks[1])


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian's are in no PATH."""
    known = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    return next((one for one in [*known, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]), None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def running(words: list[str | Path], log: Path, ready, **options) -> Iterator[None]:
    """A process in the background, from when it is ready to the end of the context."""
    with (
        open(log, "ab") as output,
        subprocess.Popen(words, stdout=output, stderr=output, **options) as process,
    ):
        try:
            deadline = time.monotonic() + 60
            while not ready():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    for module in ("psycopg2", "flask_wtf"):
        pytest.importorskip(
            module, reason="a server's packages are not here: make setup LOCK=requirements-extras.txt"
        )
    where = programs()
    if where is None:
        pytest.skip("PostgreSQL's initdb is not here: apt-get install postgresql")
    secrets = {name: uuid.uuid4().hex for name in SECRETS}
    folder = Path(tempfile.mkdtemp(prefix="workbench-server-"))  # not pytest's, which root alone may enter
    try:
        with (
            _postgres(where, folder, secrets["PGPASSWORD"]) as place,
            _mlflow(folder, place, secrets) as made,
        ):
            made.dump = lambda: _output([where / "pg_dump", "mlflow"], place | secrets)
            yield made
    finally:
        shutil.rmtree(folder)


@contextmanager
def _postgres(where: Path, folder: Path, password: str) -> Iterator[dict[str, str]]:
    """PostgreSQL with a role and a database `mlflow`; the environment in which clients find it."""
    other = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    if other:  # PostgreSQL does not run as root
        shutil.chown(folder, "nobody", "nogroup")
    port, data, secret = free_port(), folder / "data", folder / "secret"
    secret.write_text(password)
    login = ["--username=mlflow", "--auth=scram-sha-256", f"--pwfile={secret}"]
    _output([where / "initdb", "--no-sync", "--no-locale", "--encoding=UTF8", *login, data], **other)
    secret.unlink()
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "mlflow"}

    def ready() -> bool:
        asked = [where / "pg_isready", "-q"]
        return subprocess.run(asked, env=os.environ | place, check=False).returncode == 0

    settings = ["-F", "-h", "127.0.0.1", "-p", str(port), "-k", folder]
    with running([where / "postgres", "-D", data, *settings], folder / "postgres.log", ready, **other):
        _output([where / "createdb", "mlflow"], place | {"PGPASSWORD": password})
        yield place


@contextmanager
def _mlflow(folder: Path, place: dict[str, str], secrets: dict[str, str]) -> Iterator[Server]:
    """README's server: as it is typed there, but for secrets, folder, and this machine's name and free ports."""
    script, (port, user, password) = readme()[0], (free_port(), "researcher", uuid.uuid4().hex)
    made = Server(f"127.0.0.1:{port}", folder, user, password, secrets, bytes)
    own = {f"{name}=...": f"{name}={secret}" for name, secret in secrets.items()}
    own |= {"/srv/mlflow": str(folder / "artifacts"), "0.0.0.0": "127.0.0.1", ADDRESS: made.address}
    for written, here in own.items():
        assert script.count(written) == 1, written
        script = script.replace(written, here)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PGPORT": place["PGPORT"], "MLFLOW_PORT": str(port)}
    environment |= {"MLFLOW_WORKERS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # five processes more, for language models

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{made.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    (folder / "typed").mkdir()
    words = ["bash", "-e", "-c", script.replace("\nmlflow server", "\nexec mlflow server")]
    with running(words, folder / "mlflow.log", ready, env=environment, cwd=folder / "typed"):
        told = json.dumps({"username": user, "password": password}).encode()
        token = b64encode(f"admin:{secrets['MLFLOW_AUTH_ADMIN_PASSWORD']}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {token}"}
        asked = urllib.request.Request(f"{made.uri}/api/2.0/mlflow/users/create", told, headers)
        urllib.request.urlopen(asked, timeout=30).close()
        yield made


def _output(words: list[str | Path], environment: dict[str, str] | None = None, **options) -> bytes:
    done = subprocess.run(
        words, env=os.environ | (environment or {}), capture_output=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def with_credentials(patch: pytest.MonkeyPatch, user: str, password: str) -> None:
    patch.setenv("MLFLOW_TRACKING_USERNAME", user)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password)


@pytest.mark.slow  # quick: credentials and addresses, above and in tests/config
@pytest.mark.command
class TestServer:
    def test_a_sweep_is_recorded_judged_and_read_back_and_no_password_is_written_anywhere(
        self, server: Server, tmp_path: Path, type_in, small, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with_credentials(monkeypatch, server.user, server.password)
        (tmp_path / "claims.yaml").write_text(CLAIMS)
        typed = readme()[1].replace(ADDRESS, server.address).split("python -m workbench ")[1].split()
        words = [word for word in typed if word != "+experiment=padding_ablation"]
        assert words == ["-m", "tracking=server", f"tracking.uri={server.uri}"]
        swept = ["padding=global,batch", "sweep.claims=claims.yaml", "sweep.throw_away=false"]
        done = type_in(tmp_path, *words, *small, "measure=off", "name=served", *swept)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "reproduced" in done.stdout
        tracker = Tracker(server.uri)
        runs = frame_of(tracker.runs("served"))
        assert list(runs["status"]) == ["FINISHED"] * 5
        (parent,) = runs[runs["tags.workbench.kind"] == "sweep"]["run_id"]
        assert json.loads(tracker.read_text(parent, "verdicts.json"))[0]["verdict"] == "reproduced"
        child = runs[runs["tags.workbench.kind"] == "run"]["run_id"].iloc[0]
        assert "uri: http://127.0.0.1" in tracker.read_text(child, "config.yaml")
        assert not (tmp_path / "mlruns" / "artifacts").exists()

        dumped = server.dump()
        assert b"loss/validation_per_token" in dumped
        assert server.user.encode() in dumped
        folders = (tmp_path, server.folder)
        written = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert any(path.is_relative_to(server.folder / "artifacts") for path in written)
        said = [dumped, done.stdout.encode(), done.stderr.encode(), *(path.read_bytes() for path in written)]
        for secret in (server.password, *server.secrets.values()):
            assert not any(secret.encode() in text for text in said)
        assert not any(b64encode(f"{server.user}:{server.password}".encode()) in text for text in said)

    @pytest.mark.parametrize("password", ["wrong", ""])
    def test_a_wrong_password_is_refused_before_anything_is_run(
        self, server: Server, tmp_path: Path, monkeypatch, capsys, password: str
    ) -> None:
        from workbench.__main__ import main

        with_credentials(monkeypatch, server.user if password else "", password)
        monkeypatch.chdir(tmp_path)
        assert main(["tracking=server", f"tracking.uri={server.uri}"]) == 2
        said = capsys.readouterr().err
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
        assert "wrong" not in said
        assert not (tmp_path / "mlruns").exists()
