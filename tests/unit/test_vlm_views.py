"""The pictures that a vision-language model is shown, by the pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.networks.vlm.speaking import Written
from services.networks.vlm.views import (
    COLOURS,
    CROP_SIDE,
    GAP,
    OUTSIDE,
    RED,
    draw_masks,
    far_crop,
    near_crop,
    side_by_side,
)

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def mask_of(x: int, y: int, width: int, height: int) -> Mask:
    mask = np.zeros((100, 120), np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def grey(value: int = 100) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((100, 120, 3), value, np.uint8)


def is_red(pixels: np.ndarray[Any, Any]) -> Mask:
    return np.asarray((pixels == RED).all(-1))


def test_masks_are_tinted_and_outlined_each_in_its_colour() -> None:
    image = grey()
    drawn = draw_masks(image, [mask_of(10, 10, 20, 20), mask_of(60, 50, 30, 30)])
    assert (image == 100).all(), "the image itself stays"
    assert drawn[10, 10].tolist() == drawn[11, 15].tolist() == list(RED)
    assert drawn[20, 20].tolist() == [int(100 * 0.6 + c * 0.4) for c in RED]
    assert drawn[50, 60].tolist() == COLOURS[1].tolist()
    assert drawn[40, 40].tolist() == [100, 100, 100]
    np.testing.assert_array_equal(draw_masks(image, []), image)


def test_an_outline_runs_along_the_images_frame() -> None:
    drawn = draw_masks(grey(), [mask_of(0, 0, 30, 30)])
    assert drawn[0, 0].tolist() == list(RED)


def test_the_near_crop_shows_the_mask_in_its_middle() -> None:
    crop = near_crop(grey(), mask_of(40, 30, 20, 20))
    assert crop.shape == (CROP_SIDE, CROP_SIDE, 3)
    assert crop[CROP_SIDE // 2, CROP_SIDE // 2].tolist() == [int(100 * 0.6 + c * 0.4) for c in RED]
    edge = np.flatnonzero(is_red(crop)[CROP_SIDE // 2])
    assert edge[0] == pytest.approx(CROP_SIDE * 0.15 / 1.3, abs=3)
    assert edge[-1] == pytest.approx(CROP_SIDE * 1.15 / 1.3, abs=3)
    assert crop[5, 5].tolist() == [100, 100, 100]


def test_the_far_crop_shows_the_box_and_not_the_mask() -> None:
    crop = far_crop(grey(), mask_of(40, 30, 20, 20))
    assert crop.shape == (CROP_SIDE, CROP_SIDE, 3)
    assert crop[CROP_SIDE // 2, CROP_SIDE // 2].tolist() == [100, 100, 100]
    columns = np.flatnonzero(is_red(crop).any(0))
    assert columns[0] == pytest.approx(CROP_SIDE / 3, abs=4)
    assert columns[-1] == pytest.approx(CROP_SIDE * 2 / 3, abs=4)


def test_what_lies_outside_the_image_is_grey() -> None:
    crop = far_crop(grey(255), mask_of(0, 0, 20, 20))
    assert crop[5, 5].tolist() == [OUTSIDE] * 3
    assert crop[-5, -5].tolist() == [255] * 3


@pytest.mark.parametrize("mask", [mask_of(0, 0, 0, 0), mask_of(119, 99, 1, 1), mask_of(0, 0, 120, 100)])
def test_any_mask_makes_crops(mask: Mask) -> None:
    assert near_crop(grey(), mask).shape == far_crop(grey(), mask).shape == (CROP_SIDE, CROP_SIDE, 3)


def test_side_by_side_has_a_white_gap() -> None:
    one = np.zeros((CROP_SIDE, CROP_SIDE, 3), np.uint8)
    both = side_by_side(one, np.full_like(one, 50))
    assert both.shape == (CROP_SIDE, 2 * CROP_SIDE + GAP, 3)
    assert (both[:, CROP_SIDE : CROP_SIDE + GAP] == 255).all()
    assert both[0, -1].tolist() == [50, 50, 50]


def test_a_score_is_the_geometric_mean_of_the_tokens_that_wrote_it() -> None:
    spans = np.array([[0, 2], [2, 5], [5, 9], [9, 10]])
    written = Written('{"a bus"}', spans, np.log([0.9, 0.5, 0.2, 0.8]), True)
    assert written.score(2, 9) == pytest.approx((0.5 * 0.2) ** 0.5)
    assert written.score(3, 4) == pytest.approx(0.5)
    assert written.score(4, 6) == pytest.approx((0.5 * 0.2) ** 0.5)
    assert written.score(20, 22) == 0
