"""The evaluation as a whole: from a prediction and its truth to a report, overall and for each phrase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.errors import InvalidInput
from services.core.evaluation.alignment import Alignment, align
from services.core.evaluation.bootstrap import blocks, draws, interval
from services.core.evaluation.figures import figures, over_taus
from services.core.evaluation.matching import TAUS
from services.core.evaluation.pairs import PairSet, Results
from services.core.evaluation.tallies import Tallies, tally


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """`threshold`: masks scored under it are not predicted. `resamples`: of the bootstrap, 0 for no
    intervals; `confidence`: the intervals' share; `seed`: of the drawing. Raises `InvalidInput` outside
    sensible ranges.
    """

    threshold: float = 0.5
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise InvalidInput(f"the score threshold must be in 0..1, not {self.threshold}")
        if not 0 <= self.resamples <= 100_000:
            raise InvalidInput(f"there can be 0 to 100000 resamples, not {self.resamples}")
        if not 0 < self.confidence < 1:
            raise InvalidInput(f"the intervals' confidence must be between 0 and 1, not {self.confidence}")
        if self.seed < 0:
            raise InvalidInput(f"the seed must not be negative, not {self.seed}")


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its interval; None where it is not defined, or no interval is."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """The figures of some pairs. `by_tau`: name to values at each of `TAUS`."""

    pairs: int
    positives: int
    images: int
    true_masks: int
    predicted_masks: int
    figures: dict[str, Figure]
    by_tau: dict[str, list[float | None]]

    @property
    def negatives(self) -> int:
        return self.pairs - self.positives


@dataclass(frozen=True, slots=True)
class Report:
    """What `evaluate` finds; the counts are those of `Alignment`."""

    settings: EvaluationSettings
    annotators: int
    not_exhaustive: int
    unanswered: int
    unjudged: int
    overall: Scores
    per_phrase: dict[str, Scores]

    def as_json(self) -> dict[str, Any]:
        """Plain objects for JSON; what is not defined is null."""
        return {
            "settings": asdict(self.settings),
            "annotators": self.annotators,
            "not_exhaustive": self.not_exhaustive,
            "unanswered": self.unanswered,
            "unjudged": self.unjudged,
            "taus": [round(float(tau), 2) for tau in TAUS],
            "overall": _plain(self.overall),
            "per_phrase": {phrase: _plain(scores) for phrase, scores in self.per_phrase.items()},
        }


def evaluate(
    prediction: PairSet | Results,
    golds: Sequence[PairSet | Results],
    settings: EvaluationSettings | None = None,
    *,
    per_phrase: bool = False,
) -> Report:
    """Judge a prediction by one truth file, or by several annotators' of the same pairs.

    Raises `InvalidInput` where the files are not about the same pairs, or no pair counts.
    """
    settings = settings or EvaluationSettings()
    alignment: Alignment = align(prediction, golds)
    tallies = tally(alignment.pairs, settings.threshold)
    drawn = draws(int(tallies.image.max()) + 1, settings.resamples, settings.seed)
    phrases = np.unique(tallies.phrase).tolist() if per_phrase else []
    return Report(
        settings=settings,
        annotators=len(golds),
        not_exhaustive=alignment.not_exhaustive,
        unanswered=alignment.unanswered,
        unjudged=alignment.unjudged,
        overall=_scores(tallies, drawn, settings.confidence),
        per_phrase={
            phrase: _scores(tallies.of(np.flatnonzero(tallies.phrase == phrase)), drawn, settings.confidence)
            for phrase in phrases
        },
    )


def _scores(tallies: Tallies, drawn: NDArray[np.uint16], confidence: float) -> Scores:
    once = np.ones((1, len(tallies)))
    values = {name: float(value[0]) for name, value in figures(tallies, once).items()}
    images = len(np.unique(tallies.image))
    resampled: dict[str, list[NDArray[np.float64]]] = {name: [] for name in values}
    if images > 1:  # of one image alone every resample is the same
        for weights in blocks(drawn, tallies.image):
            holding = weights[weights.any(axis=1)]
            if len(holding):
                for name, value in figures(tallies, holding).items():
                    resampled[name].append(value)
    intervals = {
        name: interval(np.concatenate(parts), confidence) if parts else None
        for name, parts in resampled.items()
    }
    return Scores(
        pairs=len(tallies),
        positives=int((tallies.true > 0).sum()),
        images=images,
        true_masks=int(tallies.true.sum()),
        predicted_masks=int(tallies.predicted.sum()),
        figures={name: _figure(value, intervals[name]) for name, value in values.items()},
        by_tau={
            name: [_defined(float(one)) for one in value[0]]
            for name, value in over_taus(tallies, once).items()
        },
    )


def _figure(value: float, limits: tuple[float, float] | None) -> Figure:
    if math.isnan(value):
        return Figure(None)
    return Figure(value, *(limits or (None, None)))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _plain(scores: Scores) -> dict[str, Any]:
    plain = asdict(scores)
    return {
        "pairs": plain.pop("pairs"),
        "positives": plain.pop("positives"),
        "negatives": scores.negatives,
        **plain,
    }
