"""The Kafka door: the whole log into the view and the object store; the end of jobs out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import redis
import structlog
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Proto

from services.core.errors import InvalidInput
from services.dataset import domain
from services.dataset.handlers import Recording
from services.dataset.view import PREFIX
from services.kit.bus.dlq import Header
from services.kit.bus.outcomes import Done, Outcome, Poison
from services.kit.bus.ports import Bus, Message, Record
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    IMAGES_PROPOSED,
    IMAGES_SEGMENTED,
    IMAGES_SUBMITTED,
    IMAGES_VERIFIED,
    JOBS_EVENTS,
    REVIEW_COMPLETED,
    REVIEW_REQUESTED,
    dead_letter,
    encode,
)
from services.kit.bus.worker import Worker
from services.kit.clock import Clock
from services.kit.state import rebuild as kit_rebuild
from tercet.v1 import records_pb2

log = structlog.get_logger(__name__)

GROUP: Final = "dataset"
_TOPICS: Final = (
    JOBS_EVENTS,
    IMAGES_SUBMITTED,
    IMAGES_PROPOSED,
    IMAGES_SEGMENTED,
    IMAGES_VERIFIED,
    REVIEW_REQUESTED,
    REVIEW_COMPLETED,
    ANNOTATIONS_ACCEPTED,
)
TOPICS: Final = (*_TOPICS, *map(dead_letter, _TOPICS))
"""In the order in which a rebuild reads them: what jobs have told already comes first."""
_OWNED: Final = (JOBS_EVENTS, ANNOTATIONS_ACCEPTED)
"""What this service alone must work; an unreadable record of another topic is its stage's dead letter."""

P = TypeVar("P", bound=Proto)


def worker(bus: Bus, recording: Recording, clock: Clock) -> Worker:
    """The consumer group's member of this process."""

    def handle(records: Sequence[Record]) -> list[Outcome]:
        return [_outcome(recording, record) for record in records]

    return Worker(bus=bus, group=GROUP, topics=TOPICS, handler=handle, clock=clock)


def rebuild(bus: Bus, state: redis.Redis, recording: Recording) -> None:
    """The view again, from the log. Ends of jobs are not told again: those told are in the log."""

    def again(record: Record) -> None:
        try:
            apply(recording, record, again=True)
        except InvalidInput as error:
            log.warning("record passed over", topic=record.topic, offset=record.offset, reason=str(error))

    kit_rebuild.rebuild(state=state, prefix=PREFIX, bus=bus, topics=TOPICS, apply=again)


def apply(recording: Recording, record: Record, *, again: bool = False) -> tuple[str, str] | None:
    """One record into the view and the object store: the tenant and job whose work it may have ended.

    Idempotent, in any order over topics. `again`: the object store most probably has it already. Raises
    `InvalidInput` for a record that cannot be read.
    """
    match record.topic:
        case topic if topic.endswith(".dlq"):
            return _dead_letter(recording, record)
        case "jobs.events":
            event = _parse(records_pb2.JobEvent, record)
            _require(event.tenant, event.job_id)
            recording.job(event)
            return None if event.HasField("finished") else (event.tenant, event.job_id)
        case "images.submitted":
            submitted = _parse(records_pb2.ImageSubmitted, record)
            about = _about(submitted.image, submitted.run)
            recording.submitted(submitted)
        case "images.proposed":
            proposed = _parse(records_pb2.ImageProposed, record)
            about = _about(proposed.image, proposed.run)
            recording.step(record.topic, proposed.image, proposed.run)
        case "images.segmented":
            segmented = _parse(records_pb2.ImageSegmented, record)
            about = _about(segmented.image, segmented.run)
            recording.step(record.topic, segmented.image, segmented.run)
        case "images.verified":
            verified = _parse(records_pb2.ImageVerified, record)
            about = _about(verified.image, verified.run)
            recording.verified(verified, record.offset, record.timestamp_ms, again=again)
        case "review.requested":
            requested = _parse(records_pb2.ReviewRequested, record)
            about = _about(requested.task.image, requested.task.run)
            recording.requested(requested)
        case "review.completed":
            completed = _parse(records_pb2.ReviewCompleted, record)
            about = _about(completed.task.image, completed.task.run)
            recording.completed(completed, record.offset)
        case _:
            accepted = _parse(records_pb2.AnnotationsAccepted, record)
            about = _about(accepted.image, accepted.run)
            recording.accepted(accepted, record.offset, record.timestamp_ms, again=again)
    return about


def _outcome(recording: Recording, record: Record) -> Outcome:
    try:
        about = apply(recording, record)
    except InvalidInput as error:
        if record.topic in _OWNED:
            return Poison(type(error).__name__, str(error))
        log.warning("record passed over", topic=record.topic, offset=record.offset, reason=str(error))
        return Done()
    if about is None:
        return Done()
    tenant, job_id = about
    cause = f"{record.topic}/{record.partition}/{record.offset}"
    event = recording.claim(tenant, job_id, cause, record.timestamp_ms)
    return Done() if event is None else Done((_told(event),))


def _told(event: records_pb2.JobEvent) -> Message:
    return encode(JOBS_EVENTS, event, key=event.job_id, tenant=event.tenant, job_id=event.job_id)


def _dead_letter(recording: Recording, record: Record) -> tuple[str, str] | None:
    headers = record.headers
    learnt = domain.of_dead_letter(
        headers.get(Header.TOPIC, record.topic.removesuffix(".dlq")),
        record.key,
        headers,
        record.offset,
        reason=headers.get(Header.REASON, ""),
        error=headers.get(Header.ERROR, ""),
        group=headers.get(Header.GROUP, ""),
    )
    if learnt is None:
        return None
    recording.failed(learnt)
    return learnt.tenant, learnt.job_id


def _parse(schema: Callable[[], P], record: Record) -> P:
    found = schema()
    try:
        found.ParseFromString(record.value)
    except DecodeError as error:
        raise InvalidInput(f"the record is no {found.DESCRIPTOR.full_name}: {error}") from error
    return found


def _about(image: records_pb2.Image, run: records_pb2.Run) -> tuple[str, str]:
    _require(image.tenant, run.job_id, image.id)
    return image.tenant, run.job_id


def _require(*values: str) -> None:
    if not all(values):
        raise InvalidInput("the record lacks its tenant, job id or image id")
