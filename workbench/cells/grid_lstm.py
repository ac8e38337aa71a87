"""The grid LSTM: one LSTM along time and one along frequency, side by side; also with frequency both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights, check_positive, clip, gates, register
from workbench.cells.frequency import block_starts, spread, stack_states


@register
class GridLSTMCell(StepCell):
    """The input falls into blocks of features; two LSTMs read each block and what both knew.

        for each block k, from low to high:               (h_freq, c_freq start at 0; h_k, c_k of the step before)
            z_freq, z_time = x_k W + [h_k, h_freq] U + b  (one W, U, b for both with share_weights)
            c_freq' = f_freq * c_freq + i_freq * tanh(g_freq)
            c_k'    = f_time * c_k    + i_time * tanh(g_time)
            h_freq' = o_freq * tanh(c_freq');  h_k' = o_time * tanh(c_k')
        output = [h_0', h_freq_0', h_1', h_freq_1', ...]

    Gates are sigmoids of their part of z, the forget gate's raised by forget_bias; with peepholes i and f see
    c_freq and c_k, o sees both new ones; with couple_gates f = 1 - i, without a forget_bias; memories
    are clipped to +-cell_clip.

    A block has `feature_size` features (all, by default), the next begins `frequency_skip` later (by default
    there is no overlap). `groups` [[start, end], ...] cuts the features into parts that are walked apart, each
    with weights of its own; by default one part holds all. Features that lie in no part, or in no block of theirs,
    are refused, unless `allow_unseen`; TF 1.15 leaves them out without a word.

    Weights of part n, freq_*_n and (unless shared) time_*_n: kernel [feature_size, 4H], recurrent_kernel [2H, 4H]
    (rows of h_k, then of h_freq), bias [4H], in the order i, f, c, o (i, c, o coupled); peepholes
    *_peephole_{i,f,o}_{freq,time}_n [H], the last word saying which memory is seen. States: [h, c], the h_k and
    c_k of all blocks side by side. Output: 2H a block.

    Source: Kalchbrenner et al., https://arxiv.org/abs/1507.01526; peepholes and blocks: Sainath and Li,
    https://doi.org/10.21437/Interspeech.2016-84; TF 1.15's contrib GridLSTMCell.
    """

    directions: ClassVar[tuple[str, ...]] = ("",)

    memory_states = (1,)

    def __init__(
        self,
        units: int,
        *,
        feature_size: int | None = None,
        frequency_skip: int | None = None,
        allow_unseen: bool = False,
        groups: Sequence[Sequence[int]] | None = None,
        use_peepholes: bool = False,
        share_weights: bool = False,
        couple_gates: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        check_positive("feature_size", feature_size, optional=True)
        check_positive("frequency_skip", frequency_skip, optional=True)
        check_positive("cell_clip", cell_clip, whole=False, optional=True)
        self.feature_size, self.frequency_skip = feature_size, frequency_skip
        self.allow_unseen = allow_unseen
        self.groups = None if groups is None else [list(group) for group in groups]
        _check_groups(self.groups)
        if couple_gates and forget_bias != 1.0:
            raise ValueError(
                f"forget_bias={forget_bias!r} does nothing with couple_gates=True, as there is no forget gate: "
                "leave one of them out."
            )
        self.use_peepholes, self.share_weights, self.couple_gates = use_peepholes, share_weights, couple_gates
        self.cell_clip, self.forget_bias = cell_clip, forget_bias
        self.output_size: int | None = None
        self.state_size: list[int | None] = [None, None]

    # ------------------------------------------------------------ names and shapes
    @property
    def lstms(self) -> tuple[str, ...]:
        """The LSTMs that have weights of their own."""
        return ("freq",) if self.share_weights else ("freq", "time")

    @property
    def gate_names(self) -> str:
        """The gates' order in the columns of a kernel."""
        return "ico" if self.couple_gates else "ifco"

    def parts(self) -> list[tuple[str, int, list[int]]]:
        """Each part that is walked apart: the end of its weights' names, the size of its blocks, their starts."""
        result = []
        for direction in self.directions:
            for n, (start, end) in enumerate(self.groups or [[0, self.input_size]]):
                size, starts = block_starts(
                    end - start, self.feature_size, self.frequency_skip, self.allow_unseen
                )
                result.append((f"{direction}{n}", size, self._walk(direction, [start + s for s in starts])))
        return result

    def _walk(self, direction: str, starts: list[int]) -> list[int]:
        return starts

    def peepholes(self, part: str) -> list[str]:
        """Names of a part's peepholes, in the order in which `step` takes them."""
        seen = "io" if self.couple_gates else "ifo"
        return [
            f"{lstm}_peephole_{gate}_{memory}_{part}"
            for lstm in self.lstms
            for gate in seen
            for memory in ("freq", "time")
        ]

    def build(self, input_shape: Any) -> None:
        """Makes the variables, and counts the blocks, for inputs [B, D]."""
        self.input_size, H = input_shape[-1], self.units
        for start, end in self.groups or []:
            if not 0 <= start < end <= self.input_size:
                raise ValueError(
                    f"groups has [{start}, {end}], which is no part of the inputs' {self.input_size} features."
                )
        unseen = set(range(self.input_size)).difference(*(range(*group) for group in self.groups or []))
        if self.groups and unseen and not self.allow_unseen:
            raise ValueError(
                f"of {self.input_size} features {len(unseen)} lie in no group, the first of them feature "
                f"{min(unseen)}: let groups hold all, or pass allow_unseen=True to leave them out."
            )
        width = len(self.gate_names) * H
        blocks = 0
        for part, size, starts in self.parts():
            blocks += len(starts)
            for lstm in self.lstms:
                for name, weight in (
                    ("kernel", self.add_kernel(f"{lstm}_kernel_{part}", size, width)),
                    ("recurrent_kernel", self.add_recurrent(f"{lstm}_recurrent_kernel_{part}", 2 * H, width)),
                    ("bias", self.add_vector(f"{lstm}_bias_{part}", width)),
                ):
                    setattr(self, f"{lstm}_{name}_{part}", weight)
            for name in self.peepholes(part) if self.use_peepholes else []:
                setattr(self, name, self.add_vector(name, H, self.kernel_initializer))
        self.output_size, self.state_size = 2 * H * blocks, [H * blocks] * 2
        self.projection_width = len(self.lstms) * width * blocks

    # ------------------------------------------------------------ the step
    def step_weights(self) -> StepWeights:
        """Part by part, block by block: the kernels of both LSTMs side by side, spread over the blocks."""
        raise_f = [self.forget_bias if gate == "f" else 0.0 for gate in self.gate_names]
        kernels, biases, recurrent, small = [], [], [], []
        for part, _, starts in self.parts():
            own = [f"{lstm}_{{}}_{part}" for lstm in self.lstms]
            joined = tf.concat([self.read(getattr(self, name.format("kernel"))) for name in own], 1)
            bias = tf.concat([self.raised(getattr(self, name.format("bias")), *raise_f) for name in own], 0)
            matrix = tf.concat([self.read(getattr(self, name.format("recurrent_kernel"))) for name in own], 1)
            kernels.append(spread(joined, self.input_size, starts))
            biases.append(tf.tile(bias, [len(starts)]))
            recurrent += [matrix] * len(starts)
            small += [self.read(getattr(self, name)) for name in self.peepholes(part) if self.use_peepholes]
        return StepWeights(tf.concat(kernels, 1), tf.concat(biases, 0), recurrent, small)

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The equations above."""
        blocks = sum(len(starts) for *_, starts in self.parts())
        x, h, c = gates(projected, blocks), gates(states[0], blocks), gates(states[1], blocks)
        new, outputs, k, taken = [], [], 0, 0
        for part, _, starts in self.parts():
            count = len(self.peepholes(part)) if self.use_peepholes else 0
            peepholes = list(weights[taken : taken + count])
            taken += count
            h_freq = c_freq = tf.zeros_like(h[k])
            for _ in starts:
                z = gates(product(k, tf.concat([h[k], h_freq], -1), plus=x[k]), len(self.lstms))
                (h_freq, c_freq), (h_time, c_time) = self._block(z, c_freq, c[k], peepholes)
                new.append((h_time, c_time))
                outputs += [h_time, h_freq]
                k += 1
        return tf.concat(outputs, -1), stack_states(new)

    def _block(
        self, z: list[tf.Tensor], c_freq: tf.Tensor, c_time: tf.Tensor, peepholes: list[tf.Tensor]
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Both LSTMs at one block: (h, c) along frequency and along time."""
        sees = self._peeping(peepholes)
        entered, shown = [], []
        for n, c in enumerate((c_freq, c_time)):
            lstm = n % len(self.lstms)
            gate = dict(zip(self.gate_names, gates(z[lstm], len(self.gate_names)), strict=True))
            i = tf.sigmoid(gate["i"] + sees(lstm, "i", c_freq, c_time))
            f = 1 - i if self.couple_gates else tf.sigmoid(gate["f"] + sees(lstm, "f", c_freq, c_time))
            entered.append(clip(f * c + i * self.activation(gate["c"]), self.cell_clip))
            shown.append(gate["o"])
        for n, memory in enumerate(entered):
            o = tf.sigmoid(shown[n] + sees(n % len(self.lstms), "o", *entered))
            shown[n] = o * self.activation(memory)
        return list(zip(shown, entered, strict=True))

    def _peeping(self, peepholes: list[tf.Tensor]) -> Any:
        """(lstm, gate, c_freq, c_time) -> what the gate sees of the memories."""
        seen = "io" if self.couple_gates else "ifo"

        def sees(lstm: int, gate: str, c_freq: tf.Tensor, c_time: tf.Tensor) -> Any:
            if not peepholes:
                return 0
            at = 2 * (len(seen) * lstm + seen.index(gate))
            return peepholes[at] * c_freq + peepholes[at + 1] * c_time

        return sees


