"""What follows from a person's decision, and from its undo."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from services.mining.domain.routing import Routed
from services.mining.domain.tasks import (
    GOOD_MASK,
    SECOND_LOOK,
    WHOLE_IMAGE,
    pair_copy,
    pair_task,
    sampled,
)
from services.mining.priority import Priority, Weights
from tercet.v1 import concepts_pb2, records_pb2


def consequences(completed: records_pb2.ReviewCompleted, at: Timestamp, weights: Weights) -> Routed:
    """What follows from the first decision on a task, at its record's time: one record for the dataset.

    The record holds the pairs as they are from now on. A pair with VERDICT_REJECT in it withdraws the phrase
    that an earlier record of the run had accepted. `tasks_opened` counts the second person's checks to come.
    """
    task, decision = completed.task, completed.decision
    pairs = decided_pairs(task, decision)
    new = added_phrases(task, decision)
    checks = [
        _second_person(task, decision, pair, pairs, at, weights, added=pair.phrase in new)
        for pair in pairs
        if _wants_second_person(task, pair, added=pair.phrase in new)
    ]
    if task.type == records_pb2.TASK_TYPE_ANNOTATE:
        for pair in pairs:  # known to be exhaustive only once the second person has said so
            pair.exhaustive = False
    gold = task.run.spec.tier == concepts_pb2.TIER_GOLD
    return Routed(
        records_pb2.AnnotationsAccepted(
            image=task.image,
            run=task.run,
            pairs=[*pairs, *_withdrawn(task, pairs)],
            task_id=task.id,
            tasks_opened=len(checks),
            tier=concepts_pb2.TIER_GOLD if gold else concepts_pb2.TIER_SILVER,
            accepted_at=at,
            round=task.round,
            adjudicated=task.type == records_pb2.TASK_TYPE_ADJUDICATE,
        ),
        checks,
    )


def taken_back(
    undo: records_pb2.ReviewCompleted, at: Timestamp, weights: Weights, *, adjudication: bool
) -> tuple[records_pb2.AnnotationsAccepted, Sequence[str]]:
    """What follows from an undo: the record that withdraws the decision's, and the ids of its checks.

    `adjudication`: the undone version of a gold image was one of three that a lead was to adjudicate; that
    task goes, too.
    """
    task = undo.task
    checks = follow_ups(task, undo.undone, weights)
    gold = task.run.spec.tier == concepts_pb2.TIER_GOLD
    record = records_pb2.AnnotationsAccepted(
        image=task.image,
        run=task.run,
        task_id=task.id,
        tasks_opened=len(checks) + int(adjudication),
        tier=concepts_pb2.TIER_GOLD if gold else concepts_pb2.TIER_SILVER,
        accepted_at=at,
        round=task.round,
        withdrawn=True,
        adjudicated=task.type == records_pb2.TASK_TYPE_ADJUDICATE,
    )
    return record, checks


def follow_ups(
    task: records_pb2.ReviewTask, decision: records_pb2.ReviewDecision, weights: Weights
) -> list[str]:
    """The ids of the second person's checks that a decision opens."""
    made = records_pb2.ReviewCompleted(tenant=task.image.tenant, task=task, decision=decision)
    return [check.id for check in consequences(made, task.created_at, weights).tasks]


def added_phrases(task: records_pb2.ReviewTask, decision: records_pb2.ReviewDecision) -> list[str]:
    """What the decision on a pair's task gave the image beside the pair itself."""
    on_image = task.type in WHOLE_IMAGE or decision.kind != records_pb2.DECISION_KIND_EDIT
    return [] if on_image else [pair.phrase for pair in decision.pairs[1:]]


