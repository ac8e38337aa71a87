"""claims.yaml: what is read, and every complaint with its file and line."""

from __future__ import annotations

import re

import pytest

from workbench.claims import ClaimError, ClaimSet, claims_sha, load, planned


def test_a_file_is_read_with_its_defaults_and_its_table(written):
    (claim,) = load(written())
    assert (claim.name, claim.smallest, claim.kind, claim.scale) == (
        "batch_is_faster",
        1.2,
        "measured",
        "ratio",
    )
    assert (claim.over, claim.scope, claim.where, claim.elsewhere, claim.tolerance) == (
        {},
        "average",
        (),
        None,
        0,
    )
    assert (claim.confidence, claim.pairs, claim.block, claim.control_again) == (0.95, 10, "seed", True)
    assert list(claim.equal) == ["data.fingerprint", "device", "threads"]
    assert (claim.line, claim.at("smallest").endswith("claims.yaml:12")) == (5, True)
    assert claim.family == 2  # inside, and above the one bound
    assert claim.table_sha == claims_sha([claim])


COMPLAINTS = [
    # the change, the line, the words
    (("pairs: 10", "pair: 10"), 3, "pair: the file has no such field; did you mean pairs?"),
    (("  smallest:", "  smalest:"), 12, "smalest: a claim has no such field; did you mean smallest?"),
    (("  why_smallest: less is not worth it\n", ""), 5, "a claim needs `why_smallest` (one sentence)"),
    (("valid_tokens_per_s", "valid_token_per_s"), 8, "did you mean speed/valid_tokens_per_s?"),
    (("schema: 1", "schema: 2"), 1, "schema: 2 is wrong; it must be 1"),
    (("confidence: 0.95", "confidence: 95"), 2, "confidence: 95 is out of range; above 0.5 and below 1"),
    (("confidence: 0.95", "confidence: high"), 2, "confidence: 'high' is no number"),
    (("pairs: 10", "pairs: 5"), 3, "pairs: 5 cannot decide a measured claim; at least 6"),
    (("pairs: 10", "pairs: {quick: 4, full: 12}"), 3, "pairs.quick: 4 cannot decide a measured claim"),
    (("pairs: 10", "pairs: many"), 3, "pairs: 'many' is no number of pairs (2 or more)"),
    (("pairs: 10", "pairs: true"), 3, "pairs: True is no number of pairs"),
    (("pairs: 10", "pairs: 10\nblock: a,b"), 4, "block: 'a,b' is no name"),
    (("pairs: 10", "pairs: 10\nequal: device"), 4, "equal: 'device' is no list of names"),
    (("pairs: 10", "pairs: 10\nequal: [speed/valid_token]"), 4, "equal: no metric speed/valid_token"),
    (("pairs: 10", "pairs: 10\ncontrol_again: maybe"), 4, "control_again: 'maybe' is neither true nor false"),
    (("pairs: 10", "pairs: 10\npairs: 12"), 4, "pairs stands twice here (first on line 3); keep one"),
    (("name: batch_is_faster", "name: batch is faster"), 5, "name: 'batch is faster' is no name"),
    (("name: batch_is_faster", "name: control_again"), 5, "is the name of the A/A row"),
    (("statement: Padding within the batch trains faster.", "statement: ''"), 6, "statement: '' is no text"),
    (
        ("direction: higher", "direction: hihger"),
        11,
        "'hihger' is none of higher, lower, not_lower,",
    ),
    (("direction: higher", "direction: hihger"), 11, "did you mean higher?"),
    (("smallest: 1.20", "smallest: 0.8"), 12, "smallest: 0.8 is below 1; a ratio says by which factor"),
    (("smallest: 1.20", "smallest: -1"), 12, "smallest: -1 is out of range; 0 or more"),
    (("smallest: 1.20", "smallest: true"), 12, "smallest: True is no number"),
    (("smallest: 1.20", "smallest: 1.2\n  tolerance: 0.1"), 13, "tolerance: is for exact claims only"),
    (("smallest: 1.20", "smallest: 1.2\n  kind: exakt"), 13, "kind: 'exakt' is none of measured, exact"),
    (("smallest: 1.20", "smallest: 1.2\n  scale: log"), 13, "scale: 'log' is none of ratio, difference"),
    (("smallest: 1.20", "smallest: 1.2\n  scope: every"), 13, "scope: `every` needs conditions"),
    (
        ("smallest: 1.20", "smallest: 1.2\n  elsewhere: same"),
        13,
        "there is no elsewhere without",
    ),
    (("smallest: 1.20", "smallest: 1.2\n  over: [lstm]"), 13, "over: ['lstm'] is no mapping"),
    (("smallest: 1.20", "smallest: 1.2\n  over: {cell.name: lstm}"), 13, "cell.name: 'lstm' is no list"),
    (("smallest: 1.20", "smallest: 1.2\n  over: {data.max_length: [1, 1.0]}"), 13, "a value stands twice"),
    (("smallest: 1.20", "smallest: 1.2\n  over: {padding.name: [batch]}"), 13, "named by an arm too"),
    (
        ("smallest: 1.20", "smallest: 1.2\n  where: [data/padding_share = 1]"),
        13,
        "is not `name operator value`",
    ),
    (
        ("smallest: 1.20", "smallest: 1.2\n  where: [data/paddin_share > 1]"),
        13,
        "did you mean data/padding_share?",
    ),
    (("smallest: 1.20", "smallest: 1.2\n  where: [data/padding_share > x]"), 13, "which is no number"),
    (("smallest: 1.20", "smallest: 1.2\n  where: data"), 13, "where: 'data' is no list of conditions"),
    (("treatment: {padding.name: batch}", "treatment: batch"), 9, "treatment: 'batch' is no arm"),
    (("treatment: {padding.name: batch}", "treatment: {seed: 1}"), 9, "seed cannot tell arms apart"),
    (
        ("treatment: {padding.name: batch}", "treatment: {padding: {name: batch}}"),
        9,
        "write the dotted name out",
    ),
    (("treatment: {padding.name: batch}", "treatment: {value: 1}"), 9, "only a control can be a plain value"),
    (
        ("control: {padding.name: global}", "control: {padding.name: batch}"),
        10,
        "control: the arms do not differ",
    ),
    (
        ("control: {padding.name: global}", "control: {cell.name: lstm}"),
        10,
        "control: the arms do not differ",
    ),
    (
        ("control: {padding.name: global}", "control: {value: 0}"),
        10,
        "a plain value as control is for",
    ),
    (("metric: speed/valid_tokens_per_s", "metric: data/padding_share"), 8, "write `scale: difference`"),
    (
        ("direction: higher\n  smallest: 1.20", "direction: same\n  smallest: 1"),
        12,
        "no measurement can show",
    ),
    (
        ("smallest: 1.20", "smallest: 1\n  where: [data/padding_share > 0.5]\n  elsewhere: same"),
        14,
        "elsewhere: no measurement can show",
    ),
]


