"""Combinations that cannot run, though each of their values can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

from workbench.config.tracking import password_in
from workbench.options.data import SCHEMAS as DATA
from workbench.options.schema import Problem
from workbench.options.training import interval


def impossible(tree: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a tree whose single values are right."""
    return [problem for rule in RULES for problem in rule(tree)]


def _static_graph(tree: Mapping[str, Any]) -> list[Problem]:
    rnn, padding = tree["rnn"], tree["padding"]
    if rnn["unroll"] != "static" or rnn["allow_retrace"]:
        return []
    if padding["name"] == "global" or padding.get("pad_to_boundary"):
        return []
    remedy = (
        f"a static RNN under padding={padding['name']} is a new graph for every length; take padding=global, "
        "padding=bucket padding.pad_to_boundary=true, or ask for it with rnn.allow_retrace=true"
    )
    return [Problem("rnn.unroll", "static", remedy, skip=True)]


def _sign_mask(tree: Mapping[str, Any]) -> list[Problem]:
    loss, data = tree["loss"], tree["data"]
    if loss["mask"] != "sign" or loss["accept_class_zero"]:
        return []
    if data.get("task") == "next":  # ids of the vocabulary, of which 0 is padding
        return []
    if data.get("first_class") != 0:  # 1, or none: then the manifest says it, see require_free_class_zero
        return []
    remedy = (
        "class 0 is in use, and a sign mask would drop it; take loss=length, data.first_class=1, "
        "or ask for it with loss.accept_class_zero=true"
    )
    return [Problem("loss.mask", "sign", remedy, skip=True)]


def _next_token(tree: Mapping[str, Any]) -> list[Problem]:
    if tree["data"].get("task") != "next" or tree["rnn"]["direction"] == "forward":
        return []
    remedy = "has read the token that it is to predict; take rnn.direction=forward for data.task=next"
    return [Problem("rnn.direction", tree["rnn"]["direction"], remedy, skip=True)]


def _truncate(tree: Mapping[str, Any]) -> list[Problem]:
    steps = tree["training"]["truncate"]
    if steps is None:
        return []
    if tree["rnn"]["direction"] != "forward":
        remedy = "carries the state forward; take rnn.direction=forward"
    elif tree["data"].get("task") == "classify":
        remedy = "needs a label a step, and data.task=classify has one a sequence"
    elif tree["loss"]["average"] == "example":
        remedy = (
            "has parts of examples in a chunk, and loss.average=example is a mean within them; take token"
        )
    elif tree["training"]["strategy"] != "none":
        remedy = f"is for one replica, and training.strategy={tree['training']['strategy']} has several"
    elif tree["cell"].get("variational"):
        remedy = "draws a mask for each chunk, and cell.variational=true has one for all steps of a sequence"
    else:
        return []
    return [Problem("training.truncate", steps, remedy, skip=True)]


def _class_weights(tree: Mapping[str, Any]) -> list[Problem]:
    given = tree["loss"]["class_weights"]
    if given is None or given == "balanced":
        return []
    key, remedy = "loss.class_weights", ""
    if isinstance(given, str):
        remedy = "must be balanced, a mapping of labels as {NOUN: 2}, a list of a number a class, or null"
    elif not given:
        remedy = "is empty: give a weight for some label, or null"
    else:
        values = given.values() if isinstance(given, Mapping) else given
        wrong = [one for one in values if isinstance(one, bool) or not isinstance(one, int | float)]
        wrong = wrong or [one for one in values if not (math.isfinite(one) and one >= 0)]
        if wrong:
            remedy = f"{wrong[0]} is no weight: each must be a number of at least 0"
        elif isinstance(given, list) and not any(given):
            remedy = "all are 0: no label would count"
    return [Problem(key, given, remedy)] if remedy else []


def _projection(tree: Mapping[str, Any]) -> list[Problem]:
    cell = tree["cell"]
    if cell.get("proj_clip") is None or cell.get("num_proj") is not None:
        return []
    remedy = "clips a projection; set cell.num_proj too"
    return [Problem("cell.proj_clip", cell["proj_clip"], remedy, skip=True)]


def _blocks(tree: Mapping[str, Any]) -> list[Problem]:
    cell, found = tree["cell"], []
    if cell.get("couple_gates") and cell["forget_bias"] != 1:
        remedy = "does nothing with cell.couple_gates=true, as there is no forget gate; leave one of them out"
        found.append(Problem("cell.forget_bias", cell["forget_bias"], remedy))
    if cell.get("frequency_skip") and not cell.get("feature_size"):
        remedy = "does nothing without cell.feature_size, as there is one block; set that too"
        found.append(Problem("cell.frequency_skip", cell["frequency_skip"], remedy))
    return found


