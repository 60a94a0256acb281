"""Scores to probabilities and thresholds, and the measures that need every score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


def logistic_fit(positive: Scores, negative: Scores, steps: int = 50) -> tuple[float, float]:
    """(scale, shift) so that sigmoid(scale * logit + shift) is the chance of a positive, classes weighted
    alike.

    Platt scaling by Newton's method with a little ridge.
    """
    x = np.concatenate([positive, negative])
    y = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    weight = np.concatenate(
        [
            np.full(len(positive), 0.5 / max(len(positive), 1)),
            np.full(len(negative), 0.5 / max(len(negative), 1)),
        ]
    )
    design = np.stack([x, np.ones_like(x)], 1)
    theta = np.array([1.0, 0.0])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(design @ theta, -30, 30)))
        slope = design.T @ (weight * (chance - y)) + 1e-5 * theta
        curve = (design * (weight * chance * (1 - chance))[:, None]).T @ design + 1e-5 * np.eye(2)
        theta = theta - np.clip(np.linalg.solve(curve, slope), -1, 1)
    return float(theta[0]), float(theta[1])


def balanced_threshold(positive: Scores, negative: Scores) -> tuple[float, float]:
    """The score above which balanced accuracy is best, and that accuracy."""
    cuts = np.unique(np.concatenate([positive, negative]))
    recall = 1 - np.searchsorted(np.sort(positive), cuts, "left") / max(len(positive), 1)
    refused = np.searchsorted(np.sort(negative), cuts, "left") / max(len(negative), 1)
    balanced = (recall + refused) / 2
    best = int(balanced.argmax())
    return float(cuts[best]), float(balanced[best])


def average_precision(hits: Sequence[tuple[float, bool]], wanted: int) -> tuple[float, float, float]:
    """(average precision, best F1, score at the best F1) of scored detections; precision is made monotone."""
    if not hits or wanted == 0:
        return 0.0, 0.0, 0.5
    ranked = sorted(hits, reverse=True)
    right = np.cumsum([hit for _, hit in ranked])
    precision, recall = right / np.arange(1, len(ranked) + 1), right / wanted
    f1 = 2 * precision * recall / (precision + recall + 1e-9)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    area = float((np.diff(np.concatenate([[0.0], recall])) * envelope).sum())
    best = int(f1.argmax())
    return area, float(f1[best]), float(ranked[best][0])
