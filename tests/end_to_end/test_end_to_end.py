"""The benchmark of whole trainings: what each arm is given, what its table says, and that arms train alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.end_to_end import __main__ as command
from experiments.end_to_end import table
from experiments.end_to_end.work import TASKS, batches, first_weights, treebank

SENTENCES = {
    "weblog-a-1": "The/DET dog/NOUN barks/VERB",
    "email-b-1": "The/DET cat/NOUN sees/VERB the/DET dog/NOUN now/ADV ./PUNCT ./PUNCT ./PUNCT",
    "weblog-a-2": "A/DET dog/NOUN",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A treebank of nine sentences to train on, and three others."""

    def written(times: int) -> str:
        rows = []
        for name, words in list(SENTENCES.items()) * times:
            rows += [f"# sent_id = {name}", "# text = as it was", "1-2\tdon't\t_\t_\n".strip()]
            for number, word in enumerate(words.split(), 1):
                form, tag = word.rsplit("/", 1)
                rows.append("\t".join([str(number), form, form, tag, *"_" * 6]))
            rows += ["3.1\tempty\t_\tX", ""]
        return "\n".join(rows) + "\n"

    (tmp_path / "en_ewt-ud-train.conllu").write_text(written(3))
    (tmp_path / "en_ewt-ud-dev.conllu").write_text(written(1))
    return tmp_path


def test_words_tags_and_genres_are_read(folder: Path) -> None:
    tagger, genres = treebank(folder, TASKS["tagger"]), treebank(folder, TASKS["classifier"])
    assert (len(tagger.train.ids), len(tagger.validation.ids)) == (9, 3)
    assert (tagger.classes, genres.classes) == (5, 2)
    assert [len(ids) for ids in tagger.train.ids[:3]] == [3, 9, 2]
    assert tagger.train.labels[0].tolist() == [1, 2, 4]  # DET, NOUN, VERB of ADV DET NOUN PUNCT VERB
    assert [int(label) for label in genres.train.labels[:3]] == [1, 0, 1]
    few = treebank(folder, TASKS["tagger"], sentences=3)
    assert len(few.train.ids) == 3
    assert int(few.validation.ids[2][0]) == 1, '"a" came once at the most: unknown'


@pytest.mark.parametrize("padding", ["batch", "bucket"])
@pytest.mark.parametrize("task", TASKS)
def test_an_epoch_has_each_sentence_once_and_no_padding_beyond_its_longest(folder, task, padding) -> None:
    data = treebank(folder, TASKS[task])
    given = batches(data.train, padding, seed=1)
    rows = [(batch, row) for batch in given for row in range(len(batch.lengths))]
    found = sorted(batch.ids[row, : batch.lengths[row]].tolist() for batch, row in rows)
    assert found == sorted(ids.tolist() for ids in data.train.ids)
    for batch in given:
        assert batch.ids.shape[1] == batch.lengths.max()
        beyond = np.arange(batch.ids.shape[1]) >= batch.lengths[:, None]
        assert not batch.ids[beyond].any()
        assert batch.labels.ndim == (2 if TASKS[task].each_step else 1)
    assert len(given) == (1 if padding == "batch" else 2), "sentences of 9 words have a bucket of their own"


def test_the_table_says_what_was_trained() -> None:
    def epochs(*seconds: float) -> list[dict[str, object]]:
        accuracy = (0.5, 0.8, 0.9)
        more = {"cpu_s": 1.0, "major_faults": 0, "longest_step_s": None, "peak_mb": 500.0}
        return [{"seconds": s, "accuracy": a, **more} for s, a in zip(seconds, accuracy, strict=True)]

    runs = [("keras", epochs(9, 8, 8)), ("accelerate", epochs(5, 2, 2)), ("no rnn", epochs(1, 0.5, 0.5))]
    found = {
        "typed": ["--x"],
        "about": {"machine.cpu": "CPU"},
        "units": 4,
        "minutes": 1,
        "runs": [
            {"task": "tagger", "padding": "batch", "arm": arm, "seed": 1, "epochs": of} for arm, of in runs
        ],
    }
    text = table.markdown(found)
    assert "| tagger | batch | keras | 8.0 (8.0 to 8.0) | 9.0 | 25 to 90.0% |" in text
    assert "4.0x as fast as keras an epoch [4.0, 4.0], 2.8x to the accuracy" in text  # 25 of 9 seconds
    assert "25% of its epoch is what the model takes without an RNN" in text


def test_a_folder_without_the_treebank_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command.main(["--treebank", str(tmp_path)]) == 2
    assert "it has no en_ewt-ud-train.conllu" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.command
def test_keras_and_accelerate_learn_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder / "out"
    words = ["--treebank", str(folder), "--arms", "keras", "accelerate", "no rnn", "--units", "8"]
    words += ["--epochs", "3", "--seeds", "1", "--paddings", "bucket", "--tasks", "tagger", "--out", str(out)]
    assert command.main(words) == 0
    found = json.loads((out / "results.json").read_text())
    arms = table.runs_of(found, "tagger", "bucket")
    assert set(arms) == {"keras", "accelerate", "no rnn"}
    accuracy = {arm: [epoch["accuracy"] for epoch in epochs] for arm, [epochs] in arms.items()}
    assert accuracy["keras"] == accuracy["accelerate"]
    assert all(epoch["seconds"] > 0 for [epochs] in arms.values() for epoch in epochs)
    assert "accelerate" in (out / "report.md").read_text()


def test_both_layers_have_weights_of_both_directions(folder: Path) -> None:
    data = treebank(folder, TASKS["classifier"])
    weights = first_weights(data, TASKS["classifier"], 4, seed=1)
    assert [[one[0].shape for one in layer] for layer in weights.rnn] == [[(128, 16)] * 2, [(8, 16)] * 2]
    assert weights.rnn[0][0][2].tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