@register
class BidirectionalGridLSTMCell(GridLSTMCell):
    """Two grid LSTMs at each step: one walks along frequency from low to high, the other from high to low.

    Time goes one way only, so it can run on a stream. All weights are there twice, of parts fwd_n and bwd_n.
    `backward_slice_offset` shifts the blocks of the way back by so many features (what lies outside is zero).
    States: [h, c], first the blocks of the way up, then those of the way down, as walked. Output: 4H a block.

    Source: TF 1.15's contrib BidirectionalGridLSTMCell; see GridLSTMCell.
    """

    directions: ClassVar[tuple[str, ...]] = ("fwd_", "bwd_")

    def __init__(self, units: int, *, backward_slice_offset: int = 0, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        if not _whole(backward_slice_offset):
            raise ValueError(f"backward_slice_offset must be an integer, not {backward_slice_offset!r}.")
        self.backward_slice_offset = backward_slice_offset

    def _walk(self, direction: str, starts: list[int]) -> list[int]:
        if direction == "fwd_":
            return starts
        return [start + self.backward_slice_offset for start in reversed(starts)]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_groups(groups: list[list[int]] | None) -> None:
    """Refuses what is no list of [start, end]; None is fine."""
    if groups is None:
        return
    if not groups or not all(len(group) == 2 and all(map(_whole, group)) for group in groups):
        raise ValueError(
            f"groups must be [[start, end], ...] of integers, or None for one part, not {groups}."
        )
