"""What must always hold of an evaluation's figures, whatever is predicted."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.evaluation import EvaluationSettings, Instance, PairSet, evaluate
from tests.support.annotated_pairs import HEIGHT, WIDTH, judged, pair, pairs, rectangle, scored, value

CELL = 4
CELLS = [(row, column) for row in range(HEIGHT // CELL) for column in range(WIDTH // CELL)]


def cell(place: tuple[int, int], columns: int = CELL, score: float | None = None) -> Instance:
    """A mask in a cell of a grid, of its first columns."""
    return rectangle(place[0] * CELL, place[1] * CELL, CELL, columns, score)


truths_of_pairs = st.lists(st.lists(st.sampled_from(CELLS), max_size=4, unique=True), min_size=1, max_size=8)


@st.composite
def cases(draw: st.DrawFn) -> tuple[PairSet, PairSet]:
    """Truth in cells of a grid, and predictions each of which overlaps one cell; all scores differ."""
    truths = draw(truths_of_pairs)
    said = [
        draw(st.lists(st.tuples(st.sampled_from(CELLS), st.integers(1, CELL)), max_size=5)) for _ in truths
    ]
    order = draw(st.permutations(range(sum(map(len, said)))))
    score = iter([(1 + place) / (1 + len(order)) for place in order])
    images = [draw(st.integers(0, 3)) for _ in truths]
    phrases = [f"phrase {i}" for i in range(len(truths))]
    numbered = list(zip(truths, said, images, phrases, strict=True))
    truth = [
        pair(i, *map(cell, places), image=image, phrase=phrase)
        for i, (places, _, image, phrase) in enumerate(numbered)
    ]
    prediction = [
        pair(i, *(cell(place, columns, next(score)) for place, columns in parts), image=image, phrase=phrase)
        for i, (_, parts, image, phrase) in enumerate(numbered)
    ]
    return pairs(*truth), pairs(*prediction, name="prediction.json")


@given(cases())
@settings(max_examples=60, deadline=None)
def test_every_figure_is_within_its_bounds(case: tuple[PairSet, PairSet]) -> None:
    truth, prediction = case
    scores = evaluate(prediction, [truth], EvaluationSettings(resamples=20)).overall
    for name, figure in scores.figures.items():
        least = -1.0 if name.startswith(("IL_MCC", "cgF1")) else 0.0
        for one in (figure.value, figure.low, figure.high):
            assert one is None or least - 1e-9 <= one <= 1 + 1e-9, name


@given(truths_of_pairs, st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_perfect_prediction_has_every_figure_perfect(
    places: list[list[tuple[int, int]]], certain: bool
) -> None:
    truth = pairs(*(pair(i, *map(cell, found)) for i, found in enumerate([[CELLS[0]], [], *places])))
    prediction = pairs(
        *(
            replace(one, instances=scored(one.instances, 1.0) if certain else one.instances)
            for one in truth.pairs
        )
    )
    for name, figure in judged(prediction, truth).figures.items():
        if name.startswith("ECE"):
            assert figure.value in (0.0, None), name
        else:
            assert figure.value == pytest.approx(0.0 if name == "IL_FPR" else 1.0), name


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_means_nothing(case: tuple[PairSet, PairSet], chance: random.Random) -> None:
    expected = evaluate(case[1], [case[0]], EvaluationSettings(resamples=10))

    def shuffled(side: PairSet) -> PairSet:
        members = [
            replace(one, instances=tuple(chance.sample(one.instances, len(one.instances))))
            for one in side.pairs
        ]
        return PairSet(side.name, tuple(chance.sample(members, len(members))))

    found = evaluate(shuffled(case[1]), [shuffled(case[0])], EvaluationSettings(resamples=10))
    for name, figure in expected.overall.figures.items():
        other = found.overall.figures[name]
        ours, theirs = (figure.value, figure.low, figure.high), (other.value, other.low, other.high)
        assert theirs == pytest.approx(ours, abs=1e-9), name


@given(cases())
@settings(max_examples=40, deadline=None)
def test_another_annotator_never_lowers_what_the_oracle_agrees_with(case: tuple[PairSet, PairSet]) -> None:
    truth, prediction = case
    alone = judged(prediction, truth)
    exact = replace(prediction, pairs=tuple(replace(one, exhaustive=True) for one in prediction.pairs))
    joined = judged(prediction, truth, exact)
    assert value(joined, "presence_accuracy") >= value(alone, "presence_accuracy")
