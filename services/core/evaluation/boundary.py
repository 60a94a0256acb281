"""Boundary IoU: the IoU of the bands along two masks' outlines (Cheng et al., 2021).

The band of a mask are its pixels within d of its outline, d = 2% of the image's diagonal, at least 1 pixel;
the image's edge counts as outline. Pixels are within d by the distance of `max(|dx|, |dy|)`, as in the
authors' code, which erodes d times with a square of 3 x 3.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d

from services.core import masks

DILATION_RATIO = 0.02


def distance(height: int, width: int) -> int:
    """The band's width d in pixels."""
    return max(1, round(DILATION_RATIO * math.hypot(height, width)))


def band(mask: NDArray[np.bool_], d: int) -> NDArray[np.bool_]:
    """The pixels of a bool mask [H, W] within d of its outline. What lies beyond the array is background."""
    eroded = mask.astype(np.uint8)
    for axis in (0, 1):
        if 2 * d + 1 > mask.shape[axis]:
            return mask
        eroded = minimum_filter1d(eroded, 2 * d + 1, axis=axis, mode="constant", cval=0)
    outer: NDArray[np.bool_] = mask & (eroded == 0)
    return outer


def boundary_iou(first: bytes, second: bytes, height: int, width: int) -> float:
    """Boundary IoU of two masks, COCO compressed run lengths of one size; 0 where one of them is empty."""
    a, b = (masks.decode(counts, height, width) for counts in (first, second))
    both = a | b
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    if not rows.size:
        return 0.0
    # Both masks are background outside of this window, and so is what lies beyond an array.
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    d = distance(height, width)
    a, b = band(a[window], d), band(b[window], d)
    return float((a & b).sum() / (a | b).sum())
