"""The table of tags: what each name says of a run, and of what type. A name that ends in a dot stands for many."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from workbench.record.sections import SECTIONS

KIND = "workbench.kind"
SWEEP = "workbench.sweep"
ARM = "workbench.arm"
TITLE = "workbench.title"
BLOCK = "workbench.block"
REPEAT = "workbench.repeat"
ORDER = "workbench.order"
ATTEMPT = "workbench.attempt"
IDENTITY = "workbench.identity"
START = "workbench.start"
ERROR = "workbench.error"
OWNER = "workbench.owner"
DIGEST_OF_LOSSES = "digest.losses"
REQUEUED = "workbench.requeued"
DISTURBED = "workbench.disturbed"
SUPERSEDED = "workbench.superseded"
NOT_FINITE = "workbench.not_finite"
DIVERGED = "workbench.diverged"
VISIBLE = "device.visible"
DIVERGED_AT = "workbench.diverged_at"
RERUN_OF = "workbench.rerun_of"
RERUN_RESULT = "workbench.rerun_result"
COMMAND = "workbench.command"
STARTED = "workbench.started"
SCALE = "workbench.scale"
PLANNED_PAIRS = "workbench.planned_pairs"
CLAIMS_SHA = "workbench.claims_sha"
CLAIMS_COMMIT = "workbench.claims_commit"
CLAIMS_COMMITTED = "workbench.claims_committed"
LAUNCHER = "workbench.launcher"
LAUNCH = "workbench.launch"
RESUMED = "workbench.resumed"
KEPT = "workbench.kept"
LOOK = "workbench.look."
CONTROL_AGAIN = "workbench.control_again"
RESUMED_FROM = "training.resumed_from_step"
LENGTHS = "data.lengths"
NOT_ALONE = "window.not_alone"
IS_EPOCH = "window.is_epoch"
FILES = "workbench.files"
PARENT = "mlflow.parentRunId"
NAME = "mlflow.runName"
MADE_BY = "mlflow.source.name"

Type = Literal["text", "whole number", "true or false"]


@dataclass(frozen=True)
class Tag:
    """What a tag says, and how its text is read."""

    meaning: str
    type: Type = "text"


TAGS: dict[str, Tag] = {
    KIND: Tag("run (a job of a sweep, or a single run), sweep (the sweep's own run) or rerun"),
    SWEEP: Tag("the id of its sweep; of a single run its own"),
    ARM: Tag(
        "its arm, by which tables of runs are grouped; in front, in brackets, why it is none that counts"
    ),
    TITLE: Tag(
        "its arm in few words: what tells it from the sweep's others, and in brackets what its arm says"
    ),
    BLOCK: Tag("the block of its sweep; 0 is thrown away", "whole number"),
    REPEAT: Tag("0, or 1 for the control run again (A/A)", "whole number"),
    ORDER: Tag("the number of its job in the sweep's frozen grid", "whole number"),
    ATTEMPT: Tag("which run of its block this is; 2 or more after the block was set aside", "whole number"),
    IDENTITY: Tag("the hash of all that its result follows from"),
    START: Tag("fork (from a server) or fresh (a process of its own)"),
    ERROR: Tag("why it did not finish"),
    OWNER: Tag(
        "host, its life and namespace, process and its birth: if that is gone and the run is open, the run is dead"
    ),
    REQUEUED: Tag("set aside by the calibration gate, or since its job was run again", "true or false"),
    DISTURBED: Tag("why it was set aside"),
    SUPERSEDED: Tag("what of its job has changed since it ran; the job was then run again"),
    NOT_FINITE: Tag("the names of the metrics of which it had a value that is no number"),
    DIVERGED: Tag(
        "its loss, weights or evaluation became no number: a failure, and a result", "true or false"
    ),
    DIVERGED_AT: Tag("the last step that it took", "whole number"),
    RERUN_OF: Tag("the id of the run that it is again"),
    RERUN_RESULT: Tag("what came of holding it against that run"),
    COMMAND: Tag("what was typed"),
    STARTED: Tag("when the sweep was started"),
    SCALE: Tag("scale=..., by which claims give their pairs"),
    PLANNED_PAIRS: Tag("how many blocks the sweep planned", "whole number"),
    CLAIMS_SHA: Tag("SHA-256 of the claims that it was declared with"),
    CLAIMS_COMMIT: Tag("the commit that last changed their file"),
    CLAIMS_COMMITTED: Tag("true, false, or shipped with the package"),
    LAUNCHER: Tag("hydra/launcher=..."),
    LAUNCH: Tag("which start of a launcher"),
    RESUMED: Tag("how many times the sweep was resumed", "whole number"),
    LOOK: Tag("of a sweep: which claims were open after a look at so many pairs"),
    KEPT: Tag("what had changed when it was resumed and was kept as it was"),
    CONTROL_AGAIN: Tag("what its A/A arm says: inside, outside or says nothing"),
    FILES: Tag("the names and sizes of its artifacts, by which a copy is known to be whole"),
    NOT_ALONE: Tag("why its timed window may have lain beside another one's"),
    IS_EPOCH: Tag("whether the timed window is a whole epoch", "true or false"),
    "window.": Tag("the machine while the window was timed: load, frequency, waiting for the lock"),
    "claim.": Tag("the hash of a claim that the sweep was declared with"),
    "code.sha256": Tag("the workbench's code"),
    "source.": Tag("the hash of a file of the user's own that made its numbers"),
    "sources.": Tag("the same of many files: names and hashes as JSON"),
    **{
        f"workbench.{name}": Tag(
            f"in MLflow: all tags {name}. of a run as one JSON text (`workbench.record.sections`)"
        )
        for name in SECTIONS
    },
    "version.": Tag("the version of a package"),
    "environment.": Tag("a variable that was set for its process"),
    "machine.": Tag("the machine: processor, cores, memory, system"),
    VISIBLE: Tag("the GPUs that it was alone on among its user's jobs, as CUDA_VISIBLE_DEVICES gave them"),
    "device.": Tag("the devices that it ran on"),
    "git.": Tag("commit, branch and changes of the repositories that its code lies in"),
    "digest.": Tag("a hash of losses, final weights or order of examples, equal to the bit in equal runs"),
    "memory.method": Tag("how its peak of memory was read"),
    "training.best_epoch": Tag("the epoch whose weights it has, by training.best_by", "whole number"),
    "training.ended_early": Tag("why its training ended before its epochs were over"),
    RESUMED_FROM: Tag(
        "the step whose checkpoint it went on from after a kill; no timing counts", "whole number"
    ),
    "rnn.kernels": Tag("the ops that its RNN was computed by"),
    LENGTHS: Tag("the lengths of its training split, each with its number of examples: 3:120 4:98 ..."),
    "data.": Tag("of the data: what of its source it left out, how it was held"),
}


THROW_AWAY, AGAIN, RERUN, ASIDE = "throw-away", "control again", "rerun", "set aside"
_BESIDE = re.compile(rf"^(\(({'|'.join((THROW_AWAY, AGAIN, RERUN, ASIDE))})\) )+")


def arm_tag(arm: str, beside: str = "") -> str:
    """The tag of a run of an arm; of one that stands beside the arm's own it says so, in front.

    >>> arm_tag("cell=gru"), arm_tag("cell=gru", THROW_AWAY)
    ('cell=gru', '(throw-away) cell=gru')
    """
    return f"({beside}) {arm}" if beside else arm


def arm_of(tag: str) -> str:
    """The arm that a tag names, whatever the run is of it.

    >>> arm_of("(set aside) (control again) cell=gru")
    'cell=gru'
    """
    return _BESIDE.sub("", tag)
