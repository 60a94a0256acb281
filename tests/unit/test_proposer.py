"""The proposer: regions, phrases, hard negatives, by its handlers."""

from __future__ import annotations

import numpy as np
import pytest

from services.core import masks
from services.core.errors import InvalidInput
from services.core.ontology import Ontology
from services.proposer import domain
from services.proposer.handlers import Proposer
from services.proposer.settings import ProposerSettings
from services.proposer.sweep import Sweep
from tercet.v1 import concepts_pb2, records_pb2
from tests.support.stage_models import Sight, image_of, picture, run_of, stage_ports

TWO_BUSES = picture([("red bus", (4, 8, 20, 30)), ("yellow bus", (50, 8, 20, 30))])


def proposer(sight: Sight, **settings: float) -> Proposer:
    ports = stage_ports(sight)
    return Proposer(
        inference=ports.inference,
        images=ports.images,
        ontology=sight.ontology,
        sweep=Sweep.load(None),
        clock=ports.clock,
        settings=ProposerSettings(**settings),  # type: ignore[arg-type]
    )


def submitted(stage: concepts_pb2.Stage.ValueType, **spec: object) -> records_pb2.ImageSubmitted:
    return records_pb2.ImageSubmitted(image=image_of(TWO_BUSES), run=run_of(stage, **spec))


def test_stage_1_gets_regions_and_the_callers_phrases() -> None:
    found = proposer(Sight()).propose(
        submitted(concepts_pb2.STAGE_ASSISTED_MANUAL, phrases=["The Buses", "bus"])
    )
    assert [(r.box.x, r.box.width, r.mask.area) for r in found.regions] == [(50, 20, 600), (4, 20, 600)]
    assert [(p.phrase, p.source) for p in found.phrases] == [("bus", concepts_pb2.PHRASE_SOURCE_CALLER)]
    assert not found.negatives
    assert found.regions[0].mask.provenance.model.name == "sam"
    assert found.regions[0].mask.provenance.made_at.seconds == 1_700_000_000


def test_stage_3_gets_the_models_phrases_normalised_once_each_best_first() -> None:
    sight = Sight(proposed=("The yellow Buses", "a red bus", "yellow bus", "is this a bus?", "", "red bus"))
    found = proposer(sight).propose(submitted(concepts_pb2.STAGE_AUTOMATIC))
    assert [p.phrase for p in found.phrases] == ["yellow bus", "red bus"]
    assert found.phrases[0].score > found.phrases[1].score
    assert {p.source for p in found.phrases} == {concepts_pb2.PHRASE_SOURCE_MODEL}
    assert found.phrases[0].provenance.model.weights == "exact-00000000"
    assert not found.regions


def test_a_caller_with_phrases_gets_only_those() -> None:
    found = proposer(Sight()).propose(submitted(concepts_pb2.STAGE_AUTOMATIC, phrases=["cups"]))
    assert [p.phrase for p in found.phrases] == ["cup"]


def test_more_negatives_than_wanted_and_none_that_is_present_in_any_words() -> None:
    present = ["bus", "vehicle", "object", "coach", "red bus", "yellow bus", "red vehicle", "red coach"]
    sight = Sight(negatives=(*tuple((p, 0.99, "red bus") for p in present), ("Orange buses", 0.9, "red bus")))
    found = proposer(sight, negative_factor=2.5).propose(
        submitted(concepts_pb2.STAGE_AUTOMATIC, hard_negatives=4)
    )
    phrases = [n.phrase for n in found.negatives]
    assert len(phrases) == len(set(phrases)) == 10
    assert not set(phrases) & set(present)
    best = found.negatives[0]
    assert (best.phrase, best.confused_with, best.source) == (
        "orange bus",
        "red bus",
        concepts_pb2.PHRASE_SOURCE_MODEL,
    )
    assert {n.source for n in found.negatives} == {
        concepts_pb2.PHRASE_SOURCE_MODEL,
        concepts_pb2.PHRASE_SOURCE_ONTOLOGY,
    }
    assert all(0 < n.score <= 1 and n.confused_with in ("red bus", "yellow bus") for n in found.negatives)
    scores = [round(n.score, 5) for n in found.negatives]
    assert scores == sorted(scores, reverse=True)


def test_what_the_model_sees_is_no_negative_of_the_callers_phrases() -> None:
    found = proposer(Sight()).propose(
        submitted(concepts_pb2.STAGE_AUTOMATIC, phrases=["red bus"], hard_negatives=30)
    )
    phrases = {n.phrase for n in found.negatives}
    assert "yellow bus" not in phrases
    assert {"orange bus", "red car"} <= phrases
    assert {n.confused_with for n in found.negatives} == {"red bus"}


def test_no_negatives_wanted_none_proposed() -> None:
    sight = Sight(negatives=(("orange bus", 0.9, ""),))
    found = proposer(sight).propose(submitted(concepts_pb2.STAGE_AUTOMATIC, hard_negatives=0))
    assert found.phrases
    assert not found.negatives


def test_an_unknown_stage_and_a_phrase_that_is_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="stage"):
        proposer(Sight()).propose(submitted(concepts_pb2.STAGE_UNSPECIFIED))
    with pytest.raises(InvalidInput, match="more than one"):
        proposer(Sight()).propose(submitted(concepts_pb2.STAGE_AUTOMATIC, phrases=["cat and dog"]))


def test_an_image_that_does_not_decode_is_refused() -> None:
    with pytest.raises(InvalidInput):
        proposer(Sight()).propose_concepts(image_of(b"not an image"), 0)


def test_the_interactive_calls_take_limits() -> None:
    service = proposer(Sight())
    image = image_of(TWO_BUSES)
    assert [p.phrase for p in service.propose_concepts(image, 1)] == ["red bus"]
    negatives = service.propose_hard_negatives(image, ["The Red Buses"], 3)
    assert len(negatives) == 3
    assert "yellow bus" not in {n.phrase for n in negatives}


def test_of_regions_that_overlap_the_best_stays_and_background_goes() -> None:
    height, width = 20, 20
    shapes = [(0, 0, 20, 20), (2, 2, 8, 8), (2, 2, 8, 7), (12, 12, 1, 1), (12, 2, 5, 5)]
    found = np.zeros((len(shapes), height, width), dtype=np.bool_)
    for at, (x, y, w, h) in enumerate(shapes):
        found[at, y : y + h, x : x + w] = True
    rles = np.empty(len(shapes), dtype=np.object_)
    rles[:] = [masks.encode(mask) for mask in found]
    regions = domain.regions(
        {
            "size": np.array([height, width], dtype=np.int32),
            "rles": rles,
            "boxes": np.array(shapes, dtype=np.float32),
            "areas": found.sum(axis=(1, 2)),
            "predicted_iou": np.array([0.99, 0.9, 0.95, 0.9, np.nan], dtype=np.float32),
            "stability": np.array([0.99, 0.9, 0.8, 0.9, 0.9], dtype=np.float32),
        },
        concepts_pb2.Provenance(),
        overlap=0.8,
        min_area=0.01,
        max_area=0.9,
        limit=10,
    )
    assert [(r.box.x, r.box.y, r.box.height) for r in regions] == [(2, 2, 8), (12, 2, 5)]


def test_candidates_of_one_score_take_turns() -> None:
    candidates = [
        concepts_pb2.NegativeProposal(phrase=p, confused_with=c, score=0.5)
        for p, c in [("a cat", "x"), ("b cat", "x"), ("c cat", "y")]
    ]
    kept = domain.hard_negatives(candidates, [], Ontology.load(), limit=2)
    assert [n.phrase for n in kept] == ["a cat", "c cat"]
