"""The score's calibration: fitted on scenes whose truth is known, kept with the verifier's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from services.core.scoring import Calibration

MOST_POINTS = 25
LEAST_PAIRS = 40
"""Pairs that a point of the table stands for, at least."""

Point = tuple[float, float]


def raw_and_right(scenes: Sequence[Mapping[str, Any]], positive: bool) -> list[tuple[float, bool]]:
    """Raw score and whether right of all pairs of one polarity that could be scored."""
    return [
        (float(pair["raw"]), bool(pair["right"]))
        for scene in scenes
        for pair in scene["pairs"]
        if pair["positive"] is positive and pair["raw"] is not None
    ]


def fit(pairs: Sequence[tuple[float, bool]]) -> list[Point]:
    """A monotone table of (raw score, share of right pairs).

    Pairs in order of their raw score are cut into groups of the same size, so that every point has support;
    each gives its mean raw score and its share of right pairs, with half a right and half a wrong pair added
    (Jeffreys), since no group proves certainty. Isotonic regression then makes the shares rise. Raises
    `ValueError` for fewer than two groups.
    """
    ranked = sorted(pairs)
    groups = min(MOST_POINTS, len(ranked) // LEAST_PAIRS)
    if groups < 2:
        raise ValueError(
            f"{len(ranked)} pairs are too few to calibrate on, {2 * LEAST_PAIRS} are needed: take more scenes"
        )
    points: dict[float, tuple[float, int]] = {}
    for group in np.array_split(np.array(ranked, np.float64), groups):
        raw = round(float(group[:, 0].mean()), 6)
        right, count = float(group[:, 1].sum()), len(group)
        before, earlier = points.get(raw, (0.0, 0))
        points[raw] = (before + right, earlier + count)
    raws = sorted(points)
    shares = [(points[raw][0] + 0.5) / (points[raw][1] + 1) for raw in raws]
    rising = isotonic_regression(shares, weights=[points[raw][1] for raw in raws]).x
    table = [(raw, round(float(share), 6)) for raw, share in zip(raws, rising, strict=True)]
    if len(table) == 1:  # all raw scores alike: one share for all
        table = [(0.0, table[0][1]), (1.0, table[0][1])]
    Calibration.of(table)
    return table
