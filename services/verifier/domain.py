"""From the verifier's probabilities to judgements, and from those to a pair's score and verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core import scoring
from services.core.errors import Internal, InvalidInput
from services.core.scoring import Calibration
from tercet.v1 import concepts_pb2

Points = Sequence[tuple[float, float]]

# The columns of the model's answers are the enums' values in order, the unspecified left out.
GOOD_MASKS = (concepts_pb2.MASK_CHOICE_ACCEPT, concepts_pb2.MASK_CHOICE_ACCEPT_AS_TEXT)
"""Choices of mask verification that keep a mask."""

_GOOD_COLUMNS = [choice - 1 for choice in GOOD_MASKS]
_EXHAUSTIVE_COLUMN = concepts_pb2.EXHAUSTIVITY_CHOICE_ACCEPT - 1
_ABSENT_COLUMN = 0
_VERDICTS = {
    scoring.Outcome.ACCEPT: concepts_pb2.VERDICT_ACCEPT,
    scoring.Outcome.REVIEW: concepts_pb2.VERDICT_REVIEW,
    scoring.Outcome.REJECT: concepts_pb2.VERDICT_REJECT,
}


@dataclass(frozen=True, slots=True)
class Calibrations:
    """How raw scores of positive and of negative pairs are calibrated; None: nothing is known."""

    positive: Calibration | None = None
    negative: Calibration | None = None

    @classmethod
    def of_points(cls, positive: Points, negative: Points) -> Calibrations:
        """From (raw, share) points of each, none of them: unknown. Raises `InvalidInput` as `Calibration`."""
        return cls(*(Calibration.of(points) if len(points) else None for points in (positive, negative)))

    @classmethod
    def told(cls, tensors: Mapping[str, NDArray[Any]]) -> Calibrations:
        """Those that a verifier's answer tells of itself. Raises `Internal` where they are none: that is no
        fault of the image's.
        """
        sides = (tensors.get(f"{side}_calibration", ()) for side in ("positive", "negative"))
        points = ([(float(raw), float(share)) for raw, share in side] for side in sides)
        try:
            return cls.of_points(*points)
        except InvalidInput as fault:
            raise Internal(f"the verifier's answer tells a calibration that is none: {fault}") from fault

    def of(self, pair: concepts_pb2.Pair) -> Calibration | None:
        """The one for the pair."""
        return self.negative if pair.polarity == concepts_pb2.POLARITY_NEGATIVE else self.positive


def mask_verification(
    probabilities: NDArray[Any], provenance: concepts_pb2.Provenance
) -> concepts_pb2.MaskVerification:
    """Mask verification of [5] probabilities; unspecified and without probabilities where they hold NaN."""
    if not np.isfinite(probabilities).all():
        return concepts_pb2.MaskVerification(provenance=provenance)
    return concepts_pb2.MaskVerification(
        choice=_choice(concepts_pb2.MaskChoice.values(), probabilities),
        probabilities=[float(p) for p in probabilities],
        provenance=provenance,
    )


def exhaustivity_verification(
    probabilities: NDArray[Any], provenance: concepts_pb2.Provenance
) -> concepts_pb2.ExhaustivityVerification:
    """Exhaustivity of [6] probabilities; unspecified and without probabilities where they hold NaN."""
    if not np.isfinite(probabilities).all():
        return concepts_pb2.ExhaustivityVerification(provenance=provenance)
    return concepts_pb2.ExhaustivityVerification(
        choice=_choice(concepts_pb2.ExhaustivityChoice.values(), probabilities),
        probabilities=[float(p) for p in probabilities],
        provenance=provenance,
    )


def negative_verification(
    probabilities: NDArray[Any], provenance: concepts_pb2.Provenance
) -> concepts_pb2.NegativeVerification:
    """Negative validity of [2] probabilities; absent is NaN where they hold NaN."""
    finite = bool(np.isfinite(probabilities).all())
    absent = float(probabilities[_ABSENT_COLUMN]) if finite else math.nan
    return concepts_pb2.NegativeVerification(absent=absent, provenance=provenance)


def kept_masks(pair: concepts_pb2.Pair) -> list[concepts_pb2.Mask]:
    """The masks that mask verification accepts: what exhaustivity verification sees.

    A mask without a judgement (not yet verified, or NaN) is kept: nothing says that it is wrong.
    """
    unjudged = concepts_pb2.MASK_CHOICE_UNSPECIFIED
    return [mask for mask in pair.masks if mask.verification.choice in (*GOOD_MASKS, unjudged)]


def raw_score(pair: concepts_pb2.Pair) -> float:
    """The raw score of a verified pair (`services.core.scoring`); NaN where a judgement is missing."""
    if pair.polarity == concepts_pb2.POLARITY_NEGATIVE:
        return scoring.negative_raw(pair.negative.absent if pair.HasField("negative") else math.nan)
    exhaustive = pair.exhaustivity.probabilities
    return scoring.positive_raw(
        exhaustive[_EXHAUSTIVE_COLUMN] if exhaustive else math.nan,
        [_good(mask.verification.probabilities) for mask in kept_masks(pair)],
    )


def judged(
    pair: concepts_pb2.Pair, calibration: Calibration, *, accept_above: float, reject_below: float
) -> concepts_pb2.Pair:
    """The verified pair with score and verdict.

    What cannot be scored (NaN) has score 0 and goes to review. An accepted pair holds its kept masks only,
    and is exhaustive; any other keeps all its masks with their judgements, for the person who decides.
    """
    found = concepts_pb2.Pair()
    found.CopyFrom(pair)
    score = calibration(raw_score(pair))
    found.score = 0.0 if math.isnan(score) else score
    found.verdict = _VERDICTS[scoring.verdict(score, accept_above=accept_above, reject_below=reject_below)]
    if math.isnan(found.negative.absent):  # JSON, where records end up, has no NaN
        found.negative.ClearField("absent")
    if found.verdict == concepts_pb2.VERDICT_ACCEPT:
        found.exhaustive = True
        if found.polarity == concepts_pb2.POLARITY_POSITIVE:
            kept = kept_masks(pair)
            found.ClearField("masks")
            found.masks.extend(kept)
    return found


def _choice(values: Sequence[Any], probabilities: NDArray[Any]) -> Any:
    """The enum value of the largest probability."""
    specified = [value for value in values if value != 0]
    return specified[int(np.argmax(probabilities))]


def _good(probabilities: Sequence[float]) -> float:
    """P(the mask is good), as the thing or as text; NaN without probabilities."""
    return sum(probabilities[column] for column in _GOOD_COLUMNS) if probabilities else math.nan
