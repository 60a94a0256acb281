"""The pictures that a vision-language model is shown: two crops of one mask, or an image with its masks
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CROP_SIDE = 448
CLOSE, WIDE = 1.3, 3.0
"""Side of the zoomed-in and the zoomed-out crop, in sides of the mask's box."""
SMALLEST = 16
"""No crop shows fewer pixels of the image along a side."""
GAP = 16
TINT = 0.4
OUTSIDE = 127
RED = (255, 32, 32)
COLOURS = np.array(
    [RED, (32, 144, 255), (255, 208, 0), (0, 208, 96), (208, 64, 255), (255, 128, 0), (0, 224, 224)], np.uint8
)


def far_crop(pixels: Pixels, mask: Mask) -> Pixels:
    """The mask's surroundings, uint8 [448, 448, 3], with its box drawn in red; the mask itself is not
    shown.
    """
    box = _box(mask)
    x0, y0, side = _window(box, WIDE)
    crop = Image.fromarray(_cut(pixels, x0, y0, side, OUTSIDE)).resize((CROP_SIDE, CROP_SIDE), _smooth)
    scale = CROP_SIDE / side
    left, top, right, bottom = ((value - at) * scale for value, at in zip(box, (x0, y0, x0, y0), strict=True))
    ImageDraw.Draw(crop).rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=RED, width=3)
    return np.asarray(crop)


def near_crop(pixels: Pixels, mask: Mask) -> Pixels:
    """The mask from close by, uint8 [448, 448, 3], tinted and outlined in red."""
    x0, y0, side = _window(_box(mask), CLOSE)
    size = (CROP_SIDE, CROP_SIDE)
    crop = Image.fromarray(_cut(pixels, x0, y0, side, OUTSIDE)).resize(size, _smooth)
    cover = Image.fromarray(_cut(mask * np.uint8(255), x0, y0, side, 0)).resize(size, _smooth)
    return draw_masks(np.asarray(crop), [np.asarray(cover) > 127])


def side_by_side(first: Pixels, second: Pixels) -> Pixels:
    """Two crops as one picture, uint8 [448, 912, 3], a white gap between them."""
    gap = np.full((len(first), GAP, 3), 255, np.uint8)
    return np.concatenate([first, gap, second], 1)


def draw_masks(pixels: Pixels, masks: Sequence[Mask]) -> Pixels:
    """A copy of the image with each mask tinted and outlined in a colour of its own (seven, in turn)."""
    drawn = pixels.copy()
    for number, mask in enumerate(masks):
        colour = COLOURS[number % len(COLOURS)]
        drawn[mask] = (drawn[mask] * (1 - TINT) + colour * TINT).astype(np.uint8)
        drawn[_outline(mask)] = colour
    return drawn


_smooth = Image.Resampling.BILINEAR


def _outline(mask: Mask) -> Mask:
    """The mask's pixels that are at most two from its outside (the frame of the image counts as outside)."""
    framed = np.pad(mask, 2).astype(np.uint8) * 255
    inner = np.asarray(Image.fromarray(framed).filter(ImageFilter.MinFilter(5)))[2:-2, 2:-2] > 0
    return np.asarray(mask & ~inner)


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive); the whole image for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, mask.shape[1], mask.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _window(box: tuple[int, int, int, int], zoom: float) -> tuple[int, int, int]:
    """Left, top and side of the square around a box."""
    left, top, right, bottom = box
    side = max(round(max(right - left, bottom - top) * zoom), SMALLEST)
    return (left + right - side) // 2, (top + bottom - side) // 2, side


def _cut(pixels: Pixels, x0: int, y0: int, side: int, outside: int) -> Pixels:
    """A square of an image [H, W] or [H, W, 3]; what lies outside the image is `outside`."""
    height, width = pixels.shape[:2]
    square = np.full((side, side, *pixels.shape[2:]), outside, np.uint8)
    rows, columns = slice(max(y0, 0), min(y0 + side, height)), slice(max(x0, 0), min(x0 + side, width))
    square[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = pixels[rows, columns]
    return square