def decided_pairs(
    task: records_pb2.ReviewTask, decision: records_pb2.ReviewDecision
) -> list[concepts_pb2.Pair]:
    """The pairs that stand after the decision."""
    if decision.kind == records_pb2.DECISION_KIND_REJECT:
        return []
    whole_image = task.type == records_pb2.TASK_TYPE_ANNOTATE
    as_it_is = decision.kind == records_pb2.DECISION_KIND_ACCEPT and task.type not in WHOLE_IMAGE
    pairs = [pair_copy(pair) for pair in ([task.pair] if as_it_is else decision.pairs)]
    person = concepts_pb2.Provenance(annotator=decision.annotator, made_at=decision.decided_at)
    for pair in pairs:
        pair.verdict = concepts_pb2.VERDICT_ACCEPT
        if pair.polarity == concepts_pb2.POLARITY_NEGATIVE:
            pair.exhaustive = False
            pair.negative.CopyFrom(concepts_pb2.NegativeVerification(absent=1.0, provenance=person))
            continue
        if as_it_is:
            pair.exhaustive = True
        if not whole_image and pair.exhaustive:
            pair.exhaustivity.CopyFrom(
                concepts_pb2.ExhaustivityVerification(
                    choice=concepts_pb2.EXHAUSTIVITY_CHOICE_ACCEPT, provenance=person
                )
            )
        for mask in pair.masks:
            if mask.verification.choice not in GOOD_MASK:
                mask.verification.CopyFrom(
                    concepts_pb2.MaskVerification(choice=concepts_pb2.MASK_CHOICE_ACCEPT, provenance=person)
                )
    return pairs


def corrected(task: records_pb2.ReviewTask, decision: records_pb2.ReviewDecision) -> bool:
    """Whether the decision changed what the models had made."""
    return task.type not in WHOLE_IMAGE and decision.kind != records_pb2.DECISION_KIND_ACCEPT


def _wants_second_person(task: records_pb2.ReviewTask, pair: concepts_pb2.Pair, *, added: bool) -> bool:
    if pair.polarity != concepts_pb2.POLARITY_POSITIVE or task.type == records_pb2.TASK_TYPE_ADJUDICATE:
        return False
    if task.type == records_pb2.TASK_TYPE_ANNOTATE:
        return True
    if task.type in SECOND_LOOK and not added:
        return False
    asked = pair.phrase if added else task.pair.phrase
    return sampled(task.run.job_id, task.image.id, asked, "exhaustivity", task.run.spec.exhaustivity_rate)


def _second_person(
    task: records_pb2.ReviewTask,
    decision: records_pb2.ReviewDecision,
    pair: concepts_pb2.Pair,
    decided: Sequence[concepts_pb2.Pair],
    at: Timestamp,
    weights: Weights,
    *,
    added: bool,
) -> records_pb2.ReviewTask:
    whole_image = task.type == records_pb2.TASK_TYPE_ANNOTATE
    check = pair_task(
        task.run,
        task.image,
        records_pb2.TASK_TYPE_EXHAUSTIVITY,
        pair,
        at,
        Priority(weights.second_look_bonus, ()),
        "second person: every pair of stage 1" if whole_image else "second person: random sample",
        among=decided,
        asked_as=pair.phrase if whole_image or added else task.pair.phrase,
        copy=task.copy,
        # Two people may give an image the same phrase, and decide again after an undo: each is another check.
        after=f"{task.id}/{task.round}" if added or task.round else "",
        excluded=sorted({*task.excluded_annotators, decision.annotator}),
    )
    known = {one.phrase for one in check.siblings} | {pair.phrase, task.pair.phrase}
    check.siblings.extend(one for one in task.siblings if one.phrase not in known)
    return check


def _withdrawn(task: records_pb2.ReviewTask, pairs: Sequence[concepts_pb2.Pair]) -> list[concepts_pb2.Pair]:
    """The task's pair as withdrawn, where an earlier record had accepted it and it is not among `pairs`."""
    if task.type not in SECOND_LOOK or any(pair.phrase == task.pair.phrase for pair in pairs):
        return []
    gone = pair_copy(task.pair)
    del gone.masks[:]
    gone.verdict = concepts_pb2.VERDICT_REJECT
    gone.exhaustive = False
    return [gone]
