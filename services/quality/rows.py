"""The rows of the table: which figures there are, from which part, and what each must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.core.scoring import Calibration, Outcome, verdict
from services.quality import figures
from services.quality.figures import Maker, Statistic
from services.verifier.settings import VerifierSettings

Scenes = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """A figure of a part's findings. `goal` None: it is told only. `most`: the goal is an upper bound."""

    part: str
    group: str
    name: str
    make: Maker
    goal: float | None = None
    most: bool = False

    def reached(self, value: float) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None or np.isnan(value):
            return None
        return value <= self.goal if self.most else value >= self.goal


@dataclass(frozen=True)
class Chosen:
    """What was chosen on the calibration scenes or came with the models."""

    presence_threshold: float
    calibrations: Mapping[bool, Calibration]
    """By whether positive."""
    settings: VerifierSettings = field(default_factory=VerifierSettings)
    """Its thresholds are those of a job that gives none."""

    def score(self, pair: Mapping[str, Any]) -> float:
        """The calibrated score, as the service gives it; NaN where it gives none."""
        raw = float("nan") if pair["raw"] is None else float(pair["raw"])
        return self.calibrations[bool(pair["positive"])](raw)

    def outcome(self, pair: Mapping[str, Any]) -> Outcome:
        """The verdict, as the service gives it without thresholds of the job."""
        above, below = self.settings.accept_above, self.settings.reject_below
        return verdict(self.score(pair), accept_above=above, reject_below=below)


def rows(chosen: Chosen, kinds: Mapping[str, Sequence[str]]) -> list[Row]:
    """All rows. `kinds` are the kinds of case that were found, by task."""
    return [*_sam(), *_grounding(chosen), *_proposer(), *_verifying(kinds), *_score(chosen), *_stage(chosen)]


def _sam() -> list[Row]:
    of = "sam"
    return [
        Row(of, of, "mIoU from a box", lambda s: figures.mean([x["box"] for x in s]), 0.90),
        Row(of, of, "mIoU from one point", lambda s: figures.mean([x["point"] for x in s]), 0.80),
        Row(of, of, "boundary IoU from a box", lambda s: figures.mean([x["boundary"] for x in s]), 0.85),
    ]


def _grounding(chosen: Chosen) -> list[Row]:
    of, group, least = "grounding", "grounder + sam, full phrases", chosen.presence_threshold
    return [
        Row(
            of,
            group,
            "AP50 of masks",
            lambda s: figures.average_precision([x["hits"] for x in s], [x["wanted"] for x in s]),
            0.75,
        ),
        Row(
            of,
            group,
            f"presence balanced accuracy (from {least:.3f} on)",
            lambda s: _presence(s, least),
            0.95,
        ),
        Row(
            of, group, "hard negatives refused", lambda s: figures.mean([_not(x["masked"]) for x in s]), 0.98
        ),
    ]


def _presence(scenes: Scenes, least: float) -> Statistic:
    present = figures.mean([[float(p >= least) for p in x["present"]] for x in scenes])
    absent = figures.mean([[float(p < least) for p in x["absent"]] for x in scenes])
    return figures.average([present, absent])


def _proposer() -> list[Row]:
    goals = {"full phrases": (0.88, 0.80), "types": (0.95, 0.90)}
    found = []
    for name, (precision, recall) in goals.items():
        found += [
            Row("pipeline", "proposer", f"{name}, precision", _said(name, "proposed"), precision),
            Row("pipeline", "proposer", f"{name}, recall", _said(name, "there"), recall),
        ]
    return found


def _said(name: str, over: str) -> Maker:
    """Share of the phrases (or of their last words) of `over` that are both proposed and there."""

    def make(scenes: Scenes) -> Statistic:
        cut = [{side: _cut(x[side], name) for side in ("proposed", "there")} for x in scenes]
        return figures.ratio([len(c["proposed"] & c["there"]) for c in cut], [len(c[over]) for c in cut])

    return make


def _cut(phrases: Sequence[str], name: str) -> set[str]:
    """Last words, or the phrases of three words: the proposer says `bus` where it is sure of no more."""
    if name == "types":
        return {phrase.split()[-1] for phrase in phrases}
    return {phrase for phrase in phrases if len(phrase.split()) == 3}


RIGHT = {"mv": "accept", "ev": "accept", "nv": "absent"}


def _verifying(kinds: Mapping[str, Sequence[str]]) -> list[Row]:
    goals = {
        "mv": (0.90, "MV accuracy"),
        "ev": (0.85, "EV accuracy"),
        "nv": (0.95, "negative validity accuracy"),
    }
    found = []
    for task, (goal, name) in goals.items():
        found.append(
            Row("verifying", "verifier", f"{name}, balanced", _balanced(task, kinds.get(task, ())), goal)
        )
    for task, of in kinds.items():
        found += [
            Row("verifying", f"verifier, {task} by kind of case", kind, _of_kind(task, kind)) for kind in of
        ]
    return found


