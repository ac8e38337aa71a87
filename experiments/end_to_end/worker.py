"""One arm in a process of its own: an epoch when it is told to, and what that took."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.end_to_end.work import TASKS, Batch, Data, Task, Weights, batches, first_weights, treebank

ARMS = ("keras", "accelerate", "torch", "no rnn")
"""`no rnn` is Keras' model with a dense layer in place of each RNN: what an epoch takes beside the RNN."""
RATE, EPSILON = 0.003, 1e-7


class Setting(NamedTuple):
    """What one process trains."""

    task: str
    padding: str
    arm: str
    units: int
    seed: int
    folder: str
    sentences: int | None
    threads: int


class Epoch(NamedTuple):
    """What an epoch took; `longest_step_s` is the longest time between the ends of two steps, of Keras' arms.

    `major_faults`: pages that had to be read from the disk first, as the system had taken them away.
    """

    seconds: float
    cpu_s: float
    major_faults: int
    longest_step_s: float | None
    accuracy: float
    peak_mb: float


class Model(NamedTuple):
    """`train` goes over an epoch's batches and gives the longest time between two steps, where it knows it."""

    train: Callable[[Sequence[Batch]], float | None]
    predict: Callable[[Batch], np.ndarray]


def work(setting: Setting, told: Connection) -> None:
    """An epoch for each number that is sent, until None comes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    task = TASKS[setting.task]
    data = treebank(Path(setting.folder), task, setting.sentences)
    weights = first_weights(data, task, setting.units, setting.seed)
    make = _torch_model if setting.arm == "torch" else _keras_model
    model = make(setting, task, data, weights)
    validation = batches(data.validation, "bucket", 0)
    told.send("ready")
    while (number := told.recv()) is not None:
        given = batches(data.train, setting.padding, 1000 * setting.seed + number)
        _read_again()
        faults, cpu, start = _used().ru_majflt, time.process_time(), time.perf_counter()
        longest = model.train(given)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        faults, accuracy = _used().ru_majflt - faults, _accuracy(model, validation)
        told.send(Epoch(seconds, cpu, faults, longest, accuracy, _used().ru_maxrss * 1024 / 1e6))


def _used() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_SELF)


def _read_again() -> None:
    """Have the libraries' files in memory: while others had their turn a system may have taken pages of them."""
    mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    for path in mapped:
        if ".so" in path:
            with open(path, "rb", buffering=0) as file:
                while file.read(2**24):
                    pass


def _accuracy(model: Model, split: Sequence[Batch]) -> float:
    right = total = 0
    for batch in split:
        hit = model.predict(batch) == batch.labels
        counts = (
            np.arange(batch.ids.shape[1]) < batch.lengths[:, None] if hit.ndim == 2 else np.ones_like(hit)
        )
        right, total = right + int(hit[counts].sum()), total + int(counts.sum())
    return right / total


def _keras_model(setting: Setting, task: Task, data: Data, weights: Weights) -> Model:
    import keras
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # PyTorch's arm has none either: it is a comparison of CPUs
    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    layers: list[Any] = [keras.Input([None], dtype="int32")]
    layers += [keras.layers.Embedding(data.vocabulary, weights.embedding.shape[1], mask_zero=True)]
    for number in range(task.layers):
        sequences = task.each_step or number + 1 < task.layers
        if setting.arm == "no rnn":
            layers += [keras.layers.Dense(2 * setting.units, activation="tanh")]
            layers += [] if sequences else [keras.layers.GlobalAveragePooling1D()]
        else:
            lstm = keras.layers.LSTM(setting.units, return_sequences=sequences)
            layers += [keras.layers.Bidirectional(lstm)]
    model = keras.Sequential([*layers, keras.layers.Dense(data.classes)])
    if setting.arm != "no rnn":
        found = [array for layer in weights.rnn for direction in layer for array in direction]
        model.set_weights([weights.embedding, *found, *weights.dense])
    if setting.arm == "accelerate":
        from workbench import accelerate

        accelerate(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE, epsilon=EPSILON), loss)
    signature = (
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None] if task.each_step else [None], tf.int32),
    )

    class Ends(keras.callbacks.Callback):
        """When each step ended."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.at: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.at.append(time.perf_counter())

    ends = Ends()

    def train(given: Sequence[Batch]) -> float:
        feed = tf.data.Dataset.from_generator(
            lambda: ((one.ids, one.labels) for one in given), output_signature=signature
        )
        model.fit(feed.prefetch(2), verbose=0, callbacks=[ends])
        return float(np.diff(ends.at).max(initial=0))

    return Model(train, lambda batch: np.asarray(model.predict_on_batch(batch.ids)).argmax(-1))


def _torch_model(setting: Setting, task: Task, data: Data, weights: Weights) -> Model:
    import torch
    from torch.nn.functional import cross_entropy
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(setting.threads)
    embedding = torch.nn.Embedding(*weights.embedding.shape, padding_idx=0)
    rnn = torch.nn.LSTM(
        weights.embedding.shape[1], setting.units, task.layers, batch_first=True, bidirectional=True
    )
    dense = torch.nn.Linear(2 * setting.units, data.classes)
    with torch.no_grad():
        embedding.weight[1:] = torch.as_tensor(weights.embedding[1:])
        for number, layer in enumerate(weights.rnn):
            for suffix, (kernel, recurrent, bias) in zip(("", "_reverse"), layer, strict=True):
                getattr(rnn, f"weight_ih_l{number}{suffix}").copy_(torch.as_tensor(kernel.T))
                getattr(rnn, f"weight_hh_l{number}{suffix}").copy_(torch.as_tensor(recurrent.T))
                getattr(rnn, f"bias_ih_l{number}{suffix}").copy_(torch.as_tensor(bias))
                getattr(rnn, f"bias_hh_l{number}{suffix}").zero_()
                getattr(rnn, f"bias_hh_l{number}{suffix}").requires_grad_(False)  # Keras has one bias
        dense.weight.copy_(torch.as_tensor(weights.dense[0].T))
        dense.bias.copy_(torch.as_tensor(weights.dense[1]))
    parameters = [p for one in (embedding, rnn, dense) for p in one.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, RATE, eps=EPSILON)

    def logits(batch: Batch) -> Any:
        packed = pack_padded_sequence(
            embedding(torch.as_tensor(batch.ids).long()),
            torch.as_tensor(batch.lengths).long(),
            batch_first=True,
            enforce_sorted=False,
        )
        outputs, (last, _) = rnn(packed)
        if task.each_step:
            return dense(pad_packed_sequence(outputs, batch_first=True)[0])
        return dense(torch.cat([last[-2], last[-1]], -1))

    def train(given: Sequence[Batch]) -> None:
        for batch in given:
            labels = torch.as_tensor(batch.labels).long()
            if task.each_step:
                labels = torch.where(torch.as_tensor(batch.ids) > 0, labels, -100)
            optimizer.zero_grad()
            cross_entropy(logits(batch).flatten(0, -2), labels.flatten()).backward()
            optimizer.step()

    def predict(batch: Batch) -> np.ndarray:
        with torch.no_grad():
            return logits(batch).argmax(-1).numpy()

    return Model(train, predict)
