"""What TensorFlow 1.15 wrote and batched, read and batched by the pipeline."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from workbench.data.pipeline import batches
from workbench.data.shards import index_shards, prepare, verify_examples, write_dataset
from workbench.data.sources import Example
from workbench.options.data import PARSES, TFRecord
from workbench.options.padding import Padding

GOLDEN = Path(os.environ.get("WORKBENCH_GOLDEN_DIR") or Path(__file__).parent.parent / "golden")


@pytest.mark.parametrize(("file", "compression"), [("tagging.tfrecord", ""), ("tagging.tfrecord.gz", "GZIP")])
@pytest.mark.parametrize("parse", PARSES)
def test_shards_of_tf1_are_a_data_set(tmp_path, file, compression, parse):
    expected = np.load(GOLDEN / "tagging_expected.npz")
    shutil.copy(GOLDEN / file, tmp_path)
    index_shards(
        tmp_path,
        {"train": [file]},
        name="tagging",
        labels=[str(c) for c in range(int(expected["labels"].max()) + 1)],
        vocabulary=[str(i) for i in range(int(expected["tokens"].max()) + 1)],
        feature_names={"inputs": "tokens"},
        compression=compression,
    )
    folder = prepare(TFRecord(path=tmp_path))
    assert folder == tmp_path
    verify_examples(folder)
    found = {"tokens": [], "labels": [], "lengths": []}
    for batch in batches(
        folder, "train", TFRecord(batch_size=7, parse=parse), Padding("batch"), shuffle=False
    ):
        lengths = batch["length"].numpy()
        valid = np.arange(batch["inputs"].shape[1]) < lengths[:, None]
        found["lengths"].append(lengths)
        found["tokens"].append(batch["inputs"].numpy()[valid])
        found["labels"].append(batch["labels"].numpy()[valid])
    for name, parts in found.items():
        np.testing.assert_array_equal(np.concatenate(parts), expected[name])


@pytest.mark.parametrize("parse", PARSES)
def test_the_guides_batch_is_what_tf1_made_of_it(tmp_path, parse):
    """[], [1], [1,2], [1,2,3], [1,2,3,4] in one batch of 5 (guide, P2)."""
    folder = tmp_path / "guide"
    write_dataset([Example(list(range(1, n + 1)), [0] * n) for n in range(5)], folder, name="guide")
    [batch] = batches(folder, "train", TFRecord(batch_size=5, parse=parse), Padding("batch"), shuffle=False)
    np.testing.assert_array_equal(batch["inputs"], np.load(GOLDEN / "batch_padding.npz")["guide_batch"])
    assert batch["length"].numpy().tolist() == [0, 1, 2, 3, 4]
