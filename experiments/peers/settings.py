"""What is compared: settings, the arms of each, and the goals. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from experiments.peers.lengths import CUT, NAMES

GATES = {"lstm": 4, "gru": 3, "gru_before": 3}
"""Cells that Keras has (PyTorch has no GRU that resets before the product), and their gates."""
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("lstm", {"forget_bias": 0.0}),
    "gru": ("gru", {"reset_after": True}),
    "gru_before": ("gru", {}),
    "lstm_peephole_proj": ("lstm", {"use_peepholes": True, "num_proj": 128}),
    "time_freq_lstm": ("time_freq_lstm", {"feature_size": 8}),
    "grid_lstm": ("grid_lstm", {"feature_size": 8}),
    "bidirectional_grid_lstm": ("bidirectional_grid_lstm", {"feature_size": 8}),
}
"""Cells of a setting that are not a name of CELLS as it stands: the name there, and options."""
BATCHES = {
    "ud_ewt": 3,
    "python_source": 2,
    "geometric_100": 3,
    "geometric_400": 2,
    "geometric_1000": 1,
    CUT: 3,
    "equal": 1,
}
"""Batches that a setting's rounds go through; where the longest is forced, fewer tell as much."""

PACKED = "packed"
KERAS = "keras_layer"
TORCH_PACKED, TORCH_PADDED = TORCH = ("torch_packed", "torch_padded")
CEILING, CEILING_PLAIN = CEILINGS = ("ceiling", "ceiling_plain")
ARMS = {
    PACKED: "this project, rnn=packed",
    "packed_one_way": "this project, rnn=packed, one direction, not split into chains",
    "dynamic": "this project, rnn=dynamic",
    "dynamic_8": "this project, rnn=dynamic rnn.unroll_steps=8",
    "static": "this project, rnn=static",
    "keras": "this project, rnn=keras",
    "cudnn": "this project, rnn=cudnn",
    KERAS: "keras.layers.LSTM or GRU with a mask",
    "v1_dynamic": "tf.compat.v1.nn.dynamic_rnn with sequence_length",
    "v1_static": "tf.compat.v1.nn.static_rnn with sequence_length",
    TORCH_PACKED: "torch.nn.LSTM or GRU on pack_padded_sequence",
    TORCH_PADDED: "torch.nn.LSTM or GRU on the padded batch, last states gathered",
    CEILING: "the matrix products of packed alone, by XLA in two chains",
    CEILING_PLAIN: "the same by TensorFlow's own product, in one chain",
}


@dataclass(frozen=True)
class Setting:
    """One cell of one size on batches of one kind."""

    cell: str
    batch: int
    units: int
    lengths: str
    both: bool = False  # forward and backward
    tf32: bool = False  # of no meaning on the CPU

    @property
    def name(self) -> str:
        """As in rows, figures and `--only`: lstm-b32-h256-geometric_100."""
        more = ("-both" if self.both else "") + ("-tf32" if self.tf32 else "")
        return f"{self.cell}-b{self.batch}-h{self.units}-{self.lengths}{more}"

    @property
    def one_way(self) -> Setting:
        """The forward direction alone."""
        return replace(self, both=False)


QUANTITIES = {
    "speed": "times as fast as {peer}",
    "time": "times as long as {peer}",
    "share_of_ceiling": "of the speed of the products alone",
    "memory": "of the peak memory of {peer}",
    "first_call_s": "first call (trace, compile), s",
    "compiles": "compilations over all batches",
    "error": "error against float64",
}
"""What a goal can be about, in words for a table."""


@dataclass(frozen=True)
class Goal:
    """What an arm is to reach: a value of at least, or of at most, `value`, against a peer where it is a ratio."""

    quantity: str  # a name of QUANTITIES
    value: float
    peer: str | None = None
    least: bool = True
    arm: str = PACKED

    def met_by(self, value: float) -> bool:
        """Whether a value reaches the goal."""
        return value >= self.value if self.least else value <= self.value


