"""What TensorFlow 1.15 and Keras call a cell, a wrapper, a runner or an option, and what it is here.

>>> former_name("cell", "tf.nn.rnn_cell.BasicLSTMCell", ["lstm", "gru"])
'BasicLSTMCell is cell=lstm, with cell.forget_bias=1.0 as by default'
>>> former_name("cell", "gru_cell", ["lstm", "gru"])
'gru_cell is cell=gru'
>>> former_option("cell", "variational_recurrent")
'it is cell.variational here'
"""

from __future__ import annotations

from collections.abc import Iterable

_HALF = "not here: take mixed_bfloat16, which computes in 16 bits from weights in float32, or float32 for all of it"
_CUSTOM = "not here: run a class of yours by cell=custom cell.target=module:Class"

# by names without case, underscores and the endings `cell` and `wrapper`
_NAMES: dict[str, dict[str, str]] = {
    "cell": {
        "basiclstm": "cell=lstm, with cell.forget_bias=1.0 as by default",
        "rnn": "cell=basic_rnn",
        "simplernn": "cell=basic_rnn",
        "vanilla": "cell=basic_rnn",
        "elman": "cell=basic_rnn",
        "lstmblockfused": "cell=lstm_block; in one op for all steps by workbench.rnn.fused_rnn",
        "grublockv2": "cell=gru_block",
        "cudnnlstm": "cell=lstm under rnn=cudnn",
        "cudnngru": "cell=gru cell.reset_after=true under rnn=cudnn",
        "cudnncompatiblelstm": "cell=lstm_block cell.forget_bias=0",
        "cudnncompatiblegru": "cell=gru cell.reset_after=true",
        "coupledinputforgetgatelstm": "cell=coupled_lstm",
        "cifg": "cell=coupled_lstm",
        "layernormbasiclstm": "cell=layer_norm_lstm",
        "tflstm": "cell=time_freq_lstm",
        "multirnn": "cell.layers=4, or how many there are, around any cell",
        "stackedrnns": "cell.layers=4, or how many there are, around any cell",
        "stackedrnncells": "cell.layers=4, or how many there are, around any cell",
        "dropout": "cell.input_keep_prob, cell.state_keep_prob and cell.output_keep_prob of any cell",
        "residual": "cell.residual=true of any cell",
        "highway": _CUSTOM,
        "attention": "cell.attention_length=10, or how many outputs it looks back at, of any cell",
        "device": "training.device",
        **dict.fromkeys(
            (
                "phasedlstm",
                "intersectionrnn",
                "glstm",
                "sru",
                "convlstm",
                "conv1dlstm",
                "conv2dlstm",
                "indrnn",
            ),
            _CUSTOM,
        ),
        **dict.fromkeys(("indygru", "indylstm", "minimalrnn", "cfn", "zoneout"), _CUSTOM),
    },
    "rnn": {
        "rnn": "rnn=static",
        "staticrnn": "rnn=static",
        "dynamicrnn": "rnn=dynamic",
        "packedrnn": "rnn=packed",
        "bidirectionalrnn": "rnn=static rnn.direction=both",
        "staticbidirectionalrnn": "rnn=static rnn.direction=both",
        "bidirectionaldynamicrnn": "rnn=dynamic rnn.direction=both",
        "stackbidirectionaldynamicrnn": "rnn=dynamic rnn.direction=both model.layers=2, or how many there are",
        "stackbidirectionalrnn": "rnn=static rnn.direction=both model.layers=2, or how many there are",
        "cudnnlstm": "cell=lstm rnn=cudnn",
        "cudnngru": "cell=gru cell.reset_after=true rnn=cudnn",
        "bidirectional": "rnn.direction=both of any rnn",
        "both": "rnn.direction=both of any rnn",
    },
    "model.dtype": {
        **dict.fromkeys(("float16", "half", "fp16", "mixedfloat16", "bfloat16", "bf16", "mixedbf16"), _HALF),
        **dict.fromkeys(("single", "float", "fp32"), "model.dtype=float32"),
        **dict.fromkeys(("double", "fp64"), "model.dtype=float64"),
    },
}

_OPTIONS: dict[str, dict[str, str]] = {
    "cell": {
        **dict.fromkeys(("num_units", "hidden_size", "size"), "it is cell.units here"),
        "num_layers": "it is cell.layers here",
        "use_peephole": "it is cell.use_peepholes here",
        "variational_recurrent": "it is cell.variational here",
        "keep_prob": "say what is kept: cell.input_keep_prob, cell.state_keep_prob or cell.output_keep_prob",
        "dropout": "it is 1 - cell.input_keep_prob here: the share that is kept is given",
        "recurrent_dropout": "it is 1 - cell.state_keep_prob here: the share that is kept is given",
        "attn_length": "it is cell.attention_length here",
        "attn_size": "it is cell.attention_size here",
        "attn_vec_size": "it is cell.attention_vector_size here",
        "couple_input_forget_gates": "it is cell.couple_gates here",
        "share_time_frequency_weights": "it is cell.share_weights here",
        "num_frequency_blocks": "blocks are counted, from cell.feature_size and cell.frequency_skip",
        "start_freqindex_list": "it is cell.groups=[[start,end],...] here, with both ends of each part",
        "end_freqindex_list": "it is cell.groups=[[start,end],...] here, with both ends of each part",
        "linear_before_reset": "it is cell.reset_after here",
        "state_is_tuple": "states are always a list, as [h, c]",
        "unit_forget_bias": "it is cell.forget_bias=1.0 here, a constant that is added when the cell runs",
        "bidirectional": "it is rnn.direction=both here",
    },
    "rnn": {
        "sequence_length": "lengths are part of the data; rnn.pass_lengths says whether the RNN is given them",
        "swap_memory": "there is none: TensorFlow 2 ignores it inside tf.function",
        "parallel_iterations": "there is none: a step needs the one before",
        "time_major": "batches are [B, T, ...] here; the runners of workbench.rnn take time_major=True",
        "bidirectional": "it is rnn.direction=both here",
        "go_backwards": "it is rnn.direction=backward here",
    },
}


def former_name(group: str, name: object, ours: Iterable[str]) -> str | None:
    """What a cell, runner or dtype of that name is here, in words; None where nothing is known of it."""
    given = str(name).rpartition(".")[2]
    plain = _plain(given)
    if plain in _NAMES.get(group, {}):
        return f"{given} is {_NAMES[group][plain]}"
    if group in _NAMES:
        same = [one for one in ours if one != given and _plain(one) == plain]
        if same:
            return f"{given} is {group}={same[0]}"
    return None


def former_option(group: str, name: str) -> str | None:
    """What an option of that name is here, in words; None where nothing is known of it."""
    return _OPTIONS.get(group, {}).get(name)


def _plain(name: str) -> str:
    plain = name.lower().replace("_", "")
    for ending in ("wrapper", "cell"):
        plain = plain.removesuffix(ending)
    return plain
