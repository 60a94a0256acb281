"""Small annotated pairs for evaluations: masks are rectangles, files are SA-Co."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.core import masks
from services.core.evaluation import EvaluationSettings, Instance, Pair, PairSet, Scores, evaluate

HEIGHT, WIDTH = 20, 24
POINTS_ONLY = EvaluationSettings(resamples=0)
"""No intervals: figures alone, quickly."""


def rectangle(
    top: int, left: int, height: int, width: int, score: float | None = None, *, crowd: bool = False
) -> Instance:
    """A mask that fills a rectangle of an image of HEIGHT x WIDTH."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[top : top + height, left : left + width] = True
    return Instance(masks.encode(mask), score, crowd)


def pair(
    number: int,
    *instances: Instance,
    image: int | None = None,
    phrase: str = "bus",
    exhaustive: bool | None = True,
    presence: float | None = None,
    quality: float | None = None,
) -> Pair:
    """A pair of image `image` (default: one of its own)."""
    name = f"image-{number if image is None else image}.png"
    return Pair(number, name, phrase, HEIGHT, WIDTH, instances, exhaustive, presence, quality)


def pairs(*members: Pair, name: str = "truth.json") -> PairSet:
    return PairSet(name, members)


def scored(instances: Sequence[Instance], score: float) -> tuple[Instance, ...]:
    """The same masks with a score."""
    return tuple(Instance(one.counts, score, one.crowd) for one in instances)


def judged(prediction: PairSet, *golds: PairSet) -> Scores:
    """The figures over all pairs."""
    return evaluate(prediction, golds, POINTS_ONLY).overall


def value(scores: Scores, name: str) -> float:
    """A figure that must be defined."""
    found = scores.figures[name].value
    assert found is not None, f"{name} is not defined"
    return found
