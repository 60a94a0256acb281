"""From findings to figures, each with its value on every seed and a bootstrap interval over all scenes.

A figure is a function of weights: how often each scene counts. With ones it is the figure itself, with draws
of scenes (`services.core.evaluation.bootstrap`) its value on scenes that might have been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.evaluation import calibration
from services.core.evaluation.bootstrap import draws, interval

Numbers = NDArray[np.float64]
Statistic = Callable[[Numbers], Numbers]
"""Weights of scenes [R, N] to values [R]; NaN where nothing counts."""
Maker = Callable[[Sequence[Mapping[str, Any]]], Statistic]

RESAMPLES = 300
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figure:
    """`value` is the mean of the `seeds` that have one; `low` and `high` bound the middle 95 % of resampled
    scenes of all seeds.
    """

    value: float
    seeds: tuple[float, ...]
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Between the lowest and the highest seed."""
        return max(self.seeds) - min(self.seeds)


def figure(by_seed: Sequence[Sequence[Mapping[str, Any]]], make: Maker) -> Figure:
    """The figure on the scenes of each seed and on all of them."""
    seeds = tuple(float(make(scenes)(np.ones((1, len(scenes))))[0]) for scenes in by_seed)
    everything = [scene for scenes in by_seed for scene in scenes]
    resampled = make(everything)(draws(len(everything), RESAMPLES, seed=0).astype(np.float64))
    low, high = interval(resampled, CONFIDENCE) or (float("nan"), float("nan"))
    known = [value for value in seeds if not np.isnan(value)]
    return Figure(float(np.mean(known)) if known else float("nan"), seeds, low, high)


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Statistic:
    """Sum of the scenes' parts over the sum of their wholes."""
    part, whole = np.array(parts, np.float64), np.array(wholes, np.float64)

    def value(weights: Numbers) -> Numbers:
        counted = weights @ whole
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(counted > 0, weights @ part / counted, np.nan))

    return value


def mean(values: Sequence[Sequence[float]]) -> Statistic:
    """Mean of all values of all scenes."""
    return ratio([float(sum(of)) for of in values], [len(of) for of in values])


def average(statistics: Sequence[Statistic], shares: Sequence[float] | None = None) -> Statistic:
    """The weighted mean of the statistics that are defined."""

    def value(weights: Numbers) -> Numbers:
        each = np.stack([statistic(weights) for statistic in statistics])
        share = np.array(shares if shares is not None else np.ones(len(statistics)))[:, None]
        known = np.where(np.isnan(each), 0.0, share)
        total = known.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(total > 0, np.nansum(each * known, 0) / total, np.nan))

    return value


def average_precision(hits: Sequence[Sequence[tuple[float, bool]]], wanted: Sequence[int]) -> Statistic:
    """Area below the precision-recall curve of scored detections, its precision made monotone, over every
    recall (COCO takes 101 of them).
    """
    flat = [(score, hit, scene) for scene, of in enumerate(hits) for score, hit in of]
    flat.sort(key=lambda entry: -entry[0])
    hit = np.array([entry[1] for entry in flat], np.float64)
    scene = np.array([entry[2] for entry in flat], np.int64)
    needed = np.array(wanted, np.float64)

    def one(weights: Numbers) -> float:
        counted = weights[scene]
        right, all_ = np.cumsum(counted * hit), np.cumsum(counted)
        total = float(weights @ needed)
        if total <= 0 or not len(right):
            return float("nan")
        precision = right / np.maximum(all_, 1e-12)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(np.concatenate([[0.0], right / total])) * envelope).sum())

    return lambda weights: np.array([one(row) for row in weights])


def calibration_error(statements: Sequence[Sequence[tuple[float, bool]]]) -> Statistic:
    """ECE of (probability, came true) of each scene."""
    scene = np.array([row for row, of in enumerate(statements) for _ in of], np.int64)
    flat = [entry for of in statements for entry in of]
    probability = np.array([entry[0] for entry in flat], np.float64)
    true = np.array([entry[1] for entry in flat], np.bool_)
    gaps = calibration.gaps(probability, true, scene, len(statements))
    counts = np.bincount(scene, minlength=len(statements)).astype(np.float64)
    return lambda weights: calibration.ece(weights @ gaps, weights @ counts)
