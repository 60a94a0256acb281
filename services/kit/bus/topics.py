"""The topics, and the headers of their records."""

from __future__ import annotations

from google.protobuf.message import Message as Proto

from services.kit.bus.ports import Message
from tercet.v1 import records_pb2

JOBS_EVENTS = "jobs.events"
IMAGES_SUBMITTED = "images.submitted"
IMAGES_PROPOSED = "images.proposed"
IMAGES_SEGMENTED = "images.segmented"
IMAGES_VERIFIED = "images.verified"
REVIEW_REQUESTED = "review.requested"
REVIEW_COMPLETED = "review.completed"
ANNOTATIONS_ACCEPTED = "annotations.accepted"
MODELS_PROMOTED = "models.promoted"

SCHEMAS: dict[str, type[Proto]] = {
    JOBS_EVENTS: records_pb2.JobEvent,
    IMAGES_SUBMITTED: records_pb2.ImageSubmitted,
    IMAGES_PROPOSED: records_pb2.ImageProposed,
    IMAGES_SEGMENTED: records_pb2.ImageSegmented,
    IMAGES_VERIFIED: records_pb2.ImageVerified,
    REVIEW_REQUESTED: records_pb2.ReviewRequested,
    REVIEW_COMPLETED: records_pb2.ReviewCompleted,
    ANNOTATIONS_ACCEPTED: records_pb2.AnnotationsAccepted,
    MODELS_PROMOTED: records_pb2.ModelPromoted,
}
"""The record of each topic."""

TOPICS: tuple[str, ...] = tuple(SCHEMAS)
"""Every topic, in the order of an image's way. Each has a dead-letter twin."""

DLQ_REPLAYS = "dlq.replays"
"""Which dead letters were replayed (see `services.kit.bus.dlq`); has no dead-letter twin."""

DEFAULT_PARTITIONS = 4
MAX_RECORD_BYTES = 4 * 1024 * 1024
"""Largest record: key, value and headers together; the fetch sizes and the gRPC limits agree with it."""
MAX_MESSAGE_BYTES = MAX_RECORD_BYTES + 64 * 1024
"""The brokers' `max.message.bytes`: a largest record, its framing, and what a dead letter adds to it."""
INLINE_IMAGE_BYTES = 1024 * 1024
"""An encoded image up to this size travels inside its record, a larger one as a claim check."""


def dead_letter(topic: str) -> str:
    """Name of the topic's dead-letter twin."""
    return f"{topic}.dlq"


ALL_TOPICS: tuple[str, ...] = (*TOPICS, *map(dead_letter, TOPICS), DLQ_REPLAYS)
"""What must exist on a broker."""


def configuration(topic: str) -> dict[str, str]:
    """What a broker is told about the topic when it is made.

    The log is the record, and every view is rebuilt from it: nothing expires by age or size. Who bounds a
    topic bounds how far back the views can be rebuilt.
    """
    kept = {"max.message.bytes": str(MAX_MESSAGE_BYTES), "retention.ms": "-1", "retention.bytes": "-1"}
    if topic == DLQ_REPLAYS:
        return {**kept, "cleanup.policy": "compact"}
    return kept


def encode(
    topic: str, record: Proto, *, key: str, tenant: str, job_id: str, traceparent: str = ""
) -> Message:
    """The message of a record of the topic, with its headers. Same record, same bytes."""
    headers = {"schema": record.DESCRIPTOR.full_name, "tenant": tenant, "job_id": job_id}
    if traceparent:
        headers["traceparent"] = traceparent
    return Message(topic=topic, key=key, value=record.SerializeToString(deterministic=True), headers=headers)
