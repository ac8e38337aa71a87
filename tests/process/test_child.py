"""Children that finish, raise, die or hang; each has an outcome and costs the caller nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from workbench.process.channel import Channel
from workbench.process.child import PADDING, Message, Outcome, random_environment, run_child
from workbench.process.spawner import CREDENTIALS, ForkServer, Fresh, Spawner

CHILDREN = {
    "finishes": "channel.log(3, {'loss/step': 0.5}); channel.send('result', metrics={'loss/step': 1.0})",
    "raises": "channel.send('failure', error='the reason', trace='Traceback ...'); return 1",
    "takes back": "channel.send('failure', error='x', trace=''); channel.send('result')",
    "silent": "print('last words'); return 3",
    "leaves": "sys.exit('this cell needs the file licence.txt')",
    "killed": "channel.log(1, {'loss/step': 2.0}); os.kill(os.getpid(), signal.SIGKILL)",
    "hangs": "time.sleep(60)",
    "ended by a real-time signal": "os.kill(os.getpid(), 40)",
    "leaves a helper": "os.fork() or time.sleep(30); os.kill(os.getpid(), signal.SIGKILL)",
    "talks": "channel.log(1, {'loss/step': 2.0}); time.sleep(2); channel.send('result', metrics={})",
    "ends at once": "channel.send('result', metrics={})",
    "dies after it": "channel.send('result', metrics={'loss/step': 1.0}); os.kill(os.getpid(), signal.SIGSEGV)",
    "hangs after it": "channel.send('result', metrics={'loss/step': 1.0}); time.sleep(60)",
    "quiet": "channel.log(1, {'loss/step': 2.0}); channel.quiet(); channel.send('result', metrics={})",
}
SCRIPT = """
import os, signal, sys, time
from workbench.process.channel import Channel

def main(arguments):
    channel = Channel()
    {body}
    return 0

if __name__ == "__main__":
    sys.exit(main([]))
