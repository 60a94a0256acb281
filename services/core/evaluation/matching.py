"""Predicted masks against the true ones of one pair: SAM 3's one-to-one matching, and its oracle.

Predictions scored under the threshold are left out, and so are the truth's crowds. Those left are matched one
to one with the greatest sum of IoU (Hungarian method); a match is a hit at tau where its IoU is at least tau.
With several annotators the one that agrees best with the prediction is taken, pair by pair (the oracle).
Source: SAM 3's evaluator, `sam3/eval/cgf1_eval.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy.optimize import linear_sum_assignment

from services.core.evaluation.alignment import AlignedPair
from services.core.evaluation.pairs import Instance, Pair

TAUS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds of COCO and of SAM 3, .5 to .95 by .05; built as pycocotools builds them."""

_REFERENCE_EPSILON = 1e-4
"""SAM 3's evaluator adds this to its denominators. It decides which of several annotators agrees best where
the exact F1 of two is equal, so it is kept there, and only there."""


@dataclass(frozen=True, slots=True)
class Match:
    """One pair, judged by the annotator that the oracle takes.

    `hits` int [T]: matches with IoU >= tau. `predicted`, `true`: masks that take part. `pairs`: (prediction,
    truth, IoU) of each match, as places in `kept` and `truths`. `overlaps` float [all predictions, all
    truths]: IoU; of a crowd, the share of the prediction that lies in it.
    """

    gold: Pair
    kept: tuple[Instance, ...]
    truths: tuple[Instance, ...]
    pairs: tuple[tuple[int, int, float], ...]
    hits: NDArray[np.int64]
    overlaps: NDArray[np.float64]

    @property
    def predicted(self) -> int:
        return len(self.kept)

    @property
    def true(self) -> int:
        return len(self.truths)

    def agreement(self) -> float | None:
        """Mean over tau of the pair's F1, as SAM 3's oracle compares it; None where both say absent."""
        if not self.kept and not self.truths:
            return None
        precision = self.hits / (self.predicted + _REFERENCE_EPSILON)
        recall = self.hits / (self.true + _REFERENCE_EPSILON)
        return float((2 * precision * recall / (precision + recall + _REFERENCE_EPSILON)).mean())


def match(pair: AlignedPair, threshold: float) -> Match:
    """The pair judged by the annotator that agrees best; among equals by the first.

    Where prediction and an annotator both say absent, the agreement is perfect, and that annotator is taken.
    """
    best = _match_one(pair.predicted, pair.golds[0], threshold)
    for gold in pair.golds[1:]:
        current = _match_one(pair.predicted, gold, threshold)
        ours, theirs = best.agreement(), current.agreement()
        if theirs is None or (ours is not None and theirs > ours):
            best = current
    return best


def overlap(
    predicted: Sequence[Instance], truths: Sequence[Instance], height: int, width: int
) -> NDArray[np.float64]:
    """IoU [predicted, truths]; with a crowd, intersection over the prediction's area, as COCO has it."""
    if not predicted or not truths:
        return np.zeros((len(predicted), len(truths)))
    ours, theirs = (
        [{"size": [height, width], "counts": one.counts} for one in side] for side in (predicted, truths)
    )
    crowds = [int(one.crowd) for one in truths]
    found = np.asarray(coco.iou(ours, theirs, crowds), dtype=np.float64).reshape(len(ours), len(theirs))
    return np.nan_to_num(found)  # two empty masks overlap 0 / 0


def _match_one(predicted: Sequence[Instance], gold: Pair, threshold: float) -> Match:
    overlaps = overlap(predicted, gold.instances, gold.height, gold.width)
    chosen = [i for i, one in enumerate(predicted) if one.certainty >= threshold]
    separate = [i for i, one in enumerate(gold.instances) if not one.crowd]
    between = overlaps[np.ix_(chosen, separate)]
    rows, columns = linear_sum_assignment(-between)
    ious = between[rows, columns]
    return Match(
        gold=gold,
        kept=tuple(predicted[i] for i in chosen),
        truths=tuple(gold.instances[i] for i in separate),
        pairs=tuple((int(i), int(j), float(v)) for i, j, v in zip(rows, columns, ious, strict=True)),
        hits=(ious[None, :] >= TAUS[:, None]).sum(axis=1).astype(np.int64),
        overlaps=overlaps,
    )
