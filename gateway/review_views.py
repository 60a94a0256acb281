"""Review tasks as the REST schemas show them, and decisions as their records hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from gateway import schemas
from gateway.views import image, mask, pair, short, time, word
from tercet.v1 import concepts_pb2, mining_pb2, records_pb2


def task_types(types: Sequence[schemas.TaskType]) -> list[records_pb2.TaskType.ValueType]:
    """The proto's values of the types."""
    return [records_pb2.TaskType.Value(f"TASK_TYPE_{name.upper()}") for name in types]


def leased(held: mining_pb2.LeasedTask) -> schemas.LeasedTask:
    """A task with its lease."""
    return schemas.LeasedTask(task=task(held.task), lease_id=held.lease_id, expires_at=time(held.expires_at))


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
