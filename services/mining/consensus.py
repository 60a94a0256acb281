"""Three people annotate a gold image alone: how far they agree, and the task for a lead where they do not.

Two versions of a phrase are compared by their masks: matched one to one with the greatest sum of IoU
(Hungarian method), matches below 0.5 dropped, and the sum of the remaining IoU divided by the mean number of
masks. That is the panoptic quality of one version judged by the other (Kirillov et al., "Panoptic
Segmentation", 2019); it is the same from both sides. A positive against anything else is 0, a negative
against a negative 1. Where neither says that the phrase is there, and one at most says that it is not, there
is nothing to compare. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from services.core import masks
from services.mining.domain.routing import Routed
from services.mining.domain.tasks import task_id
from services.mining.priority import Weights
from tercet.v1 import concepts_pb2, records_pb2

SAME_INSTANCE: Final = 0.5
"""Masks that overlap less show two things."""
MOST_TASK_BYTES: Final = 2 * 1024 * 1024
"""Of a task with its versions: as much again is left, in the largest record, for the decision on it."""
FIRST_ROUNDS: Final = "0,0,0"

Versions = Sequence[records_pb2.ReviewCompleted]
"""The decisions on the three copies, in order of copy."""


def adjudication_id(job_id: str, image_id: str, rounds: str) -> str:
    """The id of the task to adjudicate the three copies as decided in these rounds."""
    after = "" if rounds == FIRST_ROUNDS else rounds
    return task_id(job_id, image_id, records_pb2.TASK_TYPE_ADJUDICATE, after=after)


def agreement(versions: Versions) -> records_pb2.Agreement:
    """How far the versions agree, by phrase and by annotator. Raises `InvalidInput` for broken masks."""
    found = [{pair.phrase: pair for pair in version.decision.pairs} for version in versions]
    by_phrase: dict[str, list[float]] = {}
    by_version: list[dict[str, list[float]]] = [{} for _ in versions]
    for phrase in sorted({phrase for pairs in found for phrase in pairs}):
        for one, other in combinations(range(len(versions)), 2):
            alike = _alike(versions[one].task.image, found[one].get(phrase), found[other].get(phrase))
            if alike is None:
                continue
            by_phrase.setdefault(phrase, []).append(alike)
            for number in (one, other):
                by_version[number].setdefault(phrase, []).append(alike)
    return records_pb2.Agreement(
        pairs=[
            records_pb2.PhraseAgreement(phrase=phrase, agreement=fmean(values))
            for phrase, values in by_phrase.items()
        ],
        annotators=[
            records_pb2.AnnotatorAgreement(
                annotator=version.decision.annotator,
                # Nobody marked anything: they agree.
                agreement=fmean(map(fmean, phrases.values())) if phrases else 1.0,
                task_id=version.task.id,
                round=version.task.round,
            )
            for version, phrases in zip(versions, by_version, strict=True)
        ],
    )


def completed(
    routed: Routed, versions: Versions, rounds: str, at: Timestamp, weights: Weights, *, agree_at_least: float
) -> Routed:
    """What follows from the decision that completes the versions: their agreement goes with it, and where a
    phrase falls short of `agree_at_least` a task for a lead.
    """
    accepted = routed.accepted
    if accepted is None:
        return routed
    found = agreement(versions)
    accepted.agreement.CopyFrom(found)
    short = [one for one in found.pairs if one.agreement < agree_at_least]
    if not short:
        return routed
    accepted.tasks_opened += 1
    return replace(
        routed,
        tasks=[*routed.tasks, _adjudicate(versions, found, short, rounds, at, weights.second_look_bonus)],
    )


def _adjudicate(
    versions: Versions,
    found: records_pb2.Agreement,
    short: Sequence[records_pb2.PhraseAgreement],
    rounds: str,
    at: Timestamp,
    bonus: float,
) -> records_pb2.ReviewTask:
    first = versions[0].task
    worst = min(short, key=lambda one: one.agreement)
    task = records_pb2.ReviewTask(
        id=adjudication_id(first.run.job_id, first.image.id, rounds),
        type=records_pb2.TASK_TYPE_ADJUDICATE,
        image=first.image,
        run=first.run,
        priority=bonus + 1.0 - worst.agreement,
        reasons=[
            f"annotators disagree: on {len(short)} of {len(found.pairs)} phrases",
            f"least agreement: {worst.agreement:.2f} on {worst.phrase}",
        ],
        excluded_annotators=sorted({version.decision.annotator for version in versions}),
        created_at=at,
        versions=[
            records_pb2.GoldVersion(
                annotator=version.decision.annotator,
                decided_at=version.decision.decided_at,
                pairs=version.decision.pairs,
            )
            for version in versions
        ],
        agreement=found,
    )
    _fit(task, {one.phrase for one in short})
    return task


def _fit(task: records_pb2.ReviewTask, short: set[str]) -> None:
    """Masks are left out of a task that would be too large, first those of phrases that are agreed on."""
    pairs = [pair for version in task.versions for pair in version.pairs if pair.masks]
    pairs.sort(key=lambda pair: (pair.phrase in short, -pair.ByteSize(), pair.phrase))
    left_out = 0
    size = task.ByteSize()
    for pair in pairs:
        if size <= MOST_TASK_BYTES:
            break
        size -= pair.ByteSize()
        del pair.masks[:]
        size += pair.ByteSize()
        left_out += 1
    if left_out:
        task.reasons.append(f"too large: the masks of {left_out} pairs are not shown here")


def _alike(
    image: records_pb2.Image, one: concepts_pb2.Pair | None, other: concepts_pb2.Pair | None
) -> float | None:
    """0..1, or None where there is nothing to compare."""
    here = [pair is not None and pair.polarity == concepts_pb2.POLARITY_POSITIVE for pair in (one, other)]
    if one is None or other is None or not all(here):
        return 0.0 if any(here) else None if one is None or other is None else 1.0
    from scipy.optimize import linear_sum_assignment  # slow to load, and needed by gold jobs only

    mine, theirs = ([mask.counts for mask in pair.masks] for pair in (one, other))
    for counts in (*mine, *theirs):
        masks.check(counts, image.height, image.width)
    overlaps = masks.iou(mine, theirs, image.height, image.width)
    rows, columns = linear_sum_assignment(-overlaps)
    same = [float(value) for value in overlaps[rows, columns] if value >= SAME_INSTANCE]
    return min(1.0, 2.0 * sum(same) / (len(mine) + len(theirs)))
