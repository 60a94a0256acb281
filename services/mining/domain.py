"""Routing by stage and verdict, and what follows from a decision. Pure: the same record, the same answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from services.mining.priority import PhraseHistory, Priority, Weights, of_pair
from tercet.v1 import concepts_pb2, records_pb2

GOLD_COPIES = 3
WHOLE_IMAGE = (records_pb2.TASK_TYPE_ANNOTATE, records_pb2.TASK_TYPE_ADJUDICATE)
"""Types of tasks that are about an image, not about one pair of it."""
_GOOD_MASK = (concepts_pb2.MASK_CHOICE_ACCEPT, concepts_pb2.MASK_CHOICE_ACCEPT_AS_TEXT)
_SECOND_LOOK = (records_pb2.TASK_TYPE_AUDIT, records_pb2.TASK_TYPE_EXHAUSTIVITY)


@dataclass(frozen=True, slots=True)
class Routed:
    """What becomes of a run or of a decision: at most one record for the dataset, and tasks for people."""

    accepted: records_pb2.AnnotationsAccepted | None
    tasks: Sequence[records_pb2.ReviewTask] = field(default_factory=tuple)


def task_id(
    job_id: str,
    image_id: str,
    kind: records_pb2.TaskType.ValueType,
    phrase: str = "",
    copy: int = 0,
    *,
    after: str = "",
) -> str:
    """The id of a task: the same for the same question, however often it is made.

    `after`: what came before that makes it another question, such as an undo.
    """
    parts = (job_id, image_id, records_pb2.TaskType.Name(kind), phrase, str(copy))
    return _digest(*parts, *([after] if after else [])).hex()[:32]


def sampled(job_id: str, image_id: str, phrase: str, purpose: str, rate: float) -> bool:
    """Whether a pair is in the random sample of a purpose: a coin that falls the same way at every replay."""
    drawn = int.from_bytes(_digest(purpose, job_id, image_id, phrase)[:8], "big")
    return drawn < rate * 2.0**64


def timestamp(milliseconds: int) -> Timestamp:
    """A record's time. What is made from a record has this time, so that a replay gives the same."""
    at = Timestamp()
    at.FromMilliseconds(milliseconds)
    return at


def seconds(at: Timestamp) -> float:
    """A record's time in seconds since the epoch."""
    return at.ToMilliseconds() / 1000


def is_gold(spec: records_pb2.JobSpec) -> bool:
    """Whether three people annotate each image, alone."""
    return spec.tier == concepts_pb2.TIER_GOLD and spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL


def is_gold_copy(task: records_pb2.ReviewTask) -> bool:
    """Whether the task is one of the three copies of a gold image."""
    return is_gold(task.run.spec) and task.type == records_pb2.TASK_TYPE_ANNOTATE


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
                _pair_task(
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
            tasks.append(_pair_task(run, image, _kind(pair), pair, at, priority(pair), why, among=pairs))
            continue
        accepted.append(kept)
        if sampled(run.job_id, image.id, pair.phrase, "audit", run.spec.audit_rate):
            second = Priority(weights.second_look_bonus + priority(pair).value, ())
            why = "audit: random sample"
            audit = records_pb2.TASK_TYPE_AUDIT
            tasks.append(_pair_task(run, image, audit, kept, at, second, why, among=pairs))
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


def next_round(task: records_pb2.ReviewTask) -> records_pb2.ReviewTask:
    """The task as it is after an undo."""
    opened = records_pb2.ReviewTask()
    opened.CopyFrom(task)
    opened.round += 1
    return opened


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
            if mask.verification.choice not in _GOOD_MASK:
                mask.verification.CopyFrom(
                    concepts_pb2.MaskVerification(choice=concepts_pb2.MASK_CHOICE_ACCEPT, provenance=person)
                )
    return pairs


def first_of_each_phrase(pairs: Iterable[concepts_pb2.Pair]) -> list[concepts_pb2.Pair]:
    """The pairs without repeated phrases: a phrase is one pair of an image, and one task."""
    found: dict[str, concepts_pb2.Pair] = {}
    for pair in pairs:
        found.setdefault(pair.phrase, pair)
    return list(found.values())


def corrected(task: records_pb2.ReviewTask, decision: records_pb2.ReviewDecision) -> bool:
    """Whether the decision changed what the models had made."""
    return task.type not in WHOLE_IMAGE and decision.kind != records_pb2.DECISION_KIND_ACCEPT


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


def _pair_task(
    run: records_pb2.Run,
    image: records_pb2.Image,
    kind: records_pb2.TaskType.ValueType,
    pair: concepts_pb2.Pair,
    at: Timestamp,
    priority: Priority,
    why: str,
    *,
    among: Iterable[concepts_pb2.Pair],
    asked_as: str | None = None,
    copy: int = 0,
    after: str = "",
    excluded: Iterable[str] = (),
) -> records_pb2.ReviewTask:
    """A task on a pair of those of the image, `among`, the first of each phrase.

    `asked_as` is the phrase in the task's id, where the pair's was edited since; `after` as in `task_id`.
    """
    asked = pair.phrase if asked_as is None else asked_as
    return records_pb2.ReviewTask(
        id=task_id(run.job_id, image.id, kind, asked, copy, after=after),
        type=kind,
        image=image,
        run=run,
        pair=pair,
        priority=priority.value,
        reasons=[why, *priority.reasons],
        excluded_annotators=list(excluded),
        copy=copy,
        created_at=at,
        siblings=[sibling(other) for other in among if other.phrase != pair.phrase],
    )


def sibling(pair: concepts_pb2.Pair) -> records_pb2.Sibling:
    """The pair without its masks."""
    return records_pb2.Sibling(
        phrase=pair.phrase, polarity=pair.polarity, score=pair.score, verdict=pair.verdict
    )


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
    good = [m for m in pair.masks if not m.HasField("verification") or m.verification.choice in _GOOD_MASK]
    if not good:
        return None
    del kept.masks[:]
    kept.masks.extend(good)
    if pair.exhaustivity.choice == concepts_pb2.EXHAUSTIVITY_CHOICE_ACCEPT:
        kept.exhaustive = True
    return kept


def _wants_second_person(task: records_pb2.ReviewTask, pair: concepts_pb2.Pair, *, added: bool) -> bool:
    if pair.polarity != concepts_pb2.POLARITY_POSITIVE or task.type == records_pb2.TASK_TYPE_ADJUDICATE:
        return False
    if task.type == records_pb2.TASK_TYPE_ANNOTATE:
        return True
    if task.type in _SECOND_LOOK and not added:
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
    check = _pair_task(
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
    if task.type not in _SECOND_LOOK or any(pair.phrase == task.pair.phrase for pair in pairs):
        return []
    gone = pair_copy(task.pair)
    del gone.masks[:]
    gone.verdict = concepts_pb2.VERDICT_REJECT
    gone.exhaustive = False
    return [gone]


def pair_copy(pair: concepts_pb2.Pair) -> concepts_pb2.Pair:
    """The pair, to be changed."""
    copied = concepts_pb2.Pair()
    copied.CopyFrom(pair)
    return copied


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\x1f".join(parts).encode()).digest()
