"""The model of every run: embed -> RNN layers -> head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from workbench.cells.base import freeze_inside, initial_states, output_size
from workbench.cells.composition import compose_cell
from workbench.cells.dropout import seed_of_replica
from workbench.masking import last_valid
from workbench.options import cell as cell_options
from workbench.options import rnn as rnn_options
from workbench.options.data import TASKS
from workbench.options.model import Model
from workbench.rnn import RNNS
from workbench.rnn.bidirectional import backward_rnn, bidirectional_rnn
from workbench.seeds import initialisation, seed_for


class ModelOutputs(NamedTuple):
    """What one call computes, for the probes."""

    logits: tf.Tensor
    """[B, T, classes] for tasks tag and next, [B, classes] for classify."""
    outputs: tf.Tensor
    """[B, T, O]: outputs of the last RNN layer, of both directions side by side."""
    state: list[tf.Tensor]
    """Final states of all layers, flat: layer by layer, forward before backward."""


@keras.saving.register_keras_serializable("workbench")
class SequenceModel(keras.Model):
    """Tags each step of a sequence, or classifies the whole of it.

        vectors = dropout(embed(ids)), or the features as they are
        for each layer: outputs, state = rnn(cell, vectors, lengths); vectors = dropout(outputs)
        tag:      logits [B, T, classes] = dense(vectors); next: the same, of the token that follows
        classify: logits [B, classes]    = dense(last valid output of each direction)

    `model(batch)` takes a dict with `inputs` and `length` (labels and others are ignored) and gives logits.
    `cell`, `rnn` and `model` are the options of those names. Weights are drawn by (seed, which weight): models that
    differ in runner, direction's other half or `pass_lengths` share them. Give `vocabulary_size` for inputs of ids
    [B, T], `feature_size` for inputs of features [B, T, D]. Under a mixed `model.dtype` logits are of the weights'
    dtype.

    `rnn.direction="backward"` runs from the end to the beginning: the valid part reversed where lengths are
    passed, the whole padded sequence where not; outputs come back in their places. With `both`, `units` are
    units of each direction. Without lengths the state goes on over the padding, and the last output is the
    one at the padded end: that is what the guide warns of, and what an ablation needs.

    Saved with `model.save("x.keras")` and loaded with `keras.saving.load_model`.
    """

    def __init__(
        self,
        cell: cell_options.Cell,
        rnn: rnn_options.RNN,
        model: Model,
        *,
        task: str,
        classes: int,
        vocabulary_size: int | None = None,
        feature_size: int | None = None,
        seed: int = 0,
        name: str = "sequence_model",
        **others: Any,
    ):
        if task not in TASKS:
            raise ValueError(f"task is {task!r}: must be one of {', '.join(TASKS)}")
        if task == "next" and rnn.direction != "forward":
            raise ValueError(
                f'rnn.direction is {rnn.direction}: it has read the token that the task "next" is to predict; take '
                "forward"
            )
        if classes < 1:
            raise ValueError(f"classes is {classes}: must be at least 1")
        if (vocabulary_size is None) == (feature_size is None):
            raise ValueError(
                f"vocabulary_size is {vocabulary_size} and feature_size {feature_size}: give one, vocabulary_size "
                "for inputs of ids [B, T], feature_size for inputs of features [B, T, D]"
            )
        super().__init__(name=name, dtype=model.dtype, **others)
        self._arguments = {
            "cell": asdict(cell),
            "rnn": asdict(rnn),
            "model": asdict(model),
            "task": task,
            "classes": classes,
            "seed": seed,
            "vocabulary_size": vocabulary_size,
            "feature_size": feature_size,
        }
        self.task, self.classes, self.rnn = task, classes, rnn
        self.vocabulary_size, self.feature_size = vocabulary_size, feature_size

        policy = self.dtype_policy
        width = model.embedding_size if feature_size is None else feature_size
        self.embedding = None
        if vocabulary_size is not None:
            with initialisation(seed, "embedding"):
                self.embedding = keras.layers.Embedding(
                    vocabulary_size, model.embedding_size, dtype=policy, name="embedding"
                )
            self.embedding.build((None, None))
        self.embedding_dropout = PaddingFreeDropout(
            model.embedding_dropout,
            seed=seed_for(seed, "embedding dropout"),
            dtype=policy,
            name="embedding_dropout",
        )
        self.embedding_dropout.build((None, None, width))
        self.cells_forward: list[keras.layers.Layer] = []
        self.cells_backward: list[keras.layers.Layer] = []
        ways = {"forward": [self.cells_forward], "backward": [self.cells_backward]}.get(
            rnn.direction, [self.cells_forward, self.cells_backward]
        )
        self.dropouts = []
        for layer in range(model.layers):
            width_of_outputs = 0
            for cells in ways:
                way = "forward" if cells is self.cells_forward else "backward"
                with initialisation(seed, f"rnn/{layer}/{way}"):
                    made = compose_cell(
                        cell,
                        seed=seed_for(seed, f"cell dropout/{layer}/{way}"),
                        dtype=policy,
                        name=f"{cell.name}_{layer}_{way}",
                    )
                    made.build((None, width))
                cells.append(made)
                width_of_outputs += output_size(made)
            self.dropouts.append(
                PaddingFreeDropout(
                    model.dropout,
                    seed=seed_for(seed, f"dropout/{layer}"),
                    dtype=policy,
                    name=f"dropout_{layer}",
                )
            )
            self.dropouts[-1].build((None, None, width_of_outputs))
            width = width_of_outputs
        with initialisation(seed, "head"):
            # logits in the dtype of the weights: a half has too few digits to tell near classes apart
            self.head = keras.layers.Dense(classes, dtype=policy.variable_dtype, name="head")
        self.head.build((None, None, width))
        self.built = True
        freeze_inside(self)

    @property
    def needs_static_length(self) -> bool:
        """Whether a graph of this model is good for one padded length only."""
        return self.rnn.unroll == "static"

    def batch_signature(self, time_steps: int | None = None) -> dict[str, tf.TensorSpec]:
        """What a batch of this model is, for `tf.function(input_signature=...)`: any size, any padded length.

        With `time_steps`, of that padded length only.
        """
        features = [] if self.feature_size is None else [self.feature_size]
        labels = [None] if self.task == "classify" else [None, time_steps]
        return {
            "inputs": tf.TensorSpec([None, time_steps, *features], tf.float32 if features else tf.int32),
            "labels": tf.TensorSpec(labels, tf.int32),
            "length": tf.TensorSpec([None], tf.int32),
        }

    def export(self, filepath: Any, *args: Any, input_signature: Any = None, **others: Any) -> None:
        """As Keras' models; what comes out serves batches of any size and padded length."""
        signature = self.batch_signature()
        del signature["labels"]
        super().export(filepath, *args, input_signature=input_signature or [signature], **others)

    @property
    def output_size(self) -> int:
        """Width of `outputs`, both directions together."""
        return sum(output_size(cells[-1]) for cells in (self.cells_forward, self.cells_backward) if cells)

    def cells_of_layers(self) -> list[keras.layers.Layer]:
        """All cells, in the order of `ModelOutputs.state`: layer by layer, forward before backward."""
        ways = [cells for cells in (self.cells_forward, self.cells_backward) if cells]
        return [cell for layer in zip(*ways, strict=True) for cell in layer]

    def call(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Logits of a batch."""
        return self.run(batch, training=training).logits

    def run(
        self,
        batch: Mapping[str, tf.Tensor],
        *,
        pass_lengths: bool | None = None,
        rnn: str | None = None,
        states: Sequence[tf.Tensor] | None = None,
        training: bool = False,
    ) -> ModelOutputs:
        """Logits, RNN outputs and final state in one call.

        `states`, flat as `ModelOutputs.state`, are those to go on from: of a model that runs forward.

        `pass_lengths` and `rnn` take the place of the model's own for this call, so that a trained model can
        be probed with and without lengths, and by the runner that takes any length.
        """
        passed = self.rnn.pass_lengths if pass_lengths is None else pass_lengths
        if rnn is None or rnn == self.rnn.unroll:
            runner, options = self.rnn.unroll, self.rnn.own()
        else:
            runner, options = rnn, {}
        lengths = batch["length"] if passed else None
        vectors = batch["inputs"]
        if self.embedding is not None:
            vectors = self.embedding_dropout(self.embedding(vectors), training=training)
        else:
            vectors = tf.cast(vectors, self.compute_dtype)
        ends: list[tf.Tensor] = []
        starts = None if states is None else list(states)
        outputs = vectors
        for layer, drop in enumerate(self.dropouts):
            start = {}
            if starts is not None:
                own = self.initial_states_of(layer, 0)
                flat = [starts.pop(0) for _ in tf.nest.flatten(own)]
                start = {"initial_state": tf.nest.pack_sequence_as(own, flat)}
            outputs, state = self._layer(layer, vectors, lengths, runner, {**options, **start}, training)
            ends += keras.tree.flatten(state)
            vectors = drop(outputs, training=training)
        if self.task == "classify":
            vectors = self._ends(vectors, lengths)
        return ModelOutputs(self.head(vectors), outputs, ends)

    def initial_states_of(self, layer: int, batch_size: Any) -> Any:
        """What a layer of a model that runs forward starts from, nested as its cell has it."""
        return initial_states(self.cells_forward[layer], batch_size)

    def initial_states(self, batch_size: Any) -> list[tf.Tensor]:
        """What all layers start from, flat as `ModelOutputs.state`."""
        return [
            one
            for layer in range(len(self.dropouts))
            for one in tf.nest.flatten(self.initial_states_of(layer, batch_size))
        ]

    def _layer(
        self,
        layer: int,
        vectors: tf.Tensor,
        lengths: tf.Tensor | None,
        rnn: str,
        options: Mapping[str, Any],
        training: bool,
    ) -> tuple[tf.Tensor, Any]:
        if self.rnn.direction == "forward":
            return RNNS[rnn](self.cells_forward[layer], vectors, lengths, training=training, **options)
        if self.rnn.direction == "backward":
            return backward_rnn(
                self.cells_backward[layer], vectors, lengths, rnn=rnn, training=training, **options
            )
        outputs, states = bidirectional_rnn(
            self.cells_forward[layer],
            self.cells_backward[layer],
            vectors,
            lengths,
            rnn=rnn,
            training=training,
            **options,
        )
        return tf.concat(outputs, axis=-1), states

    def _ends(self, vectors: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
        """The output of each direction's last step; zeros for an empty sequence."""
        if lengths is None:
            shape = tf.shape(vectors)
            lengths = tf.fill([shape[0]], shape[1])
        # a backward RNN ends at the first step, where its outputs are zero already for length 0
        first = tf.reduce_sum(vectors[:, :1], axis=1)
        if self.rnn.direction == "forward":
            return last_valid(vectors, lengths)
        if self.rnn.direction == "backward":
            return first
        size = output_size(self.cells_forward[-1])
        return tf.concat([last_valid(vectors[..., :size], lengths), first[..., size:]], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The arguments, options as plain values; and which layers, counted through, are frozen, if any is."""
        frozen = [i for i, layer in enumerate(self._flatten_layers()) if not layer.trainable]
        return {"name": self.name, **self._arguments, **({"frozen": frozen} if frozen else {})}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> SequenceModel:
        """A model of the same arguments, with the same layers frozen."""
        config = dict(config)
        frozen = config.pop("frozen", [])
        cell, rnn = config.pop("cell"), config.pop("rnn")
        model = cls(
            cell_options.SCHEMAS[cell["name"]](**cell),
            rnn_options.SCHEMAS[rnn["unroll"]](**rnn),
            Model(**config.pop("model")),
            **config,
        )
        for i, layer in enumerate(model._flatten_layers()):
            if i in frozen:
                layer.trainable = False
        return model

    def build_from_config(self, config: Any) -> None:
        """Nothing is left to build: every weight is there once the model is made."""


@keras.saving.register_keras_serializable("workbench")
class PaddingFreeDropout(keras.layers.Layer):
    """Drop elements of [B, T, D] so that longer padding leaves the mask of the valid steps as it was.

        noise [T, B, D] drawn step by step from a counter; keep where noise >= rate, over (1 - rate)

    A counter-based generator fills [T, B, D] in order of time, so that a larger T appends to the noise and
    changes none of it: arms of a comparison that have the same examples in a batch share their dropout
    whatever the padding. A mask drawn as [B, T, D], as Keras does, has another one for every T.
    """

    def __init__(self, rate: float, seed: int | None = None, **others: Any):
        super().__init__(**others)
        self.rate, self.seed = rate, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Inputs with elements dropped; inputs as they are when not training."""
        if not training or not self.rate:
            return inputs
        shape = tf.shape(inputs)
        # not in a half, whose few values would round the rate
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        noise = tf.random.stateless_uniform(
            (shape[1], shape[0], shape[2]), seed_of_replica(self.generator.next()), dtype=dtype
        )
        keep = tf.cast(tf.transpose(noise, [1, 0, 2]) >= self.rate, inputs.dtype)
        return inputs * keep / (1.0 - self.rate)

    def get_config(self) -> dict[str, Any]:
        """Rate and seed."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
