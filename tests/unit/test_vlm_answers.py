"""What a language model wrote, read strictly: valid JSON exactly, known slips mended and named, the rest
refused.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.core.phrases import normalise
from services.networks.vlm.answers import Reading, read_answer
from services.networks.vlm.lenient import Reader, Text, Unreadable, Value

GOOD = (
    '{"phrases": ["red bus", "traffic light"], '
    '"negatives": [{"phrase": "red truck", "confused_with": "red bus"}]}'
)


def plain(value: Value) -> Any:
    """The value with its texts as strings."""
    if isinstance(value, Text):
        return value.value
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value


def read(text: str) -> tuple[Any, set[str]]:
    reader = Reader(text)
    return plain(reader.read()), set(reader.repairs)


def said(reading: Reading) -> list[str]:
    return [entry.phrase for entry in reading.phrases]


def denied(reading: Reading) -> list[tuple[str, str]]:
    return [(entry.phrase, entry.confused_with) for entry in reading.negatives]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
words = st.sampled_from(["bus", "car", "lamp", "red chair", "old wooden table", "cup", "striped cat"])


@settings(deadline=None)
@example(value=[2**53 + 1, -(2**64)], indent=None)
@given(value=st.lists(json_values) | st.dictionaries(st.text(), json_values), indent=st.none() | st.just(2))
def test_valid_json_is_read_exactly_and_without_a_repair(value: Any, indent: int | None) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        assert read(text) == (value, set())


@settings(deadline=None)
@given(text=st.text() | st.text("{}[]\"'\\:, \n`phrasesnegtiv.0-1tf/*…“”", max_size=60))
def test_any_text_is_read_or_refused_never_worse(text: str) -> None:
    for tried in (text, '{"phrases": [' + text, GOOD[:20] + text):
        try:
            reading = read_answer(tried)
        except Unreadable:
            continue
        for entry in (*reading.phrases, *reading.negatives):
            assert normalise(entry.phrase) == entry.phrase


@settings(deadline=None)
@given(cut=st.integers(min_value=0, max_value=len(GOOD)))
def test_a_cut_text_keeps_what_was_complete_and_nothing_else(cut: int) -> None:
    whole = read_answer(GOOD)
    try:
        reading = read_answer(GOOD[:cut])
    except Unreadable:
        assert '"red bus"' not in GOOD[:cut]
        return
    assert said(reading) == said(whole)[: len(reading.phrases)]
    assert [phrase for phrase, _ in denied(reading)] in ([], ["red truck"])
    assert ("truncated" in reading.repairs) == (cut < len(GOOD))


@settings(deadline=None)
@given(phrases=st.lists(words, min_size=1, max_size=8), negatives=st.lists(words, max_size=5))
def test_phrases_keep_their_order_lose_repeats_and_negatives_are_never_phrases(
    phrases: list[str], negatives: list[str]
) -> None:
    written = json.dumps({"phrases": phrases, "negatives": [{"phrase": text} for text in negatives]})
    reading = read_answer(written)
    assert said(reading) == list(dict.fromkeys(phrases))
    wanted = [text for text in dict.fromkeys(negatives) if text not in phrases]
    assert denied(reading) == [(text, "") for text in wanted]
    for entry in (*reading.phrases, *reading.negatives):
        assert written[entry.start : entry.end] == entry.phrase


@pytest.mark.parametrize(
    ("text", "value", "repair"),
    [
        ("['the bus\\'s door', 'b']", ["the bus's door", "b"], "escapes"),
        ("['the bus's door', 'b']", ["the bus's door", "b"], "quotes"),
        ("[“a”, ‘b’]", ["a", "b"], "quotes"),
        ("{a: 1}", {"a": 1}, "quotes"),
        ('["a",]', ["a"], "commas"),
        ('{"a": 1,}', {"a": 1}, "commas"),
        ('["a",, "b"]', ["a", "b"], "commas"),
        ('["a" "b"]', ["a", "b"], "commas"),
        ('[{"a": 1} {"a": 2}]', [{"a": 1}, {"a": 2}], "commas"),
        ("[True, False, None]", [True, False, None], "literals"),
        ('["a", // the first\n "b" /* the second */]', ["a", "b"], "comments"),
        ('["a", ...]', ["a"], "comments"),
        ('["a", … ]', ["a"], "comments"),
        ('{"a": ["b"}', {"a": ["b"]}, "brackets"),
        ('{"a": ["b"}, "c": ["d"]}', {"a": ["b"], "c": ["d"]}, "brackets"),
        ('{"a": [{"d": "e"], {"d": "f"}]}', {"a": [{"d": "e"}, {"d": "f"}]}, "brackets"),
        ('{"a": [{"d": "e"], "c": ["f"]}', {"a": [{"d": "e"}], "c": ["f"]}, "brackets"),
        ('{"a": ["b"}, "c"], "d": 1}', {"a": ["b", "c"], "d": 1}, "brackets"),
        ('{"a": ["b"]], "c": ["d"]}', {"a": ["b"], "c": ["d"]}, "brackets"),
        ('{"a": ["b"}}', {"a": ["b"]}, "brackets"),
        ('{"a": ["b"}]}', {"a": ["b"]}, "brackets"),
        ('[{"a": ["b"}, {"a": ["c"]}]', [{"a": ["b"]}, {"a": ["c"]}], "brackets"),
        ('["a\nb"]', ["a\nb"], "escapes"),
        ('["a", "b', ["a"], "truncated"),
        ('{"a": ["b", {"c": "d", "e', {"a": ["b", {"c": "d"}]}, "truncated"),
        ('["a", tr', ["a"], "truncated"),
        ('["a", 12', ["a"], "truncated"),
        ('["a", -', ["a"], "truncated"),
    ],
)
def test_each_repair(text: str, value: Any, repair: str) -> None:
    assert read(text) == (value, {repair} | ({"quotes"} if "'" in text else set()))


@pytest.mark.parametrize("text", ["", "[1 2]", '{"a" 1}', "{1: 2}", "[nil]", "[" * 40, "[&]", '{"a": "b" c}'])
def test_what_is_no_slip_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text)


@pytest.mark.parametrize(
    ("written", "repairs"),
    [
        (GOOD, ()),
        (f"\n  {GOOD}\n", ()),
        (f"```json\n{GOOD}\n```", ("code fence",)),
        (f"```\n{GOOD}", ("code fence",)),
        (f"Here is the list [of things]:\n{GOOD}\nI hope that this helps!", ("text around",)),
        (f"I use the form {{...}} for it. {GOOD}", ("text around",)),
        (f'<think>{{"phrases": ["nothing"]}}</think>\n{GOOD}', ("thoughts",)),
        (GOOD.replace('"', "'"), ("quotes",)),
        (GOOD.replace('"]', '",]'), ("commas",)),
        (GOOD[:-1], ("truncated",)),
    ],
)
def test_the_same_answer_however_it_is_dressed(written: str, repairs: tuple[str, ...]) -> None:
    reading = read_answer(written)
    assert said(reading) == ["red bus", "traffic light"]
    assert denied(reading) == [("red truck", "red bus")]
    assert reading.repairs == repairs


def test_a_wrong_bracket_loses_no_negatives() -> None:
    for written in (GOOD.replace('"]', '"}'), GOOD.replace('"]', '"]]'), GOOD.replace('"}]', '"]]')):
        reading = read_answer(written)
        assert said(reading) == ["red bus", "traffic light"]
        assert denied(reading) == [("red truck", "red bus")]
        assert reading.repairs == ("brackets",)


def test_entries_may_be_strings_or_objects_and_are_normalised() -> None:
    reading = read_answer(
        '{"phrases": [{"phrase": "The Red Buses"}, "a red bus", "Two Cups"], "note": 3, '
        '"negatives": ["my lorries", {"phrase": "RED BUS"}, {"phrase": "mugs", "confused_with": "The cups"}]}'
    )
    assert said(reading) == ["red bus", "cup"]
    assert denied(reading) == [("lorry", ""), ("mug", "cup")]
    assert reading.dropped == ()


def test_what_is_no_noun_phrase_is_dropped_and_told() -> None:
    reading = read_answer('{"phrases": ["there is a bus", "red bus", "", "cat and dog"]}')
    assert said(reading) == ["red bus"]
    assert reading.dropped == ("there is a bus", "", "cat and dog")


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("A red bus stands in the street.", "no JSON object"),
        ("", "no JSON object"),
        ('["red bus"]', "no JSON object"),
        ('{"objects": ["red bus"]}', "no `phrases`"),
        ('{"phrases": "red bus"}', "`phrases` is no list"),
        ('{"phrases": [3]}', "neither a string nor an object"),
        ('{"phrases": ["bus"], "negatives": [{"name": "truck"}]}', "neither a string nor an object"),
        ('{"phrases": ["there is a bus", "and so on"]}', "none of its phrases is a noun phrase"),
        ('{"phrases": [', "ends before its first phrase"),
        ('{"phrases": ["red b', "ends before its first phrase"),
        ('{"phrases": ["red bus" and more]}', "a comma or a bracket is expected at character 23"),
        ("{" * 200, "expected"),
    ],
)
def test_anything_else_is_refused_with_the_reason(written: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_answer(written)


def test_an_image_with_nothing_in_it_is_an_answer() -> None:
    assert said(read_answer('{"phrases": [], "negatives": []}')) == []
