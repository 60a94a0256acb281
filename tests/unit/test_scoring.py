"""Scores, calibration and verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import InvalidInput
from services.core.scoring import Calibration, Outcome, negative_raw, positive_raw, verdict
from services.core.suppression import box_iou, suppress

probability = st.floats(0, 1)


@given(probability, st.lists(probability, min_size=1, max_size=5))
def test_a_positive_is_as_good_as_its_weakest_mask_and_its_exhaustivity(e: float, masks: list[float]) -> None:
    assert positive_raw(e, masks) == pytest.approx(e * min(masks))


def test_a_positive_without_masks_is_worth_nothing() -> None:
    assert positive_raw(1.0, []) == 0.0


def test_what_cannot_be_judged_goes_to_a_person() -> None:
    assert math.isnan(positive_raw(math.nan, [0.9]))
    assert math.isnan(positive_raw(0.9, [0.9, math.nan]))
    assert math.isnan(Calibration()(math.nan))
    assert verdict(math.nan, accept_above=0.9, reject_below=0.7) is Outcome.REVIEW


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.95, Outcome.ACCEPT),
        (0.9, Outcome.REVIEW),
        (0.8, Outcome.REVIEW),
        (0.7, Outcome.REVIEW),
        (0.69, Outcome.REJECT),
        (0.0, Outcome.REJECT),
    ],
)
def test_verdicts(score: float, expected: Outcome) -> None:
    assert verdict(score, accept_above=0.9, reject_below=0.7) is expected
    assert (
        verdict(float(np.float32(score)), accept_above=float(np.float32(0.9)), reject_below=0.7) is expected
    )


@given(probability, probability)
def test_calibration_never_turns_the_order_round(a: float, b: float) -> None:
    table = Calibration.of([(0.0, 0.1), (0.5, 0.2), (0.9, 0.9), (1.0, 0.98)])
    low, high = sorted((a, b))
    assert 0.1 <= table(low) <= table(high) <= 0.98


def test_calibration_is_linear_between_its_points_and_the_identity_without_any() -> None:
    assert Calibration.of([(0.2, 0.4), (0.6, 0.8)])(0.4) == pytest.approx(0.6)
    assert Calibration.of([])(0.37) == 0.37


@pytest.mark.parametrize(
    "points", [[(0.5, 0.5)], [(0.5, 0.1), (0.5, 0.2)], [(0.1, 0.9), (0.9, 0.1)], [(0.0, 0.0), (1.0, 1.2)]]
)
def test_a_table_that_is_not_monotone_is_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(InvalidInput, match="calibration"):
        Calibration.of(points)


def test_negatives_are_right_when_absent() -> None:
    assert negative_raw(0.97) == 0.97


def test_of_boxes_that_overlap_the_best_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 5, 5], [0, 0, 0, 0]], dtype=np.float32)
    overlap = box_iou(boxes, boxes)
    assert overlap[0, 1] == pytest.approx(90 / 110)
    assert overlap[3, 3] == 0.0
    assert suppress(overlap, np.array([0.5, 0.9, 0.1, 0.2]), 0.7) == [1, 3, 2]
    assert suppress(overlap, np.array([0.5, 0.9, 0.1, 0.2]), 0.9) == [1, 0, 3, 2]
    assert suppress(np.zeros((0, 0)), np.zeros(0), 0.5) == []
