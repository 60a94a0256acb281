"""Expected calibration error: how far stated probabilities lie from the shares that come true.

Statements are binned by probability into equal widths; ECE is the mean over statements of the distance
between their bin's mean probability and its share of true ones (Guo et al., 2017, formula 3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 10


def gaps(
    probability: NDArray[np.float64], true: NDArray[np.bool_], row: NDArray[np.int64], rows: int
) -> NDArray[np.float64]:
    """Per row and bin, the sum of (probability - truth) [rows, BINS] over the row's statements [N].

    Bins hold their lower edge; the last holds 1 as well. Rows can be weighted and summed before `ece`.
    """
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    found = np.zeros((rows, BINS))
    np.add.at(found, (row, place), probability - true)
    return found


def ece(gap: NDArray[np.float64], statements: NDArray[np.float64]) -> NDArray[np.float64]:
    """ECE [B] of summed gaps [B, BINS] over so many statements [B]; NaN of none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(
            np.where(statements > 0, np.abs(gap).sum(axis=1) / np.maximum(statements, 1e-12), np.nan)
        )
