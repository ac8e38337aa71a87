"""A tracked run, or all of a sweep, again from its record alone, compared number by number.

python -m workbench.rerun RUN_ID       # a run: its frozen configuration, data and way to start
python -m workbench.rerun SWEEP_ID     # every finished run of a sweep, one after another
python -m workbench.rerun RUN_ID --other-machine   # counts equal, losses near, what was learnt as other seeds learn

Exit code 0: every number is equal or within noise (or its noise is not known); 1: one differs, or a run failed;
2: it cannot be run again, and nothing was; 130: interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from workbench.config import ConfigError
from workbench.console import Lasting, command_line, on_stderr, on_stdout
from workbench.provenance import without_passwords
from workbench.sweep.conduct import PrepareError
from workbench.sweep.rerun import rerun
from workbench.tracking import Tracker, TrackingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run again and compare; the exit code."""
    parser = command_line("workbench.rerun", __doc__)
    parser.add_argument("id", metavar="RUN_ID", help="a run's id, or a sweep's")
    parser.add_argument("--uri", default="sqlite:///mlruns/mlflow.db", help="MLflow tracking URI")
    parser.add_argument(
        "--other-machine", action="store_true", help="this is not the machine of the record: bits may differ"
    )
    given = parser.parse_args(arguments)
    console, errors = on_stdout(Lasting, width=100), on_stderr()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return rerun(Tracker(given.uri, create=False), given.id, console, other_machine=given.other_machine)
    except (ConfigError, PrepareError, TrackingError) as error:
        errors.print(without_passwords(str(error)), style="red")
        return 2
    except KeyboardInterrupt:
        errors.print("interrupted; what had finished is recorded", style="red")
        return 130


if __name__ == "__main__":
    sys.exit(main())
