"""What is counted pair by pair. Every figure is a function of sums over pairs, so pairs can be resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from services.core.evaluation import calibration
from services.core.evaluation.alignment import AlignedPair
from services.core.evaluation.boundary import boundary_iou
from services.core.evaluation.matching import TAUS, Match, match
from services.core.evaluation.ranking import Ranked, rank

LOOSE = 0
"""Place of tau = .5 in `TAUS`: at this IoU a mask is taken to be of the instance."""


@dataclass(frozen=True, slots=True)
class Tallies:
    """Counts of P pairs, in order of pair id.

    `hits` [P, T], `predicted` [P], `true` [P]: masks, as in `Match`. `local_f1` [P, T]: the pair's own F1.
    `matched` [P]: matches with IoU >= .5; `iou`, `boundary` [P]: sums of their IoU and boundary IoU.
    `presence`, `masks`, `quality` [P, bins]: calibration gaps, of `presence_stated`, `masks_stated`,
    `quality_stated` [P] statements. `image` [P]: the pair's image, numbered from 0; `phrase`: its phrase.
    `ranked`: all predicted masks, for average precision.
    """

    hits: NDArray[np.float64]
    predicted: NDArray[np.float64]
    true: NDArray[np.float64]
    local_f1: NDArray[np.float64]
    matched: NDArray[np.float64]
    iou: NDArray[np.float64]
    boundary: NDArray[np.float64]
    presence: NDArray[np.float64]
    presence_stated: NDArray[np.float64]
    masks: NDArray[np.float64]
    masks_stated: NDArray[np.float64]
    quality: NDArray[np.float64]
    quality_stated: NDArray[np.float64]
    image: NDArray[np.int64]
    phrase: NDArray[np.str_]
    ranked: Ranked

    def __len__(self) -> int:
        return len(self.predicted)

    def of(self, rows: NDArray[np.int64]) -> Tallies:
        """Those of some pairs; images keep their numbers."""
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "ranked"}
        return Tallies(**arrays, ranked=self.ranked.of(rows, len(self)))


def tally(pairs: Sequence[AlignedPair], threshold: float) -> Tallies:
    """Match every pair and count."""
    matches = [match(pair, threshold) for pair in pairs]
    hits = np.array([found.hits for found in matches], dtype=np.float64)
    predicted = np.array([found.predicted for found in matches], dtype=np.float64)
    true = np.array([found.true for found in matches], dtype=np.float64)
    close = [[one for one in found.pairs if one[2] >= TAUS[LOOSE]] for found in matches]
    ranked = rank(
        (pair.predicted, found.gold.instances, found.overlaps)
        for pair, found in zip(pairs, matches, strict=True)
    )
    presence, presence_stated = _presence(pairs, true > 0)
    masks, masks_stated = _masks(pairs, ranked)
    right = (hits[:, LOOSE] == predicted) & (hits[:, LOOSE] == true)
    quality, quality_stated = _stated([pair.quality for pair in pairs], right)
    numbers: dict[str, int] = {}
    return Tallies(
        hits=hits,
        predicted=predicted,
        true=true,
        local_f1=2 * hits / np.maximum(predicted + true, 1)[:, None],
        matched=np.array([len(found) for found in close], dtype=np.float64),
        iou=np.array([sum(one[2] for one in found) for found in close], dtype=np.float64),
        boundary=np.array(
            [_boundaries(found, chosen) for found, chosen in zip(matches, close, strict=True)],
            dtype=np.float64,
        ),
        presence=presence,
        presence_stated=presence_stated,
        masks=masks,
        masks_stated=masks_stated,
        quality=quality,
        quality_stated=quality_stated,
        image=np.array([numbers.setdefault(pair.golds[0].file_name, len(numbers)) for pair in pairs]),
        phrase=np.array([pair.golds[0].phrase for pair in pairs]),
        ranked=ranked,
    )


def _boundaries(found: Match, chosen: Sequence[tuple[int, int, float]]) -> float:
    gold = found.gold
    return sum(
        boundary_iou(found.kept[i].counts, found.truths[j].counts, gold.height, gold.width)
        for i, j, _ in chosen
    )


def _presence(
    pairs: Sequence[AlignedPair], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaps of the presence probabilities.

    Where a pair states none, its best mask score stands for it (0 without masks), for that is what decides
    presence; unless the file has masks without scores.
    """
    scored = all(one.score is not None for pair in pairs for one in pair.predicted)
    anything = any(pair.predicted for pair in pairs)

    def probability(pair: AlignedPair) -> float | None:
        if pair.presence is None and scored and anything:
            return max((one.certainty for one in pair.predicted), default=0.0)
        return pair.presence

    return _stated([probability(pair) for pair in pairs], present)


def _masks(pairs: Sequence[AlignedPair], ranked: Ranked) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaps of the mask scores against being a hit at IoU .5 by COCO's matching; without those on crowds.

    None where the file has a mask without a score.
    """
    rows = len(pairs)
    if any(one.score is None for pair in pairs for one in pair.predicted):
        return np.zeros((rows, calibration.BINS)), np.zeros(rows)
    judged = ~ranked.ignored[:, LOOSE]
    row = ranked.pair[judged]
    gaps = calibration.gaps(ranked.score[judged], ranked.hit[judged, LOOSE], row, rows)
    return gaps, np.bincount(row, minlength=rows).astype(np.float64)


def _stated(
    values: Sequence[float | None], true: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaps of one statement a pair at most, and how many there are."""
    row = np.array([i for i, value in enumerate(values) if value is not None], dtype=np.int64)
    probability = np.array([value for value in values if value is not None], dtype=np.float64)
    count = np.zeros(len(values))
    count[row] = 1
    return calibration.gaps(probability, true[row], row, len(values)), count
