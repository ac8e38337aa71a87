"""Unrolling a cell over a padded batch: RNNS names the ways, `bidirectional_rnn` runs two of any."""

from workbench.rnn.acceleration import Acceleration, accelerate, acceleration_of, restore
from workbench.rnn.bidirectional import backward_rnn, bidirectional_rnn
from workbench.rnn.cudnn import cudnn_rnn
from workbench.rnn.dynamic import dynamic_rnn
from workbench.rnn.fused import fused_rnn
from workbench.rnn.keras_layer import PackedRNN
from workbench.rnn.keras_rnn import keras_rnn
from workbench.rnn.packed import kernels_of, packed_rnn
from workbench.rnn.stacked import stacked_bidirectional_rnn
from workbench.rnn.static import static_rnn
from workbench.rnn.table import RNNS

__all__ = [
    "RNNS",
    "Acceleration",
    "PackedRNN",
    "accelerate",
    "acceleration_of",
    "backward_rnn",
    "bidirectional_rnn",
    "cudnn_rnn",
    "dynamic_rnn",
    "fused_rnn",
    "keras_rnn",
    "kernels_of",
    "packed_rnn",
    "restore",
    "stacked_bidirectional_rnn",
    "static_rnn",
]
