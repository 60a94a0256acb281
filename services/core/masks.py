"""Masks: COCO compressed RLE and what is read off it.

Boxes are pixel xywh; (0, 0) is the top left of the upright image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from services.core.errors import InvalidInput

_LONGEST_SHIFT = 60  # bits; no image needs longer runs, and unbounded ones would cost quadratic time


def encode(mask: NDArray[np.bool_]) -> bytes:
    """Compressed COCO run lengths of a bool mask [H, W]."""
    return bytes(coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"])


def decode(counts: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Bool mask [height, width]. Raises `InvalidInput` when the runs do not fill exactly that size."""
    check(counts, height, width)
    decoded: NDArray[np.bool_] = coco.decode(_rle(counts, height, width)).astype(np.bool_)
    return decoded


def check(counts: bytes, height: int, width: int) -> None:
    """Raises `InvalidInput` unless the runs are well formed and sum to height * width.

    pycocotools itself does not look, and would read or write past the end.
    """
    total = sum(run_lengths(counts))
    if total != height * width:
        raise InvalidInput(
            f"the mask's RLE covers {total} pixels; {width} x {height} = {height * width} are needed"
        )


def run_lengths(counts: bytes) -> list[int]:
    """Run lengths, background first, of compressed counts (COCO's maskApi.c, rleFrString)."""
    runs: list[int] = []
    position, size = 0, len(counts)
    while position < size:
        value, shift, more = 0, 0, True
        while more:
            if position >= size or not 48 <= counts[position] < 112:
                raise InvalidInput("the mask's RLE is malformed; send COCO compressed counts")
            if shift > _LONGEST_SHIFT:
                raise InvalidInput("the mask's RLE has an endless run; send COCO compressed counts")
            byte = counts[position] - 48
            value |= (byte & 0x1F) << shift
            more = bool(byte & 0x20)
            position, shift = position + 1, shift + 5
            if not more and byte & 0x10:
                value |= -1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise InvalidInput("the mask's RLE has a negative run; send COCO compressed counts")
        runs.append(value)
    return runs


def area(counts: bytes, height: int, width: int) -> int:
    """Pixels of the mask."""
    return int(coco.area(_rle(counts, height, width)))


def box(counts: bytes, height: int, width: int) -> tuple[float, float, float, float]:
    """Tight box xywh; zeros for an empty mask."""
    if area(counts, height, width) == 0:  # pycocotools tells a box of nothing of some
        return 0.0, 0.0, 0.0, 0.0
    x, y, w, h = (float(v) for v in coco.toBbox(_rle(counts, height, width)))
    return x, y, w, h


def iou(first: Sequence[bytes], second: Sequence[bytes], height: int, width: int) -> NDArray[np.float64]:
    """Pairwise IoU [len(first), len(second)] of masks of one size."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    a, b = ([_rle(c, height, width) for c in side] for side in (first, second))
    return np.asarray(coco.iou(a, b, [False] * len(b)), dtype=np.float64).reshape(len(first), len(second))


def union(masks: Sequence[bytes], height: int, width: int) -> bytes:
    """RLE of all pixels in any of the masks."""
    if not masks:
        return encode(np.zeros((height, width), dtype=np.bool_))
    return bytes(coco.merge([_rle(c, height, width) for c in masks])["counts"])


def _rle(counts: bytes, height: int, width: int) -> dict[str, Any]:
    return {"size": [height, width], "counts": counts}