@pytest.mark.parametrize(("change", "line", "words"), COMPLAINTS, ids=[words for _, _, words in COMPLAINTS])
def test_each_mistake_is_named_with_its_line(written, change, line, words):
    path = written(change)
    with pytest.raises(ClaimError) as raised:
        load(path)
    assert any(one.startswith(f"{path}:{line}: ") and words in one for one in raised.value.problems), (
        raised.value
    )


EXACT = (
    "direction: higher\n  smallest: 1.20",
    "direction: same\n  smallest: 0\n  kind: exact\n  scale: difference",
)


def test_exact_claims_take_a_value_a_tolerance_and_few_pairs(written):
    number = ("control: {padding.name: global}", "control: {value: 1e-3}")
    path = written(EXACT, number, ("pairs: 10", "pairs: 2"), more=["  tolerance: 1e-6"])
    (claim,) = load(path)
    assert (claim.control, claim.tolerance, claim.pairs, claim.family) == ({"value": 0.001}, 1e-6, 2, 0)


@pytest.mark.parametrize(
    ("control", "scale", "words"),
    [
        ("{value: zero}", "difference", "'zero' is no number"),
        ("{value: 0, cell.name: lstm}", "difference", "stands alone"),
        ("{value: 0}", "ratio", "no ratio to 0; write `scale: difference`"),
    ],
)
def test_a_value_as_control_is_checked(written, control, scale, words):
    fields = f"direction: same\n  smallest: 1\n  kind: exact\n  scale: {scale}"
    path = written(("control: {padding.name: global}", f"control: {control}"), (EXACT[0], fields))
    with pytest.raises(ClaimError, match=f"claims.yaml:10: control.value: .*{re.escape(words)}"):
        load(path)


