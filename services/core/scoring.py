"""From the three verifications to a quality score, and from a score to a verdict.

A positive pair is right when every kept mask is right AND none is missing. With p_i = P(mask i is good) of
the masks that mask verification keeps, and e = P(exhaustivity accept | those masks):

    raw = e * min_i p_i

The weakest mask stands for all of them: the probability that all are right is at most the smallest
(Frechet), and a product would punish a pair for having many instances whose judgements are far from
independent. A pair of which no mask is kept is no positive: raw = 0. A negative pair is right when the
phrase is absent: raw = P(absent).

`Calibration` then maps raw to the share of pairs that are right. NaN anywhere gives a score of NaN, whose
verdict is `review`: what cannot be judged goes to a person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from services.core.errors import InvalidInput


class Outcome(Enum):
    """What follows from a score."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Calibration:
    """A monotone, piecewise linear map from raw score to the share of right pairs, by its corner points.

    Below the first and above the last point it is constant. Raises `InvalidInput` unless there are at least
    two points, raw scores rise strictly, shares never fall, and all lie in 0..1.
    """

    raw: tuple[float, ...] = (0.0, 1.0)
    share: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.raw, self.raw[1:], strict=False))
        monotone = all(a <= b for a, b in zip(self.share, self.share[1:], strict=False))
        inside = all(0.0 <= value <= 1.0 for value in (*self.raw, *self.share))
        if len(self.raw) != len(self.share) or len(self.raw) < 2 or not (rising and monotone and inside):
            raise InvalidInput(
                "a calibration needs at least two points in 0..1, raw rising and share never falling, "
                f"not {list(zip(self.raw, self.share, strict=False))}"
            )

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> Calibration:
        """The map through (raw, share) points; the identity without any."""
        if not points:
            return cls()
        return cls(tuple(raw for raw, _ in points), tuple(share for _, share in points))

    def __call__(self, raw: float) -> float:
        """The calibrated score; NaN stays NaN."""
        return raw if math.isnan(raw) else float(np.interp(raw, self.raw, self.share))


def positive_raw(exhaustive: float, masks: Sequence[float]) -> float:
    """Raw score of a positive pair: P(exhaustivity accept) and P(good) of each kept mask, possibly none."""
    if any(math.isnan(p) for p in (exhaustive, *masks)):
        return math.nan
    return exhaustive * min(masks, default=0.0)


def negative_raw(absent: float) -> float:
    """Raw score of a negative pair: P(absent)."""
    return absent


def verdict(score: float, *, accept_above: float, reject_below: float) -> Outcome:
    """`accept` above the one threshold, `reject` below the other, `review` between, on them, and for NaN.

    Compared in float32, the precision in which scores and thresholds travel: 0.9 is not above 0.9.
    """
    s, above, below = (float(np.float32(value)) for value in (score, accept_above, reject_below))
    if s > above:
        return Outcome.ACCEPT
    return Outcome.REJECT if s < below else Outcome.REVIEW