"""


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["fresh", "fork"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., tuple]]:
    """Runs `body` as a child, in both ways of starting one."""
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    if request.param == "fresh":
        spawner: Spawner = Fresh("child")
    else:
        spawner = ForkServer(tmp_path / "server.log", environment, module="child", preloaded=["json"])

    def run(body: str, **options) -> tuple[Outcome, list[Message]]:
        (tmp_path / "child.py").write_text(SCRIPT.format(body=body))
        heard: list[Message] = []
        outcome = run_child(
            [],
            output=tmp_path / "output.log",
            on_message=heard.append,
            environment=environment,
            spawner=spawner,
            **options,
        )
        return outcome, heard

    with closing(spawner):
        yield run


def test_a_child_that_finishes_is_heard(start) -> None:
    outcome, heard = start(CHILDREN["finishes"])
    assert outcome.status == "finished"
    assert outcome.result["metrics"] == {"loss/step": 1.0}
    assert heard == [{"kind": "log", "step": 3, "values": {"loss/step": 0.5}}]


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.setenv(name, "a secret")


def test_a_child_gets_no_credentials(secrets: None, start) -> None:
    outcome, _ = start(
        "channel.send('result', metrics={}, tags={'secret': str('a secret' in os.environ.values())})"
    )
    assert outcome.result["tags"] == {"secret": "False"}
    assert {"MLFLOW_TRACKING_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "PGPASSWORD"} <= set(CREDENTIALS)


def test_a_child_that_raises_says_why(start) -> None:
    outcome, _ = start(CHILDREN["raises"])
    assert (outcome.status, outcome.error, outcome.trace) == ("failed", "the reason", "Traceback ...")


def test_a_child_that_only_exits_leaves_its_last_words(start) -> None:
    outcome, _ = start(CHILDREN["silent"])
    assert outcome.status == "failed"
    assert "exit code 3" in outcome.error
    assert "last words" in outcome.trace


def test_a_child_that_leaves_says_why(start) -> None:
    outcome, _ = start(CHILDREN["leaves"])
    assert outcome.status == "failed"
    assert "this cell needs the file licence.txt" in outcome.trace


def test_a_child_that_only_took_back_what_it_said_has_no_result(start) -> None:
    outcome, _ = start(CHILDREN["takes back"])
    assert outcome.status == "failed"
    assert "without a result" in outcome.error


def test_a_killed_child_loses_nothing_that_it_logged(start) -> None:
    outcome, heard = start(CHILDREN["killed"])
    assert outcome.status == "killed"
    assert "SIGKILL" in outcome.error
    assert heard[0]["values"] == {"loss/step": 2.0}


@pytest.mark.parametrize("how", ["dies after it", pytest.param("hangs after it", marks=pytest.mark.slow)])
def test_a_result_that_is_there_stands_however_the_process_ends(start, how: str) -> None:
    """As where a library crashes while it is unloaded."""
    outcome, _ = start(CHILDREN[how], time_limit_s=2.0)
    assert (outcome.status, outcome.result["metrics"]) == ("finished", {"loss/step": 1.0})


def test_a_result_that_is_there_stands_where_the_server_has_died(tmp_path: Path) -> None:
    """And the server says that it is gone, so that the next job has another."""
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    body = "channel.send('result', metrics={'loss/step': 1.0}); os.kill(os.getppid(), signal.SIGKILL)"
    (tmp_path / "child.py").write_text(SCRIPT.format(body=body))
    with ForkServer(tmp_path / "server.log", environment, module="child", preloaded=["json"]) as server:
        assert not server.is_gone
        outcome = run_child([], output=tmp_path / "log", on_message=lambda message: None, spawner=server)
        assert (outcome.status, outcome.result["metrics"]) == ("finished", {"loss/step": 1.0})
        assert server.is_gone


def test_a_child_that_hangs_is_ended_and_says_where_it_was(start) -> None:
    outcome, _ = start(CHILDREN["hangs"], time_limit_s=1.0)
    assert outcome.status == "timed_out"
    assert "limit of 1 s" in outcome.error
    assert re.search(r'child.py", line \d+ in main', outcome.trace)
    assert outcome.seconds < 30


def test_quiet_is_granted_after_all_that_was_said(start) -> None:
    outcome, heard = start(CHILDREN["quiet"])
    assert outcome.status == "finished"
    assert [message["kind"] for message in heard] == ["log", "quiet"]


@pytest.mark.parametrize("way", ["Fresh('child')", "ForkServer(LOG, module='child', preloaded=[])"])
def test_a_child_ends_with_its_parent(tmp_path: Path, way: str) -> None:
    pid_file = tmp_path / "pid"
    body = f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    (tmp_path / "child.py").write_text(SCRIPT.format(body=body))
    (tmp_path / "parent.py").write_text(
        "import pathlib\nfrom workbench.process.spawner import Fresh, ForkServer\n"
        "from workbench.process.child import run_child\n"
        f"LOG = pathlib.Path({str(tmp_path / 'log')!r})\n"
        f"run_child([], output=LOG, on_message=print, spawner={way})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env=environment)
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline, "the child did not start"
        assert parent.poll() is None, "the parent ended"
        time.sleep(0.05)
    pid = int(pid_file.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)


def test_without_a_listener_a_run_prints(capsys: pytest.CaptureFixture) -> None:
    channel = Channel()
    channel.log(1, {"loss/step": 0.25})
    channel.quiet()
    assert '"loss/step": 0.25' in capsys.readouterr().out


def test_the_environment_varies_in_size_and_fixes_hashing() -> None:
    sizes = {len(random_environment()[PADDING]) for _ in range(20)}
    assert len(sizes) > 5
    assert random_environment()["PYTHONHASHSEED"] == "0"


@pytest.mark.parametrize("start", ["fork"], indirect=True)
def test_a_child_that_was_just_forked_and_leads_no_group_yet_is_ended(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as unled:
        unled.setattr("workbench.process.spawner._kill_group", lambda pid: None)
        outcome, _ = start(CHILDREN["hangs"], time_limit_s=1.0)
    assert outcome.status == "timed_out"


def test_a_child_that_dies_is_not_waited_for_because_a_helper_of_it_lives(start) -> None:
    began = time.monotonic()
    outcome, _ = start(CHILDREN["leaves a helper"], time_limit_s=20)
    assert time.monotonic() - began < 10
    assert (outcome.status, outcome.error) == ("killed", "ended by SIGKILL (out of memory?)")


def test_what_a_child_says_last_is_heard_however_fast_it_ends(start) -> None:
    outcomes = [start(CHILDREN["ends at once"])[0] for _ in range(20)]
    assert {one.status for one in outcomes} == {"finished"}


def test_a_signal_without_a_name_is_called_by_its_number(start) -> None:
    outcome, _ = start(CHILDREN["ended by a real-time signal"])
    assert (outcome.status, outcome.error) == ("killed", "ended by signal 40")


def test_time_in_which_the_store_is_waited_for_is_not_the_child_s(tmp_path: Path) -> None:
    """A link that is down for 1.5 s: the child, which needs 2 s, has 1.5 s more than those."""
    (tmp_path / "child.py").write_text(SCRIPT.format(body=CHILDREN["talks"]))
    outcome = run_child(
        [],
        output=tmp_path / "output.log",
        on_message=lambda message: time.sleep(1.5),
        environment={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        time_limit_s=1.5,
        spawner=Fresh("child"),
    )
    assert outcome.status == "finished"


def test_a_fork_server_whose_imports_hang_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.process.spawner.IMPORTS_S", 2.0)
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    began = time.monotonic()
    with ForkServer(tmp_path / "server.log", environment, preloaded=["hangs"]) as server:
        outcome = run_child(
            [], output=tmp_path / "output.log", on_message=print, time_limit_s=1, spawner=server
        )
    assert time.monotonic() - began < 20
    assert outcome.status == "killed"
    assert "had started no process within 2 s" in outcome.error
