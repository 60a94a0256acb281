"""The sweep: phrases that the proposer writes, joined with those that the grounder finds of a known list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.core.errors import InvalidInput
from services.core.ontology import Ontology
from services.kit.inference.ports import strings
from services.proposer.handlers import Proposer
from services.proposer.settings import ProposerSettings
from services.proposer.sweep import MOST_PHRASES, Sweep, log_odds, presences
from services.scenes.ontology import ontology as scenes_language
from tercet.v1 import concepts_pb2, records_pb2
from tests.support.stage_models import PixelModel, Sight, image_of, picture, run_of, stage_ports

WORDS = Ontology.load()
CARS_AND_BUSES = {"sweeps": [{"words": [["red", "blue"], ["bus", "car"]]}, {"words": [["bus", "car"]]}]}


def sweep_of(tmp_path: Path, content: Any) -> Sweep:
    path = tmp_path / "sweep.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return Sweep.load(path)


def test_the_bundled_sweep_is_the_scenes_language() -> None:
    language = scenes_language()
    swept = Sweep.load(None)
    assert set(swept.phrases) == {" ".join(triple) for triple in language.compositions} | set(language.kinds)
    assert not set(swept.made_for) - {"concept_proposer", "concept_grounder"}


def test_log_odds_of_both_witnesses_are_added(tmp_path: Path) -> None:
    swept = sweep_of(
        tmp_path, {"least": 0.01, "written_bias": -1.0, "sweeps": [{"words": [["cup"]], "bias": -2.0}]}
    )
    joined = swept.join({"red bus": 0.8}, {"red bus": 0.6, "cup": 0.7}, WORDS)
    expected = {
        "red bus": np.log(0.8 / 0.2) - 1.0 + np.log(0.6 / 0.4),
        "cup": np.log(0.7 / 0.3) - 2.0,
    }
    assert joined == pytest.approx({phrase: 1 / (1 + np.exp(-odds)) for phrase, odds in expected.items()})
    assert list(joined) == ["red bus", "cup"]


def test_only_what_is_likely_enough_is_proposed(tmp_path: Path) -> None:
    swept = sweep_of(tmp_path, {"least": 0.5, "sweeps": [{"words": [["cup", "dog"]]}]})
    assert list(swept.join({"red bus": 0.9}, {"red bus": 0.05, "cup": 0.51, "dog": 0.49}, WORDS)) == ["cup"]


def test_a_general_phrase_is_left_out_beside_a_more_specific_one(tmp_path: Path) -> None:
    swept = sweep_of(tmp_path, CARS_AND_BUSES)
    nothing = dict.fromkeys(swept.phrases, 0.1)
    found = swept.join({}, nothing | {"red bus": 0.9, "bus": 0.99, "car": 0.8}, WORDS)
    assert list(found) == ["red bus", "car"]
    written = swept.join({"bus": 0.9}, nothing | {"red bus": 0.9, "bus": 0.99}, WORDS)
    assert list(written) == ["bus", "red bus"]


def test_scores_of_0_and_1_are_no_certainty() -> None:
    assert [log_odds(1.0), log_odds(0.0)] == pytest.approx([np.log(999), -np.log(999)])
    assert presences(["a", "b"], [0.5, float("nan")]) == {"a": 0.5, "b": 0.0}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "Invalid JSON"),
        ({"phrases": ["bus"]}, "phrases"),
        ({"sweeps": [{"words": []}]}, "words"),
        ({"sweeps": [{"words": [["bus"], []]}]}, "words"),
        ({"sweeps": [{"words": [["is this a bus?"]]}]}, "bus"),
        ({"least": 1.5}, "least"),
        (
            {"sweeps": [{"words": [[f"thing{n}" for n in range(MOST_PHRASES + 1)]]}]},
            f"{MOST_PHRASES + 1} phrases",
        ),
    ],
)
def test_a_bad_sweep_file_is_refused_with_what_is_wrong(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as fault:
        sweep_of(tmp_path, content)
    assert "sweep.json" in str(fault.value)
    assert "forklift" in str(fault.value)


def test_a_sweep_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.json"):
        Sweep.load(tmp_path / "none.json")


def proposer(sight: Sight, swept: Sweep, extra: Mapping[str, PixelModel] | None = None) -> Proposer:
    ports = stage_ports(sight, extra)
    return Proposer(ports.inference, ports.images, sight.ontology, swept, ports.clock, ProposerSettings())


RED_BUS_AND_CUP = image_of(picture([("red bus", (4, 8, 20, 30)), ("green striped cup", (50, 8, 20, 30))]))


def test_what_the_writer_forgot_is_found_and_what_it_made_up_is_dropped(tmp_path: Path) -> None:
    swept = sweep_of(tmp_path, {"sweeps": [{"words": [["cup", "dog", "car"]]}]})
    found = proposer(Sight(proposed=("red bus", "blue car")), swept).propose_concepts(RED_BUS_AND_CUP, 0)
    assert {p.phrase: p.provenance.model.name for p in found} == {
        "red bus": "concept_proposer",
        "cup": "concept_grounder",
    }
    assert {p.source for p in found} == {concepts_pb2.PHRASE_SOURCE_MODEL}
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert len(proposer(Sight(), swept).propose_concepts(RED_BUS_AND_CUP, 1)) == 1


def test_a_sweep_made_for_other_models_is_not_used(tmp_path: Path) -> None:
    for made_for in ({"concept_proposer": "llava-tiny"}, {"concept_grounder": "owlv2-tiny"}):
        swept = sweep_of(tmp_path, {"made_for": made_for, "sweeps": [{"words": [["cup"]]}]})
        found = proposer(Sight(proposed=("red bus",)), swept).propose_concepts(RED_BUS_AND_CUP, 0)
        assert [p.phrase for p in found] == ["red bus"]
    fitting = {"concept_proposer": "exact", "concept_grounder": "exact"}
    swept = sweep_of(tmp_path, {"made_for": fitting, "sweeps": [{"words": [["cup"]]}]})
    assert len(proposer(Sight(proposed=("red bus",)), swept).propose_concepts(RED_BUS_AND_CUP, 0)) == 2


def test_what_the_sweep_finds_is_no_negative(tmp_path: Path) -> None:
    swept = sweep_of(tmp_path, {"sweeps": [{"words": [["green"], ["striped"], ["cup"]]}]})
    sight = Sight(
        proposed=("red bus",), negatives=(("green striped cup", 0.9, "red bus"), ("blue bus", 0.8, "red bus"))
    )
    negatives = proposer(sight, swept).propose_hard_negatives(RED_BUS_AND_CUP, [], 100)
    phrases = {negative.phrase for negative in negatives}
    assert "blue bus" in phrases
    assert "green striped cup" not in phrases


def test_without_a_list_the_grounder_is_not_asked() -> None:
    asked: list[object] = []

    def ground(request: object, _: object) -> dict[str, Any]:
        asked.append(request)
        return {"presence": np.zeros(0, np.float32), "phrases": strings([])}

    grounder = {"concept_grounder": PixelModel("concept_grounder", ground)}
    found = proposer(Sight(proposed=("red bus",)), Sweep(), grounder).propose_concepts(RED_BUS_AND_CUP, 0)
    assert [p.phrase for p in found] == ["red bus"]
    assert not asked


def test_the_callers_own_phrases_stay_as_they_are(tmp_path: Path) -> None:
    swept = sweep_of(tmp_path, {"sweeps": [{"words": [["cup"]]}]})
    run = run_of(concepts_pb2.STAGE_AUTOMATIC, phrases=["dog"])
    found = proposer(Sight(), swept).propose(records_pb2.ImageSubmitted(image=RED_BUS_AND_CUP, run=run))
    assert [p.phrase for p in found.phrases] == ["dog"]
    assert "cup" not in {n.phrase for n in found.negatives}