def _custom_cell(tree: Mapping[str, Any]) -> list[Problem]:
    cell = tree["cell"]
    target = cell.get("target")
    if cell["name"] != "custom" or (target and ":" in target):
        return []
    return [Problem("cell.target", target, "cell=custom needs module:Class, as mycells:MyLSTMCell")]


def _attention(tree: Mapping[str, Any]) -> list[Problem]:
    cell = tree["cell"]
    if cell["attention_length"] is not None:
        return []
    return [
        Problem(f"cell.{key}", cell[key], "is of no use without cell.attention_length", skip=True)
        for key in ("attention_size", "attention_vector_size")
        if cell[key] is not None
    ]


def _residual(tree: Mapping[str, Any]) -> list[Problem]:
    cell, model, data = tree["cell"], tree["model"], tree["data"]
    # how wide the outputs are is not known here where blocks of features, or a person's class, make them
    if not cell["residual"] or "feature_size" in cell or "target" in cell:
        return []
    width = cell.get("num_proj") or cell["units"]
    key = "cell.num_proj" if cell.get("num_proj") else "cell.units"
    if data["name"] != "tfrecord" and not data.get("features") and model["embedding_size"] != width:
        remedy = (
            f"with cell.residual=true inputs are added to outputs, and here they have "
            f"model.embedding_size={model['embedding_size']} numbers; make the two equal"
        )
        return [Problem(key, width, remedy, skip=True)]
    if data["name"] != "tfrecord" and (features := data.get("features")) and features != width:
        remedy = (
            f"with cell.residual=true inputs are added to outputs, and here they have data.features={features} "
            "numbers; make the two equal"
        )
        return [Problem(key, width, remedy, skip=True)]
    if model["layers"] > 1 and tree["rnn"]["direction"] == "both":
        remedy = (
            "with cell.residual=true inputs are added to outputs, and a second layer's inputs are both directions' "
            "outputs, twice as wide; take one layer, or cell.layers for more of them in one loop"
        )
        return [Problem("model.layers", model["layers"], remedy, skip=True)]
    return []


def _block_dtype(tree: Mapping[str, Any]) -> list[Problem]:
    name, dtype = tree["cell"]["name"], tree["model"]["dtype"]
    if name not in ("lstm_block", "gru_block") or dtype == "float32":
        return []
    other = name.removesuffix("_block")
    remedy = f"the fused op of cell={name} has no {dtype} kernel; take float32, or cell={other}"
    return [Problem("model.dtype", dtype, remedy, skip=True)]


def _packed_kernel(tree: Mapping[str, Any]) -> list[Problem]:
    cell, kernel = tree["cell"], tree["rnn"].get("kernel")
    if kernel not in ("xla", "tiles", "plain"):
        return []
    what = _stepless(cell)
    if what is None:  # a cell of a person's own may be: the kernel itself sees it
        return []
    remedy = f"{what} is not in one-step form, which this kernel needs; take rnn.kernel=auto or autodiff"
    return [Problem("rnn.kernel", kernel, remedy, skip=True)]


def _stepless(cell: Mapping[str, Any]) -> str | None:
    """What of a cell is not in one-step form. Residual, and dropout of inputs and outputs, act around a step."""
    if cell["attention_length"] is not None:
        return "a cell with attention"
    if cell["state_keep_prob"] < 1:
        return "a cell whose states are dropped"
    if cell.get("dropout_keep_prob", 1) < 1:
        return f"cell={cell['name']} with cell.dropout_keep_prob under 1"
    return f"cell={cell['name']}" if cell["name"] in ("lstm_block", "gru_block") else None


def _packed_batch(tree: Mapping[str, Any]) -> list[Problem]:
    most, size = tree["rnn"].get("batch_size"), tree["data"]["batch_size"]
    budget = tree["padding"].get("token_budget")
    read = tree["rnn"].get("kernel") in ("auto", "xla", "tiles")
    if most is None or not read or most >= (budget or size):
        return []
    remedy = f"is to be the most examples of a batch, and data.batch_size={size}: give that or more, or null"
    if budget:
        remedy = (
            f"is to be the most examples of a batch, which padding.token_budget={budget} may have: take null"
        )
    return [Problem("rnn.batch_size", most, remedy, skip=True)]