def can(arm: str, setting: Setting) -> bool:
    """Whether an arm does the work of a setting.

    >>> can("torch_packed", Setting("gru_before", 32, 256, "equal"))
    False
    """
    cell, ours = setting.cell, ("packed", "packed_one_way", "dynamic", "dynamic_8", "static", "keras")
    if setting.both:  # PyTorch's padded form runs backward over the padding first
        return cell in GATES and arm in (
            PACKED,
            "packed_one_way",
            "dynamic",
            "keras",
            "cudnn",
            KERAS,
            TORCH_PACKED,
        )
    if cell == "gru_before":
        return arm in (*ours, KERAS, "v1_dynamic", "v1_static")
    return cell in GATES or arm in ours


@dataclass(frozen=True)
class Job:
    """A setting with the arms to be timed in one process, and the goals in it."""

    setting: Setting
    arms: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    memory: tuple[str, ...] = ()  # arms whose peak memory is measured, each in a process of its own
    alone: tuple[str, ...] = ()  # PyTorch's arms, timed once more in a process without TensorFlow


def quick() -> list[Job]:
    """The goals of the project's issue on speed, in five minutes on 2 cores."""
    return [
        *_lstm_goals(),
        *_gru_goals(),
        *map(other_cell, _OTHER),
        _both_ways(),
        *_small_batches((8,)),
        *map(_without_goals, (CUT, "equal")),
    ]


def full() -> list[Job]:
    """Quick's settings, and the LSTM over batch, units and lengths; TensorFlow 1's runners at 256 units."""
    jobs = {job.setting: job for job in quick()}
    for batch in (32, 128):
        for units in (128, 256, 512):
            for lengths in NAMES:
                setting = Setting("lstm", batch, units, lengths)
                jobs[setting] = _widened(jobs.get(setting, Job(setting, (PACKED,))))
    for lengths in ("ud_ewt", "python_source", "geometric_1000", "equal"):
        job = Job(Setting("gru", 32, 256, lengths), (PACKED, KERAS, *TORCH, "dynamic"))
        jobs.setdefault(job.setting, never_slower(job))
    return [*jobs.values(), *map(other_cell, _MORE_CELLS), *_small_batches((1,))]


SIZES = {"quick": quick, "full": full}


def _lstm_goals() -> list[Job]:
    table = [  # batch, units, lengths, times Keras, times PyTorch packed
        (32, 256, "geometric_100", 6.0, 3.3),
        (32, 256, "geometric_400", 13.0, 7.0),
        (32, 256, "geometric_1000", 16.0, 12.0),
        (128, 256, "geometric_100", 5.0, 4.0),
        (32, 128, "geometric_100", 4.2, 3.2),
        (32, 512, "geometric_100", 7.0, 3.5),
    ]
    jobs: list[Job] = []
    for batch, units, lengths, keras, torch in table:
        goals = [Goal("speed", keras, KERAS), Goal("speed", torch, TORCH_PACKED), *_engine()]
        arms = [PACKED, "dynamic", KERAS, *TORCH, *CEILINGS]
        first = not jobs
        if first:
            arms.append("dynamic_8")
            goals.append(Goal("speed", 6.0, "dynamic"))
        memory: tuple[str, ...] = ()
        if lengths == "geometric_1000":
            memory = (PACKED, KERAS)
            goals.append(Goal("memory", 0.3, KERAS, least=False))
        job = Job(Setting("lstm", batch, units, lengths), in_order(arms), tuple(goals), memory)
        jobs.append(of_the_grid(replace(job, alone=(TORCH_PACKED,) if batch == 128 else ())))
    return jobs


def _gru_goals() -> list[Job]:
    table = [  # cell, lengths, times Keras, times PyTorch packed
        ("gru_before", "geometric_100", 7.0, None),
        ("gru", "geometric_100", 4.7, 3.0),
        ("gru", "geometric_400", 12.0, 6.5),
    ]
    jobs = []
    for cell, lengths, keras, torch in table:
        goals = [Goal("speed", keras, KERAS), *_engine()]
        arms = [PACKED, KERAS]
        if torch is not None:
            goals.append(Goal("speed", torch, TORCH_PACKED))
            arms += TORCH
        jobs.append(never_slower(Job(Setting(cell, 32, 256, lengths), tuple(arms), tuple(goals))))
    return jobs


_OTHER = ("basic_rnn", "ugrnn", "lstm_peephole_proj", "layer_norm_lstm")
_MORE_CELLS = ("coupled_lstm", "nas", "time_freq_lstm", "grid_lstm", "bidirectional_grid_lstm")


