"""Hosts of a network of their own on this machine: namespaces on a switch, with names and links that are cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil


class Hosts:
    """Hosts that reach each other and nothing else; a process on one sees its name and its address."""

    def __init__(self, names: list[str], folder: Path) -> None:
        self.folder, self._names = folder, names
        self.mark = f"wb{os.getpid()}"
        self._switch = f"{self.mark}-switch"
        self._made: list[str] = []
        self._started: list[subprocess.Popen[bytes]] = []

    def set_up(self) -> None:
        """Make the namespaces, the switch, and a link for each."""
        self._namespace(self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")
        for name in self._names:
            space = self._space(name)
            self._namespace(space)
            _ip(
                "link",
                "add",
                "eth0",
                "netns",
                space,
                "type",
                "veth",
                "peer",
                "name",
                name,
                "netns",
                self._switch,
            )
            _ip("-n", self._switch, "link", "set", name, "master", "switch", "up")
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")

    def address(self, name: str) -> str:
        """Of a host, in the network of them all."""
        return f"10.99.0.{self._names.index(name) + 1}"

    def link(self, name: str, *, up: bool) -> None:
        """Cut a host off, or join it again; its own addresses and connections stay as they are."""
        _ip("-n", self._switch, "link", "set", name, "up" if up else "down")

    def start(self, name: str, *words: str | Path, log: str, **options: Any) -> subprocess.Popen[bytes]:
        """A process on a host, whose name it sees; what it says goes to a file of the folder."""
        with open(self.folder / log, "ab") as output:
            one = subprocess.Popen(
                self._on(name, *words), stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
            )
        self._started.append(one)
        return one

    def ask(self, name: str, *words: str | Path, **options: Any) -> str:
        """What a process on a host says; it must end well."""
        done = subprocess.run(
            self._on(name, *words), capture_output=True, text=True, check=False, timeout=300, **options
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def said(self, log: str) -> str:
        """What was written to a file so far."""
        return (self.folder / log).read_text()

    def processes(self, name: str) -> list[psutil.Process]:
        """All that run on a host."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self._space(name)], capture_output=True, text=True, check=False
        )
        found = [int(one) for one in listed.stdout.split()]
        return [psutil.Process(one) for one in found if psutil.pid_exists(one)]

    def power_off(self, name: str) -> None:
        """End all that runs on a host at once, and its link: nobody is told."""
        self.link(name, up=False)
        for one in self.processes(name):
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)

    def close(self) -> None:
        """End every process of every host, and take the network away."""
        for name in self._names:
            if self._space(name) in self._made:
                self.power_off(name)
        for one in self._started:
            one.wait(30)
        for space in self._made:
            subprocess.run(["ip", "netns", "del", space], check=False)

    def _on(self, name: str, *words: str | Path) -> list[str]:
        named = ["unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh"]
        return ["ip", "netns", "exec", self._space(name), *named, *map(str, words)]

    def _space(self, name: str) -> str:
        return f"{self.mark}-{name}"

    def _namespace(self, space: str) -> None:
        _ip("netns", "add", space)
        self._made.append(space)
        _ip("-n", space, "link", "set", "lo", "up")


@contextmanager
def hosts(names: list[str], folder: Path) -> Iterator[Hosts]:
    """Hosts, from when they reach each other to the end of the context."""
    made = Hosts(names, folder)
    try:
        made.set_up()
        yield made
    finally:
        made.close()


def why_not() -> str:
    """Why no host can be made here; empty where they can."""
    if missing := [name for name in ("ip", "unshare", "hostname") if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not here"
    tried = f"wb{os.getpid()}-tried"
    done = subprocess.run(["ip", "netns", "add", tried], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"no network namespace can be made: {done.stderr.strip()}"
    try:
        words = [
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            tried,
            "type",
            "veth",
            "peer",
            "name",
            "eth1",
            "netns",
            tried,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    finally:
        subprocess.run(["ip", "netns", "del", tried], check=False)
    return f"no link between namespaces can be made: {done.stderr.strip()}" if done.returncode else ""


def wait_until(ready: Callable[[], bool], limit_s: float, why: Callable[[], str]) -> None:
    """Wait for what must come."""
    deadline = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < deadline, why()
        time.sleep(0.2)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
