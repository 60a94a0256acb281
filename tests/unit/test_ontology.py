"""The ontology: what is beside, above and the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.errors import InvalidInput
from services.core.ontology import Ontology
from services.core.phrases import normalise
from services.core.similarity import nearest, similarity


@pytest.fixture(scope="module")
def ontology() -> Ontology:
    return Ontology.load()


def test_the_file_that_comes_with_tercet_covers_the_scenes_and_spells_as_phrases_do(
    ontology: Ontology,
) -> None:
    scenes = ["bus", "car", "tree", "house", "person", "cat", "dog", "boat", "ball", "cup", "lamp", "fish"]
    assert set(scenes) <= set(ontology.kinds)
    assert {"red", "yellow", "blue", "green", "purple", "orange", "white", "black"} <= set(
        ontology.attributes["colour"]
    )
    assert set(ontology.attributes["pattern"]) == {"plain", "striped", "spotted", "checked"}
    for name, kind in ontology.kinds.items():
        assert [normalise(n) for n in (name, *kind.synonyms)] == [name, *kind.synonyms]
    for kind_name in scenes:
        assert ontology.siblings(kind_name), kind_name


def test_siblings_nearest_first_then_those_under_the_same_hypernym(ontology: Ontology) -> None:
    siblings = ontology.siblings("bus")
    assert siblings[:2] == ("car", "boat")
    assert "truck" in siblings
    assert "bus" not in siblings
    assert "vehicle" not in siblings
    assert ontology.siblings("coach") == siblings
    assert ontology.siblings("gizmo") == ()


def test_cousins_share_the_hypernym_of_the_hypernym(ontology: Ontology) -> None:
    cousins = ontology.cousins("dog")
    assert "tree" in cousins
    assert not set(cousins) & {"cat", "dog", "animal", "living thing"}


def test_swaps_change_one_attribute_nearest_first(ontology: Ontology) -> None:
    swaps = ontology.swaps("yellow striped bus")
    assert swaps[:2] == ["orange striped bus", "yellow checked bus"]
    assert "blue striped bus" in swaps
    assert "yellow striped bus" not in swaps
    assert ontology.swaps("bus") == []


def test_another_kind_with_the_same_modifiers(ontology: Ontology) -> None:
    assert ontology.with_kind("yellow traffic light on pole", "stop sign") == "yellow stop sign on pole"


@pytest.mark.parametrize(
    ("general", "specific", "expected"),
    [
        ("bus", "yellow bus", True),
        ("yellow bus", "yellow striped bus", True),
        ("striped bus", "yellow striped bus", True),
        ("vehicle", "yellow bus", True),
        ("yellow vehicle", "yellow coach", True),
        ("object", "bus", True),
        ("bus", "bus", True),
        ("bus", "school bus", True),
        ("person", "woman in red dress", True),
        ("yellow bus", "bus", False),
        ("red bus", "yellow bus", False),
        ("red vehicle", "yellow bus", False),
        ("car", "bus", False),
        ("school bus", "bus", False),
        ("gizmo", "red gizmo", True),
        ("gizmo", "widget", False),
    ],
)
def test_what_is_above_what(ontology: Ontology, general: str, specific: str, expected: bool) -> None:
    assert ontology.is_ancestor(general, specific) is expected


def test_synonyms(ontology: Ontology) -> None:
    assert ontology.is_synonym("yellow bus", "yellow coach")
    assert not ontology.is_synonym("bus", "yellow bus")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("red bus", "yellow bus", True),
        ("red vehicle", "yellow bus", True),
        ("car", "bus", True),
        ("red car", "red bus", True),
        ("bus", "yellow bus", False),
        ("vehicle", "bus", False),
        ("striped bus", "yellow bus", False),
        ("gizmo", "bus", False),
    ],
)
def test_what_one_thing_cannot_be_at_once(
    ontology: Ontology, first: str, second: str, expected: bool
) -> None:
    assert ontology.excludes(first, second) is expected
    assert ontology.excludes(second, first) is expected


def test_similarity_ranks_what_is_easily_confused(ontology: Ontology) -> None:
    def to_bus(phrase: str) -> float:
        return similarity(phrase, "yellow bus", ontology)

    assert to_bus("yellow coach") == 1.0
    assert to_bus("orange bus") > to_bus("blue bus") > to_bus("blue car") > to_bus("blue cat")
    assert to_bus("yellow car") > to_bus("yellow church") > to_bus("yellow cat")
    assert to_bus("orange bus") == similarity("yellow bus", "orange bus", ontology)
    assert nearest("orange bus", ["cat", "yellow bus"], ontology)[0] == "yellow bus"
    assert nearest("orange bus", [], ontology) == ("", 0.0)


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        "{}",
        '{"kinds": {"a": {"hypernyms": "b"}}, "attributes": {}}',
        '{"kinds": {"a": {"hypernyms": ["b"]}, "b": {"hypernyms": ["a"]}}, "attributes": {}}',
    ],
)
def test_a_file_that_holds_no_ontology_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ontology.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match="ontology"):
        Ontology.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.json"):
        Ontology.load(tmp_path / "nowhere.json")