def _of_kind(task: str, kind: str) -> Maker:
    return lambda scenes: figures.mean(
        [[float(said == right) for right, said, _, of in x[task] if of == kind] for x in scenes]
    )


def _balanced(task: str, kinds: Sequence[str]) -> Maker:
    """Half of the weight on cases whose right answer is good (accept; absent), half on the others; in each
    half every kind of case counts alike.
    """

    def make(scenes: Scenes) -> Statistic:
        answers = {of: right for x in scenes for right, _, _, of in x[task]}
        there = [kind for kind in kinds if kind in answers]
        good = [kind for kind in there if answers[kind] == RIGHT[task]]
        bad = [kind for kind in there if answers[kind] != RIGHT[task]]
        halves = [[_of_kind(task, kind)(scenes) for kind in half] for half in (good, bad) if half]
        return figures.average([figures.average(half) for half in halves])

    return make


def _score(chosen: Chosen) -> list[Row]:
    def error(*polarities: bool) -> Maker:
        return lambda scenes: figures.calibration_error(
            [
                [
                    (chosen.score(p), p["right"])
                    for p in x["pairs"]
                    if p["positive"] in polarities and p["raw"] is not None
                ]
                for x in scenes
            ]
        )

    def raw(scenes: Scenes) -> Statistic:
        return figures.calibration_error(
            [[(p["raw"], p["right"]) for p in x["pairs"] if p["raw"] is not None] for x in scenes]
        )

    of, group = "pipeline", "score"
    return [
        Row(of, group, "calibration error (ECE), all pairs", error(True, False), 0.05, most=True),
        Row(of, group, "ECE, positive pairs", error(True), 0.05, most=True),
        Row(of, group, "ECE, negative pairs", error(False), 0.05, most=True),
        Row(of, group, "ECE of the raw score, all pairs", raw),
    ]


def _stage(chosen: Chosen) -> list[Row]:
    of, found = "pipeline", []
    for name, polarities in (
        ("all pairs", (True, False)),
        ("positive pairs", (True,)),
        ("negative pairs", (False,)),
    ):
        group = f"stage 3, {name}"
        for label, outcome in (
            ("share accepted (score above .9)", Outcome.ACCEPT),
            ("share for review (.7 to .9)", Outcome.REVIEW),
            ("share rejected (below .7)", Outcome.REJECT),
        ):
            found.append(Row(of, group, label, _share(chosen, polarities, outcome)))
        found.append(
            Row(of, group, "precision of what is auto-accepted", _precision(chosen, polarities), 0.95)
        )
        found.append(Row(of, group, "pairs that are right, of all", _right(polarities)))
        if polarities == (True,):
            found.append(Row(of, group, "precision of what is auto-accepted, at IoU .5", _at_half(chosen)))
        if polarities == (False,):
            found.append(Row(of, group, "true negatives that the segmenter masks", _fooled()))
    return found


def _pairs(scene: Mapping[str, Any], polarities: Sequence[bool]) -> list[Mapping[str, Any]]:
    return [pair for pair in scene["pairs"] if pair["positive"] in polarities]


def _share(chosen: Chosen, polarities: Sequence[bool], outcome: Outcome) -> Maker:
    return lambda scenes: figures.mean(
        [[float(chosen.outcome(p) is outcome) for p in _pairs(x, polarities)] for x in scenes]
    )


def _precision(chosen: Chosen, polarities: Sequence[bool]) -> Maker:
    return lambda scenes: figures.mean(
        [
            [float(p["right"]) for p in _pairs(x, polarities) if chosen.outcome(p) is Outcome.ACCEPT]
            for x in scenes
        ]
    )


def _right(polarities: Sequence[bool]) -> Maker:
    return lambda scenes: figures.mean([[float(p["right"]) for p in _pairs(x, polarities)] for x in scenes])


def _at_half(chosen: Chosen) -> Maker:
    return lambda scenes: figures.mean(
        [
            [
                float(p["iou"] is not None and p["iou"] >= 0.5)
                for p in _pairs(x, (True,))
                if chosen.outcome(p) is Outcome.ACCEPT
            ]
            for x in scenes
        ]
    )


def _fooled() -> Maker:
    return lambda scenes: figures.mean(
        [[float(p["fooled"]) for p in _pairs(x, (False,)) if p["right"]] for x in scenes]
    )


def _not(values: Sequence[bool]) -> list[float]:
    return [float(not value) for value in values]
