"""Priorities: each component pushes, reasons say so, well-handled phrases are capped."""

from __future__ import annotations

import pytest

from services.core.errors import InvalidInput
from services.mining.priority import (
    PhraseHistory,
    Priority,
    Weights,
    confusion,
    entropy,
    of_pair,
    overlap,
    uncertainty,
)
from tercet.v1 import concepts_pb2
from tests.support import runs

W = Weights()
SIZE = (runs.HEIGHT, runs.WIDTH)
COMMON = PhraseHistory(accepted=1000)


def priority(
    pair: concepts_pb2.Pair, *others: concepts_pb2.Pair, history: PhraseHistory = COMMON
) -> Priority:
    return of_pair(pair, [pair, *others], history, W, size=SIZE)


def test_low_score_pushes() -> None:
    low = priority(runs.pair(score=0.2, verdict=concepts_pb2.VERDICT_REJECT))
    high = priority(runs.pair(score=0.6, verdict=concepts_pb2.VERDICT_REJECT))
    assert low.value > high.value
    assert "low score: 0.20" in low.reasons


def test_doubt_comes_before_what_the_models_think_wrong() -> None:
    review = priority(runs.pair(score=0.89, verdict=concepts_pb2.VERDICT_REVIEW))
    reject = priority(runs.pair(score=0.0, verdict=concepts_pb2.VERDICT_REJECT))
    assert review.value > reject.value


def test_an_even_verifier_is_uncertain() -> None:
    pair = runs.pair()
    sure = uncertainty(pair)
    del pair.exhaustivity.probabilities[:]
    pair.exhaustivity.probabilities.extend([1 / 6] * 6)
    assert sure < 0.6
    assert uncertainty(pair) == pytest.approx(1.0)
    assert any(reason.startswith("uncertain verifier") for reason in priority(pair).reasons)


@pytest.mark.parametrize(
    ("probabilities", "expected"), [([1.0, 0.0], 0.0), ([0.5, 0.5], 1.0), ([], 0.0), ([0.0, 0.0], 0.0)]
)
def test_entropy(probabilities: list[float], expected: float) -> None:
    assert entropy(probabilities) == pytest.approx(expected)


def test_rare_phrases_push() -> None:
    assert priority(runs.pair(), history=PhraseHistory()).value > priority(runs.pair()).value


def test_a_sibling_that_scores_close_pushes_and_is_named() -> None:
    dog = runs.pair("dog", presence=0.9)
    close, far = runs.negative("wolf", presence=0.85), runs.negative("fox", presence=0.1)
    for pair, others, sibling in ((dog, [dog, far, close], "wolf"), (close, [dog, close], "dog")):
        closeness, found = confusion(pair, others)
        assert closeness == pytest.approx(0.855)
        assert found == sibling
    assert confusion(dog, [dog, runs.pair("car")]) == (0.0, "")
    assert "easily confused: with wolf" in priority(dog, close).reasons


def test_overlap_counts_things_before_things_and_not_two_names_of_one() -> None:
    before = runs.pair("dog", masks=[runs.mask(1, 1, 4)])
    behind = runs.pair("cat", masks=[runs.mask(3, 1, 4)])
    same = runs.pair("puppy", masks=[runs.mask(1, 1, 4)])
    assert overlap(before, [before, behind], SIZE) == pytest.approx(1 / 3)
    assert overlap(before, [before, same], SIZE) == 0.0
    own = runs.pair("dog", masks=[runs.mask(1, 1, 4), runs.mask(1, 3, 4)])
    assert overlap(own, [own], SIZE) == pytest.approx(1 / 3)
    assert overlap(runs.pair(masks=[]), [before], SIZE) == 0.0


def test_crowds_push() -> None:
    crowd = runs.pair(masks=[runs.mask(x, 1, 1) for x in range(15)])
    assert "crowded: 15 instances" in priority(crowd).reasons


def test_malformed_rle_is_refused_before_anything_reads_it() -> None:
    broken = runs.mask()
    broken.counts = b"zz"
    with pytest.raises(InvalidInput):
        priority(runs.pair(masks=[broken, runs.mask()]))


def test_well_annotated_and_well_handled_phrases_are_capped() -> None:
    pair = runs.pair(score=0.1, verdict=concepts_pb2.VERDICT_REVIEW)
    handled = PhraseHistory(accepted=500, decided=100, corrected=2)
    capped = priority(pair, history=handled)
    assert capped.value == pytest.approx(W.cap)
    assert capped.reasons == ("well annotated: 500 accepted, 98% of decisions kept them",)
    often_wrong = PhraseHistory(accepted=500, decided=100, corrected=40)
    assert priority(pair, history=often_wrong).value > W.cap