def test_all_mistakes_of_a_file_are_named_at_once(written):
    path = written(
        ("pairs: 10", "pairs: 3.5"), ("direction: higher", "direction: up"), ("source: ours", "sauce: ours")
    )
    with pytest.raises(ClaimError) as raised:
        load(path)
    lines = sorted(int(re.match(r".*?yaml:(\d+):", one)[1]) for one in raised.value.problems)
    assert lines == [3, 5, 7, 11]  # pairs, source is missing, sauce, direction


def test_a_name_stands_for_one_claim(written):
    again = written().read_text().split("claims:\n")[1].splitlines()
    with pytest.raises(
        ClaimError, match=r"claims.yaml:14: name: batch_is_faster is taken by the claim of line 5"
    ):
        load(written(more=again))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "claims.yaml:1: the file must be a mapping"),
        ("claims: [", "claims.yaml:1: not YAML"),
        ("a: 1\nb: 'x\n", "claims.yaml:3: not YAML"),
        ("schema: 1\n", "claims.yaml:1: the file needs `claims`"),
        ("claims: []\n", "claims.yaml:1: claims: [] is no list of claims"),
        ("claims:\n- 7\n", "claims.yaml:2: a claim must be a mapping of fields to values, not 7"),
        ("? [a]\n: 1\n", "claims.yaml:1: a key must be a plain word"),
        ("a: \x00", "claims.yaml:1: not YAML"),
    ],
)
def test_what_is_no_claims_file_is_refused(tmp_path, text, words):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(ClaimError, match=re.escape(words)):
        load(tmp_path / "claims.yaml")


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(ClaimError, match=r"nothing.yaml: no such file"):
        load(tmp_path / "nothing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ClaimError, match=r"binary.yaml: cannot be read"):
        load(tmp_path / "binary.yaml")


def test_the_hash_is_of_what_is_declared_not_of_where_it_stands(written):
    (one,) = load(written())
    (moved,) = load(
        written(("schema: 1\n", "\n\n# a word\nschema: 1\n"), ("smallest: 1.20", "smallest: 1.2"))
    )
    assert (one.sha, one.line) == (moved.sha, moved.line - 3)
    for change in (("smallest: 1.20", "smallest: 1.21"), ("pairs: 10", "pairs: 11"), ("less is", "less was")):
        assert load(written(change))[0].sha != one.sha


def test_the_hash_of_a_table_does_not_depend_on_the_order_of_its_claims(claim):
    one, two = claim(), claim(name="other")
    assert claims_sha([one, two]) == claims_sha([two, one]) != claims_sha([one])


def test_planned_takes_the_number_of_the_scale(claim):
    assert planned([claim(pairs=8)], "quick") == 8
    claims = [claim(pairs={"quick": 6, "full": 12}, file="x/claims.yaml")]
    assert (planned(claims, "quick"), planned(claims, "full")) == (6, 12)
    with pytest.raises(
        ClaimError, match=r"x/claims\.yaml: pairs: no number for scale 'huge'; it has full, quick"
    ):
        planned(claims, "huge")


def test_a_table_is_one_table(claim):
    with pytest.raises(ClaimError, match="no claims to judge"):
        ClaimSet(())
    with pytest.raises(ClaimError, match="two tables in one call: their `confidence` differs"):
        ClaimSet((claim(), claim(name="b", confidence=0.9)))
    with pytest.raises(ClaimError, match="two claims are named batch_is_faster"):
        ClaimSet((claim(), claim()))
