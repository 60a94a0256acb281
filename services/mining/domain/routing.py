"""What becomes of a verified image, by its stage and the verdicts on its pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from services.mining.domain.tasks import GOOD_MASK, pair_copy, pair_task, sampled, task_id
from services.mining.priority import PhraseHistory, Priority, Weights, of_pair
from tercet.v1 import concepts_pb2, records_pb2

GOLD_COPIES = 3


@dataclass(frozen=True, slots=True)
class Routed:
    """What becomes of a run or of a decision: at most one record for the dataset, and tasks for people."""

    accepted: records_pb2.AnnotationsAccepted | None
    tasks: Sequence[records_pb2.ReviewTask] = field(default_factory=tuple)


def route(
    verified: records_pb2.ImageVerified,
    at: Timestamp,
    histories: Mapping[str, PhraseHistory],
    weights: Weights,
) -> Routed:
    """What becomes of a verified image, whose inline bytes have been taken off, at the record's time `at`.

    Stage 1: an annotate task (gold: three). Stage 2: a task for every pair. Stage 3: the accepted pairs as
    the one models' result of the run, a task for each other pair, and audits of a random sample of the
    accepted.
    """
    run, image = verified.run, verified.image
    if run.spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
        return Routed(None, _annotate(verified, at))
    pairs = first_of_each_phrase(verified.pairs)

    def priority(pair: concepts_pb2.Pair) -> Priority:
        history = histories.get(pair.phrase, PhraseHistory())
        return of_pair(pair, pairs, history, weights, size=(image.height, image.width))

    if run.spec.stage == concepts_pb2.STAGE_SEMI_AUTOMATIC:
        return Routed(
            None,
            [
                pair_task(
                    run, image, _kind(pair), pair, at, priority(pair), "stage 2: every pair", among=pairs
                )
                for pair in pairs
            ],
        )
    accepted: list[concepts_pb2.Pair] = []
    tasks: list[records_pb2.ReviewTask] = []
    for pair in pairs:
        kept = _accepted_by_models(pair)
        if kept is None:
            verdict = concepts_pb2.Verdict.Name(pair.verdict).removeprefix("VERDICT_").lower()
            why = f"verdict {verdict}" if pair.verdict else "no verdict"
            tasks.append(pair_task(run, image, _kind(pair), pair, at, priority(pair), why, among=pairs))
            continue
        accepted.append(kept)
        if sampled(run.job_id, image.id, pair.phrase, "audit", run.spec.audit_rate):
            second = Priority(weights.second_look_bonus + priority(pair).value, ())
            why = "audit: random sample"
            audit = records_pb2.TASK_TYPE_AUDIT
            tasks.append(pair_task(run, image, audit, kept, at, second, why, among=pairs))
    return Routed(
        records_pb2.AnnotationsAccepted(
            image=image,
            run=run,
            pairs=accepted,
            tasks_opened=len(tasks),
            tier=concepts_pb2.TIER_SYNTHETIC,
            accepted_at=at,
        ),
        tasks,
    )


def first_of_each_phrase(pairs: Iterable[concepts_pb2.Pair]) -> list[concepts_pb2.Pair]:
    """The pairs without repeated phrases: a phrase is one pair of an image, and one task."""
    found: dict[str, concepts_pb2.Pair] = {}
    for pair in pairs:
        found.setdefault(pair.phrase, pair)
    return list(found.values())


def _annotate(verified: records_pb2.ImageVerified, at: Timestamp) -> list[records_pb2.ReviewTask]:
    run, image = verified.run, verified.image
    copies = GOLD_COPIES if run.spec.tier == concepts_pb2.TIER_GOLD else 1
    return [
        records_pb2.ReviewTask(
            id=task_id(run.job_id, image.id, records_pb2.TASK_TYPE_ANNOTATE, copy=copy),
            type=records_pb2.TASK_TYPE_ANNOTATE,
            image=image,
            run=run,
            regions=verified.regions,
            priority=1.0,
            reasons=["stage 1: people annotate every image"],
            copy=copy,
            created_at=at,
        )
        for copy in range(copies)
    ]


def _kind(pair: concepts_pb2.Pair) -> records_pb2.TaskType.ValueType:
    negative = pair.polarity == concepts_pb2.POLARITY_NEGATIVE
    return records_pb2.TASK_TYPE_NEGATIVE if negative else records_pb2.TASK_TYPE_REVIEW


def _accepted_by_models(pair: concepts_pb2.Pair) -> concepts_pb2.Pair | None:
    """The pair with the masks that MV accepted; None for what a person has to see."""
    if pair.verdict != concepts_pb2.VERDICT_ACCEPT:
        return None
    kept = pair_copy(pair)
    if pair.polarity == concepts_pb2.POLARITY_NEGATIVE:
        return kept
    good = [m for m in pair.masks if not m.HasField("verification") or m.verification.choice in GOOD_MASK]
    if not good:
        return None
    del kept.masks[:]
    kept.masks.extend(good)
    if pair.exhaustivity.choice == concepts_pb2.EXHAUSTIVITY_CHOICE_ACCEPT:
        kept.exhaustive = True
    return kept
