"""Review tasks as the REST schemas show them, and decisions as their records hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast, get_args

from gateway import schemas
from gateway.keys import ApiKey
from gateway.views import image, mask, pair, short, time, word
from services.core.errors import Forbidden
from tercet.v1 import concepts_pb2, mining_pb2, records_pb2

_LEADS_ONLY: frozenset[schemas.TaskType] = frozenset({"adjudicate"})


def allowed(key: ApiKey, wanted: Sequence[schemas.TaskType] = ()) -> list[schemas.TaskType]:
    """The types of tasks that the key's person may have, of those wanted (none: of all).

    Raises `Forbidden` where some are wanted and none of them may be had.
    """
    every: tuple[schemas.TaskType, ...] = get_args(schemas.TaskType)
    asked = list(wanted) or every
    found = [kind for kind in asked if kind not in _LEADS_ONLY or key.may("lead")]
    if not found:
        raise Forbidden(f"tasks of the type {' or '.join(sorted(_LEADS_ONLY))} need a key with the role lead")
    return found


def task_types(types: Sequence[schemas.TaskType]) -> list[records_pb2.TaskType.ValueType]:
    """The proto's values of the types."""
    return [records_pb2.TaskType.Value(f"TASK_TYPE_{name.upper()}") for name in types]


def leased(held: mining_pb2.LeasedTask, names: Mapping[str, str]) -> schemas.LeasedTask:
    """A task with its lease. `names`: of the keys of those who wrote comments."""
    return schemas.LeasedTask(
        task=task(held.task),
        lease_id=held.lease_id,
        expires_at=time(held.expires_at),
        comments=_comments(held.comments, names),
    )


def task(item: records_pb2.ReviewTask) -> schemas.ReviewTask:
    """One piece of human work."""
    asked = item.run.spec
    return schemas.ReviewTask(
        id=item.id,
        type=_type(item.type),
        job_id=item.run.job_id,
        stage=cast(schemas.Stage, word(concepts_pb2.Stage.Name(asked.stage), "STAGE_") or "automatic"),
        tier=cast(schemas.Tier, word(concepts_pb2.Tier.Name(asked.tier), "TIER_") or "synthetic"),
        image=image(item.image, [item.run.job_id]),
        pair=pair(item.pair) if item.HasField("pair") else None,
        regions=[region(found) for found in item.regions],
        priority=short(item.priority),
        reasons=list(item.reasons),
        copy_number=item.copy,
        created_at=time(item.created_at),
        round=item.round,
        siblings=[_sibling(other) for other in item.siblings],
        versions=[
            schemas.GoldVersion(
                annotator=version.annotator,
                decided_at=time(version.decided_at),
                pairs=[pair(one) for one in version.pairs],
            )
            for version in item.versions
        ],
        agreement=_agreement(item.agreement) if item.HasField("agreement") else None,
    )


def reopened(found: mining_pb2.UndoReviewResponse, names: Mapping[str, str]) -> schemas.Reopened:
    """A task whose decision was taken back, and the decision."""
    held, undone = found.task, found.earlier
    if undone.kind == records_pb2.DECISION_KIND_ACCEPT and held.task.HasField("pair"):
        pairs = [held.task.pair]
    else:
        pairs = list(undone.pairs)
    kind = word(records_pb2.DecisionKind.Name(undone.kind), "DECISION_KIND_")
    return schemas.Reopened(
        task=task(held.task),
        lease_id=held.lease_id,
        expires_at=time(held.expires_at),
        comments=_comments(held.comments, names),
        earlier=schemas.Earlier(kind=cast(schemas.DecisionKind, kind), pairs=[pair(one) for one in pairs]),
    )


def region(item: concepts_pb2.Region) -> schemas.Region:
    """A class-agnostic proposal."""
    box = item.box
    return schemas.Region(
        box=(short(box.x), short(box.y), short(box.width), short(box.height)),
        mask=mask(item.mask) if item.HasField("mask") else None,
    )


def decision(task_id: str, annotator: str, sent: schemas.DecisionRequest) -> records_pb2.ReviewDecision:
    """A decision to be checked by mining, which also says when it was made."""
    return records_pb2.ReviewDecision(
        id=sent.id,
        task_id=task_id,
        annotator=annotator,
        active_seconds=sent.active_seconds,
        kind=records_pb2.DecisionKind.Value(f"DECISION_KIND_{sent.kind.upper()}"),
        pairs=[_pair(one) for one in sent.pairs],
        comment=sent.comment,
    )


def queues(found: mining_pb2.QueueStatsResponse) -> schemas.Queues:
    """Depths of the queues."""
    return schemas.Queues(
        queues=[
            schemas.QueueDepth(
                type=_type(depth.type), waiting=depth.waiting, leased=depth.leased, decided=depth.decided
            )
            for depth in found.queues
        ],
        waiting_by_reason=dict(sorted(found.waiting_by_reason.items())),
    )


def _comments(items: Iterable[mining_pb2.Comment], names: Mapping[str, str]) -> list[schemas.Comment]:
    return [
        schemas.Comment(
            text=one.text,
            annotator=one.annotator,
            name=names.get(one.annotator, one.annotator),
            written_at=time(one.written_at),
            kind=cast(schemas.DecisionKind, word(records_pb2.DecisionKind.Name(one.kind), "DECISION_KIND_")),
            taken_back=one.taken_back,
            task_type=_type(one.task_type),
            job_id=one.job_id,
            phrases=list(one.phrases),
        )
        for one in items
    ]


def _sibling(item: records_pb2.Sibling) -> schemas.Sibling:
    return schemas.Sibling(
        phrase=item.phrase,
        polarity="negative" if item.polarity == concepts_pb2.POLARITY_NEGATIVE else "positive",
        score=short(item.score),
        verdict=cast(schemas.Verdict | None, word(concepts_pb2.Verdict.Name(item.verdict), "VERDICT_")),
    )


def _agreement(item: records_pb2.Agreement) -> schemas.Agreement:
    return schemas.Agreement(
        pairs=[
            schemas.PhraseAgreement(phrase=one.phrase, agreement=short(one.agreement)) for one in item.pairs
        ],
        annotators=[
            schemas.AnnotatorAgreement(annotator=one.annotator, agreement=short(one.agreement))
            for one in item.annotators
        ],
    )


def _type(value: records_pb2.TaskType.ValueType) -> schemas.TaskType:
    return cast(schemas.TaskType, word(records_pb2.TaskType.Name(value), "TASK_TYPE_"))


def _pair(sent: schemas.DecidedPair) -> concepts_pb2.Pair:
    negative = sent.polarity == "negative"
    return concepts_pb2.Pair(
        phrase=sent.phrase,
        polarity=concepts_pb2.POLARITY_NEGATIVE if negative else concepts_pb2.POLARITY_POSITIVE,
        hard_negative=sent.hard_negative,
        confused_with=sent.confused_with or "",
        exhaustive=sent.exhaustive,
        masks=[_mask(one) for one in sent.masks],
    )


def _mask(sent: schemas.DrawnMask) -> concepts_pb2.Mask:
    height, width = sent.rle.size
    drawn = concepts_pb2.Mask(counts=sent.rle.counts.encode(), height=height, width=width)
    if sent.box is not None:
        left, top, wide, high = sent.box
        drawn.box.CopyFrom(concepts_pb2.Box(x=left, y=top, width=wide, height=high))
    return drawn
