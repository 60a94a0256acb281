"""How good a set of annotated pairs is, judged by another: cgF1 and its parts by SAM 3's definitions, average
precision, boundary IoU, presence and calibration, with bootstrap intervals.

    prediction, truth = loads(first.read_bytes(), first.name), loads(second.read_bytes(), second.name)
    report = evaluate(prediction, [truth], per_phrase=True)
    report.overall.figures["cgF1"].value

`figures` defines every figure; `saco` the files; `alignment` which pairs count.
"""

from __future__ import annotations

from services.core.evaluation.figures import MEANINGS
from services.core.evaluation.pairs import Instance, Pair, PairSet, Results
from services.core.evaluation.report import EvaluationSettings, Figure, Report, Scores, evaluate
from services.core.evaluation.saco import dumps, loads

__all__ = [
    "loads",
    "dumps",
    "evaluate",
    "EvaluationSettings",
    "Report",
    "Scores",
    "Figure",
    "MEANINGS",
    "PairSet",
    "Pair",
    "Instance",
    "Results",
]