def other_cell(cell: str) -> Job:
    """A cell that Keras and PyTorch lack or that is not theirs alone, against this project's own dynamic runner."""
    goals = (Goal("speed", 6.0, "dynamic"), *_engine(first_call=5.0 if cell == "layer_norm_lstm" else 3.0))
    return Job(Setting(cell, 32, 256, "geometric_100"), (PACKED, "dynamic"), goals)


def _both_ways() -> Job:
    goals = (Goal("time", 1.2, "packed_one_way", least=False), *_engine())
    arms = (PACKED, "packed_one_way", KERAS, TORCH_PACKED)
    job = Job(Setting("lstm", 32, 256, "geometric_100", both=True), arms, goals)
    return never_slower(job)


def _small_batches(sizes: Iterable[int]) -> list[Job]:
    arms = (PACKED, "dynamic", KERAS, *TORCH)
    return [never_slower(Job(Setting("lstm", size, 256, "geometric_100"), arms)) for size in sizes]


def _without_goals(lengths: str) -> Job:
    """Lengths of which no figure was asked but what holds of all of the grid."""
    return of_the_grid(Job(Setting("lstm", 32, 256, lengths), (PACKED, "dynamic", KERAS, *TORCH, *CEILINGS)))


def _engine(first_call: float = 3.0) -> tuple[Goal, ...]:
    """What holds of the packed runner wherever it runs."""
    return (
        Goal("first_call_s", first_call, least=False),
        Goal("compiles", 1, least=False),
        Goal("error", 2e-6, least=False),
    )


def of_the_grid(job: Job) -> Job:
    """The goals of every setting of the LSTM: never slower than a peer, and 0.6 of the ceiling at 256 units."""
    goal = Goal("share_of_ceiling", 0.6)
    near = job.setting.units == 256 and goal not in job.goals
    return never_slower(replace(job, goals=(*job.goals, goal) if near else job.goals))


def never_slower(job: Job) -> Job:
    """The goal of 1 against every peer for which the job has none yet."""
    aimed = {goal.peer for goal in job.goals if goal.quantity == "speed"}
    peers = [arm for arm in job.arms if arm in ("dynamic", KERAS, *TORCH) and arm not in aimed]
    return replace(job, goals=(*job.goals, *(Goal("speed", 1.0, peer) for peer in peers)))


def _widened(job: Job) -> Job:
    """A job of the LSTM with all that the full size compares in it."""
    setting = job.setting
    arms = {*job.arms, "dynamic", KERAS, *TORCH, *CEILINGS}
    memory, alone = job.memory, job.alone
    if (setting.batch, setting.units) == (32, 256):
        arms |= {"dynamic_8", "keras", "v1_dynamic"}
        if setting.lengths == "geometric_100":
            arms |= {
                "static",
                "v1_static",
            }  # a graph of 100 steps is built for a minute, one of 1000 for ever
    if setting.units == 256 and setting.lengths == "geometric_100":
        alone = TORCH
    if (setting.batch, setting.units) == (32, 256) and setting.lengths == "geometric_1000":
        memory = (PACKED, "dynamic", "dynamic_8", KERAS, "v1_dynamic", *TORCH)
    return of_the_grid(replace(job, arms=in_order(arms), memory=memory, alone=alone))


def in_order(arms: Iterable[str]) -> tuple[str, ...]:
    """Arms as ARMS has them, each once."""
    wanted = set(arms)
    return tuple(arm for arm in ARMS if arm in wanted)


def on_gpu(jobs: Iterable[Job]) -> list[Job]:
    """The same settings for a GPU: cuDNN as an arm where it has the cell, TF32 off and on, no goals of the CPU."""
    made = []
    for job in jobs:
        arms = {arm for arm in job.arms if arm not in ("static", "v1_static", *CEILINGS)}
        if job.setting.cell in ("lstm", "gru"):
            arms.add("cudnn")
        for tf32 in (False, True):
            goals = tuple(goal for goal in job.goals if goal.quantity in ("compiles", "memory"))
            setting = replace(job.setting, tf32=tf32)
            made.append(replace(job, setting=setting, arms=in_order(arms), goals=goals))
    return made
