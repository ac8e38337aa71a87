"""Starts parents of sweeps: reads a command line from stdin, forks, runs `python -m workbench` (or, after the word
`rerun`, `python -m workbench.rerun`) in the fork.

Imported once, forked for each start: a start then costs what planning and recording cost, not what imports cost.
Answers with the process' id, then, when it has ended, with its exit code.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from workbench import __main__ as command
from workbench import rerun
from workbench.process import spawner
from workbench.process.channel import die_with_parent
from workbench.sweep import conduct

conduct.ForkServer = functools.partial(  # type: ignore[misc,assignment]
    spawner.ForkServer, module="tiny_child", preloaded=["yaml", "tiny_child"]
)


def start(words: list[str], output: Path) -> int:
    """Fork a parent that types these words; its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        die_with_parent()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = rerun.main(words[1:]) if words[0] == "rerun" else command.main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt:  # outside of the command's own care: as it starts, or as it says goodbye
        code = 130
    except BaseException:
        traceback.print_exc()  # what a person would see; the exit code says that it was not foreseen
    finally:
        os._exit(code)


def main() -> None:
    """Serve until stdin closes."""
    assert threading.active_count() == 1, "a process with threads must not be forked"
    for line in sys.stdin:
        asked = json.loads(line)
        pid = start(asked["words"], Path(asked["output"]))
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
