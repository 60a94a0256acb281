"""The Kafka doors: records in, messages out. What they mean is in `handlers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import redis
import structlog
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Proto

from services.core.errors import InvalidInput
from services.kit.bus.outcomes import Done, Handler, Outcome, Poison
from services.kit.bus.ports import Bus, Message, Record
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    IMAGES_VERIFIED,
    JOBS_EVENTS,
    REVIEW_COMPLETED,
    REVIEW_REQUESTED,
)
from services.kit.bus.worker import Worker
from services.kit.clock import Clock
from services.kit.state import rebuild as kit_rebuild
from services.mining.handlers import Routing
from services.mining.view import PREFIX
from tercet.v1 import records_pb2

log = structlog.get_logger(__name__)

ROUTER_GROUP = "mining"
VIEW_GROUP = "mining-view"
VIEW_TOPICS = (JOBS_EVENTS, REVIEW_REQUESTED, REVIEW_COMPLETED, ANNOTATIONS_ACCEPTED)
"""In the order in which a rebuild reads them."""
_OWNED = (IMAGES_VERIFIED, REVIEW_REQUESTED, REVIEW_COMPLETED)
"""What mining alone works: a record of the others that cannot be read is a dead letter of someone else."""

P = TypeVar("P", bound=Proto)


def router(bus: Bus, routing: Routing, clock: Clock, skip: Callable[[Record], bool]) -> Worker:
    """images.verified -> review.requested, annotations.accepted; cancelled jobs are skipped."""
    return Worker(
        bus=bus,
        group=ROUTER_GROUP,
        topics=(IMAGES_VERIFIED,),
        handler=_one_by_one(lambda record: _route(routing, record)),
        clock=clock,
        skip=skip,
    )


def viewer(bus: Bus, routing: Routing, clock: Clock) -> Worker:
    """The log -> the view; review.completed -> annotations.accepted, review.requested."""
    return Worker(
        bus=bus,
        group=VIEW_GROUP,
        topics=VIEW_TOPICS,
        handler=_one_by_one(lambda record: apply(routing, record)),
        clock=clock,
    )


def rebuild(bus: Bus, state: redis.Redis, routing: Routing) -> None:
    """The view again, from the log. What follows from decisions is there already, or its worker writes it."""

    def again(record: Record) -> None:
        try:
            apply(routing, record, again=True)
        except InvalidInput as error:
            log.warning("record passed over", topic=record.topic, offset=record.offset, reason=str(error))

    kit_rebuild.rebuild(state=state, prefix=PREFIX, bus=bus, topics=VIEW_TOPICS, apply=again)


def apply(routing: Routing, record: Record, *, again: bool = False) -> tuple[Message, ...]:
    """One record into the view; what follows from it. The same again changes nothing.

    `again`: at a rebuild, which wants only the view.
    """
    if record.topic == JOBS_EVENTS:
        routing.cancelled(_parse(records_pb2.JobEvent, record))
        return ()
    if record.topic == REVIEW_REQUESTED:
        routing.requested(_parse(records_pb2.ReviewRequested, record))
        return ()
    if record.topic == ANNOTATIONS_ACCEPTED:
        routing.accepted(_parse(records_pb2.AnnotationsAccepted, record))
        return ()
    completed = _parse(records_pb2.ReviewCompleted, record)
    position = f"{record.partition}/{record.offset}"
    if completed.decision.kind == records_pb2.DECISION_KIND_UNDO:
        return routing.undone(completed, position, record.timestamp_ms, again=again)
    return routing.completed(completed, position, record.timestamp_ms, again=again)


def _route(routing: Routing, record: Record) -> tuple[Message, ...]:
    verified = _parse(records_pb2.ImageVerified, record)
    if not verified.image.id or not verified.image.tenant or not verified.run.job_id:
        raise InvalidInput("the record lacks its image id, tenant or job id")
    return routing.route(verified, record.timestamp_ms)


def _parse(schema: type[P], record: Record) -> P:
    try:
        return schema.FromString(record.value)
    except DecodeError as error:
        raise InvalidInput(f"the record is no {schema.DESCRIPTOR.full_name}: {error}") from error


def _one_by_one(work: Callable[[Record], tuple[Message, ...]]) -> Handler:
    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for record in records:
            try:
                outcomes.append(Done(work(record)))
            except InvalidInput as error:
                poison = Poison(type(error).__name__, str(error))
                outcomes.append(poison if record.topic in _OWNED else Done())
        return outcomes

    return handle