def _keras_cudnn(tree: Mapping[str, Any]) -> list[Problem]:
    if not tree["rnn"].get("use_cudnn"):
        return []
    if tree["training"]["device"] == "cpu":
        remedy = "cuDNN runs on a GPU only; take training.device=gpu, or null"
    elif tree["training"]["deterministic"]:
        remedy = "cuDNN gives no equal bits twice, which training.deterministic=true asks for; take null"
    elif what := _not_in_cudnn(tree):
        remedy = f"cuDNN does not have this cell: {what}; take null"
    else:
        return []
    return [Problem("rnn.use_cudnn", True, remedy, skip=True)]


def _wrapped(cell: Mapping[str, Any]) -> bool:
    """Whether a wrapper stands around the cell; layers alone are none, as they run one by one."""
    return cell["residual"] or cell["attention_length"] is not None or _dropped(cell)


def _dropped(cell: Mapping[str, Any]) -> bool:
    return min(cell["input_keep_prob"], cell["state_keep_prob"], cell["output_keep_prob"]) < 1


def _keras_dropout(tree: Mapping[str, Any]) -> list[Problem]:
    cell = tree["cell"]
    if tree["rnn"]["unroll"] != "keras" or not (cell["variational"] and _dropped(cell)):
        return []
    remedy = (
        "one dropout mask for all steps cannot be under rnn=keras, whose layer calls the cell step by step and "
        "does not say where a sequence begins; take another rnn"
    )
    return [Problem("cell.variational", True, remedy, skip=True)]


def _cudnn(tree: Mapping[str, Any]) -> list[Problem]:
    if tree["rnn"]["unroll"] != "cudnn":
        return []
    problems = []
    if tree["training"]["device"] == "cpu":
        remedy = "cuDNN runs on a GPU only; take training.device=gpu, or rnn=packed or rnn=keras on the CPU"
        problems.append(Problem("rnn.unroll", "cudnn", remedy, skip=True))
    if tree["training"]["deterministic"]:
        remedy = "rnn=cudnn (its op CudnnRNNV3) gives no equal bits twice; take false, or rnn=packed"
        problems.append(Problem("training.deterministic", True, remedy, skip=True))
    if what := _not_in_cudnn(tree):
        remedy = f"cuDNN does not have this cell: {what}; take rnn=packed or rnn=keras"
        problems.append(Problem("cell.name", tree["cell"]["name"], remedy, skip=True))
    return problems


def _not_in_cudnn(tree: Mapping[str, Any]) -> str:
    """What of the cell cuDNN does not have; empty where it has all."""
    cell = tree["cell"]
    if cell["name"] not in ("lstm", "gru"):
        return "it has lstm and gru only"
    if cell["name"] == "gru" and not cell["reset_after"]:
        return "its gru is the one of cell.reset_after=true"
    if any(cell.get(key) not in (None, False) for key in ("use_peepholes", "cell_clip", "num_proj")):
        return "its lstm has no peepholes, clipping or projection here"
    if _wrapped(cell):
        return "it takes no wrapped cell"
    if tree["model"]["dtype"] == "mixed_bfloat16":
        return "it computes in float32 or float64, as model.dtype says, but not in bfloat16"
    return ""


def _over_length(tree: Mapping[str, Any]) -> list[Problem]:
    data = tree["data"]
    if data.get("over_length") != "split" or data["max_length"] is not None:
        return []
    remedy = "does nothing without data.max_length: set that too"
    return [Problem("data.over_length", "split", remedy, skip=True)]


def _variational(tree: Mapping[str, Any]) -> list[Problem]:
    cell = tree["cell"]
    if not cell["variational"] or _dropped(cell):
        return []
    remedy = (
        "does nothing without dropout; set cell.input_keep_prob, state_keep_prob or output_keep_prob under 1"
    )
    return [Problem("cell.variational", True, remedy, skip=True)]


def _boundaries(tree: Mapping[str, Any]) -> list[Problem]:
    given = tree["padding"].get("boundaries")
    if given is None:
        return []
    if (number := tree["padding"]["buckets"]) is not None:
        remedy = "does nothing beside padding.boundaries; leave one of them out"
        return [Problem("padding.buckets", number, remedy, skip=True)]
    if not given or sorted(set(given)) != list(given):
        return [Problem("padding.boundaries", given, "must be rising lengths, at least one, each once")]
    return []


def _needed(tree: Mapping[str, Any]) -> list[Problem]:
    data = tree["data"]
    return [
        Problem(
            f"data.{field.name}", None, f"data={data['name']} needs a value here: {field.metadata['help']}"
        )
        for field in fields(DATA[data["name"]])
        if field.metadata.get("needed") and not data[field.name]
    ]


