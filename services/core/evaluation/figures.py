"""The figures, by name, as functions of sums over pairs.

Definitions are those of SAM 3's evaluator (`sam3/eval/cgf1_eval.py`), with exact quotients where it adds a
small number to denominators (they differ by less than 1e-3); a quotient of nothing is 0, as there. TP, FP and
FN are masks at one tau; IL stands for image level: is the phrase there or not, whatever the masks.

    pmF1    F1 of all masks of pairs that have true masks and predictions; false negatives of all pairs
    IL_MCC  Matthews correlation of predicted and true presence; 0 where only one class occurs
    cgF1    pmF1 * IL_MCC, classification-gated F1

Figures of masks are means over tau .5 to .95; `@0.5` and `@0.75` tell them at one tau.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.core.evaluation.calibration import ece
from services.core.evaluation.ranking import average_precision
from services.core.evaluation.tallies import Tallies

Sums = NDArray[np.float64]

OVER_TAUS: Final = {
    "cgF1": "classification-gated F1: pmF1 * IL_MCC",
    "pmF1": "micro F1 of masks, on pairs with true masks",
    "precision": "masks predicted that are right, all pairs",
    "recall": "true masks that are found",
    "F1": "of that precision and recall",
    "positive_micro_precision": "masks predicted that are right, on pairs with true masks",
    "positive_macro_F1": "mean F1 of the pairs with true and predicted masks",
    "AP": "COCO average precision of masks, all pairs as one category",
}
OF_PAIRS: Final = {
    "IL_MCC": "Matthews correlation of presence",
    "IL_precision": "phrases predicted present that are",
    "IL_recall": "present phrases predicted present",
    "IL_F1": "of that precision and recall",
    "IL_FPR": "absent phrases predicted present",
    "presence_accuracy": "pairs whose presence is predicted right",
    "presence_balanced_accuracy": "the same, present and absent weighted alike",
}
OF_MATCHES: Final = {
    "mask_IoU": "mean IoU of masks matched at IoU .5",
    "boundary_IoU": "mean boundary IoU of the same, 2% of the diagonal",
}
OF_PROBABILITIES: Final = {
    "ECE_presence": "calibration error of presence",
    "ECE_masks": "calibration error of mask scores, right = matched at IoU .5",
    "ECE_pairs": "calibration error of pair scores, right = all masks found, none else",
}
MEANINGS: Final = {**OVER_TAUS, **OF_PAIRS, **OF_MATCHES, **OF_PROBABILITIES}
SINGLE_TAUS: Final = {"@0.5": 0, "@0.75": 5}


def figures(tallies: Tallies, weights: NDArray[np.float64]) -> dict[str, Sums]:
    """Every figure [B] with each pair counted `weights` [B, P] times. NaN where it is not defined."""
    found = {}
    for name, values in over_taus(tallies, weights).items():
        found[name] = values.mean(axis=1)
        found |= {name + suffix: values[:, place] for suffix, place in SINGLE_TAUS.items()}
    found |= _of_pairs(tallies, weights)
    matched = weights @ tallies.matched
    found["mask_IoU"] = _mean(weights @ tallies.iou, matched)
    found["boundary_IoU"] = _mean(weights @ tallies.boundary, matched)
    found["ECE_presence"] = ece(weights @ tallies.presence, weights @ tallies.presence_stated)
    found["ECE_masks"] = ece(weights @ tallies.masks, weights @ tallies.masks_stated)
    found["ECE_pairs"] = ece(weights @ tallies.quality, weights @ tallies.quality_stated)
    return found


def over_taus(tallies: Tallies, weights: NDArray[np.float64]) -> dict[str, Sums]:
    """The figures of masks at every tau, [B, T] each."""
    both = (tallies.predicted > 0) & (tallies.true > 0)
    tp = weights @ tallies.hits
    predicted = (weights @ tallies.predicted)[:, None]
    predicted_on_positives = (weights @ (tallies.predicted * both))[:, None]
    true = (weights @ tallies.true)[:, None]
    precision, recall = _share(tp, predicted), _share(tp, true)
    positive_precision = _share(tp, predicted_on_positives)
    pm_f1 = _share(2 * positive_precision * recall, positive_precision + recall)
    mcc = _of_pairs(tallies, weights)["IL_MCC"]
    return {
        "cgF1": pm_f1 * mcc[:, None],
        "pmF1": pm_f1,
        "precision": precision,
        "recall": recall,
        "F1": _share(2 * precision * recall, precision + recall),
        "positive_micro_precision": positive_precision,
        "positive_macro_F1": _mean(weights @ (tallies.local_f1 * both[:, None]), (weights @ both)[:, None]),
        "AP": average_precision(tallies.ranked, tallies.true, weights),
    }


def _of_pairs(tallies: Tallies, weights: NDArray[np.float64]) -> dict[str, Sums]:
    said, is_true = tallies.predicted > 0, tallies.true > 0
    tp, fp = weights @ (said & is_true), weights @ (said & ~is_true)
    fn, tn = weights @ (~said & is_true), weights @ (~said & ~is_true)
    precision, recall, false_alarms = _share(tp, tp + fp), _share(tp, tp + fn), _share(fp, fp + tn)
    # Of classes that do not occur nothing is told: the mean is over those that do.
    classes = np.stack([_mean(tp, tp + fn), _mean(tn, fp + tn)])
    known = ~np.isnan(classes)
    return {
        "IL_MCC": _share(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "IL_precision": precision,
        "IL_recall": recall,
        "IL_F1": _share(2 * precision * recall, precision + recall),
        "IL_FPR": false_alarms,
        "presence_accuracy": _mean(tp + tn, tp + fp + fn + tn),
        "presence_balanced_accuracy": _mean(np.nansum(classes, axis=0), known.sum(axis=0)),
    }


def _share(part: Sums, whole: Sums) -> Sums:
    """part / whole; 0 of nothing."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0)


def _mean(total: Sums, count: Sums) -> Sums:
    """total / count; NaN of nothing."""
    return np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)
