"""Somebody else's data: numbers in words, written with TensorFlow alone; `index_shards` makes a data set of them.

    python experiments/sequence_example_ablation/foreign.py

writes foreign/ anew. Each word is labelled: does it count thousands or units, or is it a scale word or "and"? The
first words of a number need its later ones. The names of features are the guide's (tokens), not the workbench's.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tensorflow as tf

FOLDER = Path(__file__).parent / "foreign"
SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = ["<pad>", "<unk>", *SMALL, *TENS, "hundred", "thousand", "and"]
TAGS = ["unit", "thousands", "scale", "and"]


def below_thousand(number: int, tag: str) -> list[tuple[str, str]]:
    """Words of 1 to 999 with their tags."""
    words = []
    if number >= 100:
        words += [(SMALL[number // 100], tag), ("hundred", "scale")]
        words += [("and", "and")] if number % 100 else []
        number %= 100
    if number >= 20:
        words.append((TENS[number // 10 - 2], tag))
        number %= 10
    return words + ([(SMALL[number], tag)] if number else [])


def in_words(number: int) -> list[tuple[str, str]]:
    """Words of 1 to 999,999 with their tags."""
    thousands, rest = divmod(number, 1000)
    words = [*below_thousand(thousands, "thousands"), ("thousand", "scale")] if thousands else []
    if thousands and 0 < rest < 100:
        words.append(("and", "and"))
    return words + below_thousand(rest, "unit")


def record(number: int) -> bytes:
    """A SequenceExample of a number."""
    words = in_words(number)

    def ints(values: list[int]) -> Any:
        return tf.train.FeatureList(
            feature=[tf.train.Feature(int64_list=tf.train.Int64List(value=[value])) for value in values]
        )

    length = tf.train.Feature(int64_list=tf.train.Int64List(value=[len(words)]))
    lists = {
        "tokens": ints([WORDS.index(word) for word, _ in words]),
        "tags": ints([TAGS.index(tag) for _, tag in words]),
    }
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={"length": length}),
        feature_lists=tf.train.FeatureLists(feature_list=lists),
    ).SerializeToString(deterministic=True)


def main() -> None:
    """Write the shards, then the manifest."""
    from workbench.data.shards import index_shards

    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    draw = random.Random(1)
    numbers = draw.sample(range(1, 1000), 300) + draw.sample(range(1000, 1_000_000), 500)
    draw.shuffle(numbers)
    splits = {"train": ["a.tfrecord", "b.tfrecord"], "validation": ["c.tfrecord"]}
    for i, file in enumerate(name for names in splits.values() for name in names):
        with tf.io.TFRecordWriter(str(FOLDER / file), "GZIP") as writer:
            for number in numbers[(0, 320, 640)[i] : (320, 640, 800)[i]]:
                writer.write(record(number))
    index_shards(
        FOLDER,
        splits,
        name="numbers in words",
        labels=TAGS,
        vocabulary=WORDS,
        feature_names={"inputs": "tokens", "labels": "tags"},
        compression="GZIP",
    )


if __name__ == "__main__":
    main()
