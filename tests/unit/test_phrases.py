"""Phrases: one spelling for each, and clear refusals."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import InvalidInput
from services.core.phrases import MAX_CHARACTERS, MAX_WORDS, Parts, normalise, normalise_all, singular, split


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("The two Yellow School Buses", "yellow school bus"),
        ("  my   yellow\tschool bus. ", "yellow school bus"),
        ("ＦＵＬＬ ｗｉｄｔｈ buses", "full width bus"),
        ("bus", "bus"),
        ("buses", "bus"),
        ("glasses", "glasses"),
        ("wine glasses", "wine glass"),
        ("a pair of scissors", "scissors"),
        ("scissors", "scissors"),
        ("people", "person"),
        ("some sheep", "sheep"),
        ("knives", "knife"),
        ("camera lens", "camera lens"),
        ("taxis", "taxi"),
        ("dresses", "dress"),
        ("T-Shirts", "t-shirt"),
        ("the old man’s hats", "hat"),
        ("John's dogs", "dog"),
        ("bowls of apples", "bowl of apples"),
        ("men in the red shirts", "man in red shirts"),
        ("red parked cars", "red parked car"),
        ("cars parked on the street", "car parked on street"),
        ("a person riding a horse", "person riding horse"),
        ("black and white cats", "black and white cat"),
        ("sitting dogs", "sitting dog"),
        ("number 7 bus", "number 7 bus"),
        ("Straßen", "straßen"),
        ("собаки", "собаки"),
        ("狗", "狗"),
    ],
)
def test_one_spelling(written: str, spelled: str) -> None:
    assert normalise(written) == spelled


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        (" ... ", "empty"),
        ("the", "names no thing"),
        ("it", "names no thing"),
        ("in front of bus", "names no thing"),
        ("12", "no letters"),
        ("no dog", "negation"),
        ("dog and cat", "more than one"),
        ("bus, car", "list"),
        ("the bus is yellow", "sentence"),
        ("what colour", "sentence"),
        ("person with", "cut short"),
        ("<b>bus</b>", "signs"),
        ("http://bus.example", "signs"),
        ("bus\x00", "control"),
        ("very " * MAX_WORDS + "red bus", "too long"),
        ("x" * (MAX_CHARACTERS + 1), "too long"),
        ("x" * 100_000, "100000 characters"),
    ],
)
def test_what_is_no_noun_phrase_is_refused_with_the_reason(written: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        normalise(written)


_LANGUAGE = (
    "the|a|two|my|John's|dogs'|buses|glasses|wine|scissors|people|red|and|white|of|in|wearing|parked|on|lens|Tables"
    "|knives|ski|taxis|pair|pairs|number|7|other|boxes|'s|axes|-|.|geese|of"
)
_WORDS = st.sampled_from(_LANGUAGE.split("|"))


@given(st.one_of(st.text(max_size=60), st.lists(_WORDS, max_size=9).map(" ".join)))
def test_idempotent(written: str) -> None:
    try:
        spelled = normalise(written)
    except InvalidInput:
        return
    assert normalise(spelled) == spelled
    assert spelled == spelled.strip()
    assert "  " not in spelled
    assert spelled
    assert len(spelled) <= MAX_CHARACTERS
    assert len(spelled.split()) <= MAX_WORDS


@given(st.from_regex(r"[a-z]{1,12}", fullmatch=True))
def test_the_singular_of_a_singular_is_itself_through_normalise(noun: str) -> None:
    try:
        once = normalise(noun)
    except InvalidInput:
        return
    assert normalise(once) == once


def test_repeats_go_and_the_order_stays() -> None:
    assert normalise_all(["Buses", "a car", "the bus", "cars"]) == ["bus", "car"]


def test_parts_of_a_phrase() -> None:
    assert split("tall man in red shirt") == Parts(("tall",), "man", ("in", "red", "shirt"))
    assert split("bus") == Parts((), "bus", ())


def test_singulars_that_look_like_plurals_stay() -> None:
    for noun in [
        "bus",
        "glass",
        "gas",
        "lens",
        "canvas",
        "dress",
        "compass",
        "walrus",
        "iris",
        "tennis",
        "chess",
        "cactus",
        "species",
    ]:
        assert singular(noun) == noun


def test_loading_rewrites_nothing_through_ast() -> None:
    """In a process of its own: here everything is loaded already."""
    script = """
import ast
import typeguard
from services.core import phrases

checked = typeguard.typechecked

def refuse(*args, **more):
    raise AssertionError("ast.parse in a thread beside others")

ast.parse = refuse
phrases.warm_up()
assert phrases.normalise("the Yellow School Buses") == "yellow school bus"
assert typeguard.typechecked is checked
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