def _lengths(tree: Mapping[str, Any]) -> list[Problem]:
    data = tree["data"]
    if data["name"] == "synthetic" and data["minimum"] > data["longest"]:
        remedy = f"must be at most data.longest={data['longest']}"
        return [Problem("data.minimum", data["minimum"], remedy)]
    return []


def address(tree: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the store's address."""
    uri = tree["tracking"]["uri"]
    shown = f"{uri.partition('://')[0]}://***"
    try:
        remedy = password_in(uri)
        if urlsplit(uri).scheme in ("http", "https"):
            _ = urlsplit(uri).port  # is looked at only now
    except ValueError as error:
        return [Problem("tracking.uri", shown, f"is no address: {error}")]
    return [Problem("tracking.uri", shown, f"holds a password: {remedy}")] if remedy else []


def _strategy(tree: Mapping[str, Any]) -> list[Problem]:
    training = tree["training"]
    strategy, workers = training["strategy"], training["workers"]
    if strategy == "none":
        remedy = "a run without a strategy has one; take training.strategy=mirrored or multi_worker"
        return [Problem("training.workers", workers, remedy, skip=True)] if workers > 1 else []
    if workers < 2:
        remedy = f"training.strategy={strategy} divides a batch among two or more; set training.workers=2"
        return [Problem("training.workers", workers, remedy, skip=True)]
    problems = []
    divided = "padding.token_budget" if tree["padding"].get("token_budget") else "data.batch_size"
    group, key = divided.split(".")
    if tree[group][key] % workers:
        remedy = f"is that of all training.workers={workers} together: must be a multiple of their number"
        problems.append(Problem(divided, tree[group][key], remedy, skip=True))
    for key in ("window_examples", "evaluated_examples"):
        if (value := tree["measure"][key]) is not None and value < workers:
            remedy = (
                f"each of training.workers={workers} has a share of them: give {workers} or more, or null"
            )
            problems.append(Problem(f"measure.{key}", value, remedy))
    if tree["data"].get("shards", workers) < workers:
        remedy = f"each of training.workers={workers} reads files of its own; give {workers} or more"
        problems.append(Problem("data.shards", tree["data"]["shards"], remedy))
    if tree["rnn"]["unroll"] == "static" and tree["padding"]["name"] != "global":
        remedy = (
            f"the replicas of training.strategy={strategy} have batches of other lengths at the same step, and a "
            "static RNN would need a graph for each pair; take padding=global, or rnn=dynamic or packed"
        )
        problems.append(Problem("rnn.unroll", "static", remedy, skip=True))
    return problems


def _keep(tree: Mapping[str, Any]) -> list[Problem]:
    training = tree["training"]
    keep, patience, found = training["keep"], training["patience"], []
    asked = [("keep", keep)] if keep == "best" else []
    asked += [("patience", patience)] if patience else []
    for key, value in asked:
        if training["epochs"] > 1 and training["validate_every"] is None:
            remedy = (
                "goes by evaluations while training, and training.validate_every=null has none; set it to 1"
            )
            found.append(Problem(f"training.{key}", value, remedy, skip=True))
    if training["strategy"] != "none":
        remedy = (
            "is for one replica, and training.strategy="
            + training["strategy"]
            + " has several; leave it out, or "
            "take training.strategy=none"
        )
        kept = [("keep", keep)] if keep != "none" else []
        found += [
            Problem(f"training.{key}", value, remedy, skip=True)
            for key, value in dict([*kept, *asked]).items()
        ]
    return found


def _checkpoint(tree: Mapping[str, Any]) -> list[Problem]:
    training, key = tree["training"], "training.checkpoint_every"
    if (every := training["checkpoint_every"]) is None:
        return []
    try:
        interval(every)
    except ValueError as error:
        return [Problem(key, every, str(error))]
    remedy = f"is for one replica, and training.strategy={training['strategy']} has several; set it to null"
    return [Problem(key, every, remedy)] if training["strategy"] != "none" else []


RULES = (
    address,
    _static_graph,
    _sign_mask,
    _next_token,
    _truncate,
    _class_weights,
    _projection,
    _blocks,
    _custom_cell,
    _attention,
    _residual,
    _block_dtype,
    _packed_kernel,
    _packed_batch,
    _keras_dropout,
    _keras_cudnn,
    _cudnn,
    _variational,
    _over_length,
    _boundaries,
    _needed,
    _lengths,
    _strategy,
    _keep,
    _checkpoint,
)
