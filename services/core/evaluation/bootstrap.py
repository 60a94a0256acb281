"""Bootstrap intervals: what the figures might have been on other images of the same kind.

Images are drawn with replacement, each with all its pairs, since pairs of one image share its luck; the
interval is that of percentiles (Efron and Tibshirani, 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_LARGEST_BLOCK = 4_000_000


def draws(images: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    """How often each image is drawn in each resample, [resamples, images]. The same for the same seed."""
    random = np.random.default_rng(seed)
    found = np.zeros((resamples, images), dtype=np.uint16)
    for row in found:
        row += np.bincount(random.integers(0, images, images), minlength=images).astype(np.uint16)
    return found


def blocks(drawn: NDArray[np.uint16], image: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    """Weights of pairs [B, P] from draws of their images, in blocks that bound memory."""
    size = max(1, _LARGEST_BLOCK // max(1, len(image)))
    for start in range(0, len(drawn), size):
        yield drawn[start : start + size][:, image].astype(np.float64)


def interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float] | None:
    """The middle `confidence` share of resampled values; None where fewer than two are defined."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
