"""Hydra's grammar: what each override gives, which of two holds, and what is refused in words."""

from __future__ import annotations

import pytest

from workbench.config import ConfigError
from workbench.sweep.overrides import MOST_JOBS, of_values, plain, read


def files(group: str) -> list[str]:
    return ["gru", "lstm", "nas"] if group == "cell" else []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cell=glob(*)", ["cell=gru", "cell=lstm", "cell=nas"]),
        ("cell=glob(*,exclude=n*)", ["cell=gru", "cell=lstm"]),
        ("cell=glob([g*,n*],exclude=[nas])", ["cell=gru"]),
        ("a=choice(1,x)", ["a=1", "a=x"]),
        ("a=sort(3,1,2)", ["a=1", "a=2", "a=3"]),
        ("a=tag(t,choice(1,2))", ["a=1", "a=2"]),
        ("a=int(1.5,2)", ["a=1", "a=2"]),
        ("a=str(1,2)", ["a='1'", "a='2'"]),
        ("a=range(3,0,-1)", ["a=3", "a=2", "a=1"]),
        ("a=range(0.5,1.5,0.5)", ["a=0.5", "a=1.0"]),
        ("a='x,y','z'", ["a='x,y'", "a='z'"]),
        ("a=[1,2],[3]", ["a=[1,2]", "a=[3]"]),
        ("a={b:1},null", ["a={b:1}", "a=null"]),
        ("++a=1,2", ["++a=1", "++a=2"]),
    ],
)
def test_a_sweep_gives_its_values(text: str, words: list[str]) -> None:
    (one,) = read([text], files)
    assert list(one.words) == words
    assert one.is_swept


def test_a_shuffled_sweep_has_the_same_order_each_time() -> None:
    first, second = (read(["a=shuffle(range(0,50))"])[0].words for _ in range(2))
    assert first == second != read(["a=range(0,50)"])[0].words
    assert set(first) == set(read(["a=range(0,50)"])[0].words)


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (["seed=1,2", "seed=3"], [("seed=3",)]),
        (["seed=3", "seed=1,2"], [("seed=1", "seed=2")]),
        (["cell=gru", "cell=lstm,nas", "b=1", "cell=ugrnn"], [("b=1",), ("cell=ugrnn",)]),
        (["a=1,2", "++a=3"], [("++a=3",)]),
        (["+a=1,2", "a=3"], [("+a=3",)]),
        (["a=1,2", "~a"], [("~a",)]),
        (["a@p=1,2", "a=3"], [("a@p=1", "a@p=2"), ("a=3",)]),
        (["+a=1", "a=2"], [("+a=1",), ("a=2",)]),  # two values: Hydra takes the later
    ],
)
def test_the_later_override_of_a_swept_key_holds(texts: list[str], left: list[tuple[str, ...]]) -> None:
    assert [one.words for one in read(texts)] == left


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a=interval(0,1)", "a=interval(0,1): an interval has no values"),
        ("a=tag(t,interval(0,1))", "an interval has no values"),
        ("cell=glob(x*)", "cell=glob(x*): matches none of gru, lstm, nas"),
        ("seed=glob(*)", "seed=glob(*): glob takes a group's files"),
        ("a=choice(1,choice(2))", "a sweep inside a sweep"),
        ("a=range(1,3,0)", "a=range(1,3,0): a range needs numbers, and a step that is not 0"),
        ("a=range(0,1,0.0)", "a step that is not 0"),
        ("a=range(nan,1)", "a range needs numbers"),
        ("a=range(inf,inf)", "a range needs numbers"),
        ("a=range(-inf,3)", "a range needs numbers"),
        ("a=choice(range(1,3))", "a sweep inside a sweep"),
        ("a=4,,5", "is not in Hydra's grammar (extraneous input ',');"),
        ("a=range(3,3)", "a=range(3,3): names no value"),
        ("a=range(0,3,-1)", "names no value"),
        ("a=range(0,1000000000000)", f"a sweep has {MOST_JOBS} jobs at most"),
        ("a=range(0,1,1e-9)", f"a sweep has {MOST_JOBS} jobs at most"),
        ("a=range(0,inf)", f"a sweep has {MOST_JOBS} jobs at most"),
        ("a=choice()", "empty choice"),
        ("a=int(x)", "int(x)"),
        ("a=b=c", "a=b=c: is not in Hydra's grammar"),
        (
            "help",
            "help: is not in Hydra's grammar (missing EQUAL at '<EOF>'); an override is KEY=VALUE, and `python",
        ),
        ("=3", "has no key"),
        ("", "is not in Hydra's grammar"),
    ],
)
def test_what_has_no_values_is_refused_and_named_alone(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(["training.epochs=3", text, "cell=gru"], files)
    assert words in str(refused.value)
    assert "epochs" not in str(refused.value)
    assert "hydra.cc" not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["1e3", "null", "true", "a b", " a", "x,y", "it's", 'say "it"', "a\\", "", "b=c:d"]
)
def test_a_text_in_a_files_list_stays_the_text_that_it_is(value: str) -> None:
    from workbench.sweep.overrides import parsed

    one = of_values("label", [value, 1, None, True, [value]], files)
    assert [parsed(word).value() for word in one.words] == [value, 1, None, True, [value]]
    assert one.titles[0] == f"label={value}"


def test_a_text_alone_in_a_file_is_in_hydras_grammar() -> None:
    assert of_values("cell", "glob(*)", files).words == ("cell=gru", "cell=lstm", "cell=nas")
    assert of_values("+a", "1,2", files).words == ("+a=1", "+a=2")
    assert of_values("a", 3, files).words == ("a=3",)
    with pytest.raises(ConfigError, match=r"cell=\[\]: names no value"):
        of_values("cell", [], files)


def test_plain_overrides_keep_their_order() -> None:
    assert plain(read(["a=1", "b=1,2", "~c", "+d=[1,2]"])) == ["a=1", "~c", "+d=[1,2]"]
