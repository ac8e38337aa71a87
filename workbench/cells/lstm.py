"""The LSTM of TF 1.15: basic as it stands; with peepholes, clipping and projection as options."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from workbench.cells.base import KerasForm, StepCell, StepWeights, check_positive, clip, gates, register


@register
class LSTMCell(StepCell):
    """Gates i, f, o decide what enters the cell's memory c, what stays in it, and what is shown of it.

        i  = sigmoid(x W_i + h U_i + b_i  [+ p_i * c])
        f  = sigmoid(x W_f + h U_f + b_f + forget_bias  [+ p_f * c])
        c' = f * c + i * tanh(x W_c + h U_c + b_c)        [clipped to +-cell_clip]
        o  = sigmoid(x W_o + h U_o + b_o  [+ p_o * c'])
        h' = o * tanh(c')                                 [@ projection_kernel, clipped to +-proj_clip]

    Without options it is TF 1.15's BasicLSTMCell. Weights as Keras' LSTMCell: kernel [D, 4H],
    recurrent_kernel [P, 4H], bias [4H], gates in the order i, f, c, o; then peephole_i, _f, _o [H] and
    projection_kernel [H, P] where asked for. States: [h, c].

    `forget_bias` is a constant that is added when the cell runs, as in TF 1.15; the variable `bias` does not
    contain it. Keras puts the one into the bias instead (`unit_forget_bias`), so weights of Keras' cell
    belong into one with `forget_bias=0.0`: `ours.set_weights(theirs.get_weights())`. Weights of a cell with another
    forget bias set into Keras' cell lack it, and nothing can notice: `workbench.cells.keras_layer(ours)` and
    `PackedRNN(ours).to_keras()` add it.

    Source: Hochreiter and Schmidhuber, https://doi.org/10.1162/neco.1997.9.8.1735; forget gate: Gers et al.,
    https://doi.org/10.1162/089976600300015015; projection: Sak et al., https://arxiv.org/abs/1402.1128;
    TF 1.15's LSTMCell and BasicLSTMCell.
    """

    memory_states = (1,)
    gate = staticmethod(tf.sigmoid)  # a cell of Keras' may have another
    beyond_keras = ("use_peepholes", "num_proj", "cell_clip")

    def __init__(
        self,
        units: int,
        *,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        forget_bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        check_positive("cell_clip", cell_clip, whole=False, optional=True)
        check_projection(num_proj, proj_clip)
        self.use_peepholes, self.cell_clip = use_peepholes, cell_clip
        self.num_proj, self.proj_clip, self.forget_bias = num_proj, proj_clip, forget_bias
        self.projection_width = 4 * units
        self.output_size = num_proj or units
        self.state_size = [self.output_size, units]

    def build(self, input_shape: Any) -> None:
        """Makes the variables for inputs [B, D]."""
        H = self.units
        self.kernel = self.add_kernel("kernel", input_shape[-1], 4 * H)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", self.output_size, 4 * H)
        self.bias = self.add_vector("bias", 4 * H)
        if self.use_peepholes:
            self.peephole_i, self.peephole_f, self.peephole_o = (
                self.add_vector(f"peephole_{gate}", H, self.kernel_initializer) for gate in "ifo"
            )
        if self.num_proj:
            self.projection_kernel = self.add_kernel("projection_kernel", H, self.num_proj)

    def step_weights(self) -> StepWeights:
        """The forget bias goes into the projection's, so that no step adds it."""
        recurrent = [self.read(self.recurrent_kernel)]
        if self.num_proj:
            recurrent.append(self.read(self.projection_kernel))
        peepholes = (self.peephole_i, self.peephole_f, self.peephole_o) if self.use_peepholes else ()
        bias = self.raised(self.bias, 0, self.forget_bias, 0, 0)
        return StepWeights(self.read(self.kernel), bias, recurrent, [*map(self.read, peepholes)])

    def keras_form(self, dtype: Any = None) -> KerasForm | None:
        """Keras' LSTM, unless an option is set that it lacks; its bias holds the forget bias too."""
        if any(getattr(self, option) for option in self.beyond_keras):
            return None
        named = {name: self.read(getattr(self, name), dtype) for name in ("kernel", "recurrent_kernel")}
        named["bias"] = self.raised(self.bias, 0, self.forget_bias, 0, 0, dtype=dtype)
        return KerasForm(keras.layers.LSTM, {"activation": self.activation}, named)

    def step(self, projected: Any, states: Any, weights: Any, product: Any) -> tuple:
        """The equations above."""
        h, c = states
        i, f, g, o = gates(product(0, h, plus=projected), 4)
        if self.use_peepholes:
            peephole_i, peephole_f, peephole_o = weights
            i, f = i + peephole_i * c, f + peephole_f * c
        c = clip(self.gate(f) * c + self.gate(i) * self.activation(g), self.cell_clip)
        if self.use_peepholes:
            o = o + peephole_o * c
        h = self.gate(o) * self.activation(c)
        if self.num_proj:
            h = clip(product(1, h), self.proj_clip)
        return h, [h, c]


def check_projection(num_proj: int | None, proj_clip: float | None) -> None:
    """Refuses a projection of no units, and a clip of a projection that is not there."""
    check_positive("num_proj", num_proj, optional=True)
    check_positive("proj_clip", proj_clip, whole=False, optional=True)
    if proj_clip is not None and num_proj is None:
        raise ValueError(
            f"proj_clip={proj_clip!r} clips a projection, but num_proj is None: set num_proj too."
        )
