"""What conf/data offers is what the data room takes: no option is shown that would be ignored."""

import dataclasses
import inspect

import pytest

from workbench.config import load
from workbench.data.shards import prepare
from workbench.data.sources import SOURCES
from workbench.options.data import SCHEMAS, Built, Data
from workbench.sweep.compose import Composer


def names(schema):
    return {field.name for field in dataclasses.fields(schema)}


def test_every_option_of_a_source_is_taken_by_prepare_or_by_the_source():
    keywords = set(inspect.signature(prepare).parameters) - {"source", "options"}
    assert names(Built) - names(Data) < keywords
    for name, schema in SCHEMAS.items():
        if name == "tfrecord":
            assert names(schema) - names(Data) == {"path", "test"}
        else:
            own = names(schema) - names(Built) - keywords
            assert own <= set(SOURCES[name].defaults)


@pytest.mark.parametrize("option", sorted(names(Built) - names(Data)))
def test_shards_of_anyone_have_no_option_of_building(option):
    _, wrong = load(Composer()(["data=tfrecord", "data.path=somewhere", f"+data.{option}=1"]))
    assert any(f"data.{option}=1: no such key" in str(problem) for problem in wrong)


def test_whether_a_sign_mask_fits_shards_of_anyone_is_left_to_their_manifest():
    compose = Composer()
    assert load(compose(["data=tfrecord", "data.path=somewhere", "loss=sign"]))[1] == []
    assert load(compose(["loss=sign"]))[1] != []
    assert load(compose(["loss=sign", "data.first_class=1"]))[1] == []
