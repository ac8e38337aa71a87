"""What conf/data offers is what the data room takes: no option is shown that would be ignored."""

import dataclasses

import pytest

from workbench.config import load
from workbench.data.sources import SOURCES
from workbench.options.data import SCHEMAS, Built, Data
from workbench.sweep.compose import Composer


def names(schema):
    return {field.name for field in dataclasses.fields(schema)}


def test_every_schema_is_of_a_source_and_says_of_itself_which():
    assert set(SCHEMAS) == {*SOURCES, "tfrecord"}
    assert {name: schema().name for name, schema in SCHEMAS.items()} == {name: name for name in SCHEMAS}


@pytest.mark.parametrize("option", sorted(names(Built) - names(Data)))
def test_shards_of_anyone_have_no_option_of_building(option):
    _, wrong = load(Composer()(["data=tfrecord", "data.path=somewhere", f"+data.{option}=1"]))
    assert any(f"data.{option}=1: no such key" in str(problem) for problem in wrong)


def test_whether_a_sign_mask_fits_shards_of_anyone_is_left_to_their_manifest():
    compose = Composer()
    assert load(compose(["data=tfrecord", "data.path=somewhere", "loss=sign"]))[1] == []
    assert load(compose(["loss=sign"]))[1] != []
    assert load(compose(["loss=sign", "data.first_class=1"]))[1] == []
