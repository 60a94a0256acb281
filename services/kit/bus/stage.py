"""The Kafka door of a stage: decode a record, hand it to the use-case, encode what comes back.

The records of a batch are worked in threads, so that their model calls meet in the server's batches. A
record that cannot be worked is poison with its reason and its neighbours go on; when a part that is needed
is away, the whole batch is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError

from services.core.errors import InvalidInput, TooLarge
from services.kit import tracing
from services.kit.blobs.images import ImageStore
from services.kit.bus.outcomes import Done, Outcome, Poison
from services.kit.bus.ports import Record
from services.kit.bus.topics import MAX_RECORD_BYTES, SCHEMAS, encode
from services.kit.bus.worker import Worker
from services.kit.service import Adapters
from services.kit.state.cancelled import CancelledJobs
from tercet.v1 import concepts_pb2, records_pb2

Source = TypeVar("Source", records_pb2.ImageSubmitted, records_pb2.ImageProposed, records_pb2.ImageSegmented)
Target = TypeVar("Target", records_pb2.ImageProposed, records_pb2.ImageSegmented, records_pb2.ImageVerified)

ROOM = 8 * 1024
"""Bytes of a record kept for its key and headers."""


@dataclass(frozen=True)
class StageHandler(Generic[Source, Target]):
    """A `Handler` for `Worker`: `work` makes the record of topic `target` from a record of topic `source`.

    `work` raises `InvalidInput` for a record that can never be worked; the message is the reason shown to
    people.
    """

    source: str
    target: str
    work: Callable[[Source], Target]
    images: ImageStore
    threads: int

    def worker(self, group: str, adapters: Adapters) -> Worker:
        """The consumer group's member of this process; it skips the images of cancelled jobs."""
        return Worker(
            bus=adapters.bus,
            group=group,
            topics=[self.source],
            handler=self,
            clock=adapters.clock,
            skip=CancelledJobs(adapters.redis).skip,
        )

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        with ThreadPoolExecutor(self.threads, thread_name_prefix=self.target) as pool:
            futures = [pool.submit(self._outcome, record) for record in records]
            try:
                return [future.result() for future in futures]
            except Exception:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _outcome(self, record: Record) -> Outcome:
        parent = record.headers.get(tracing.TRACEPARENT, "")
        with tracing.span(f"{self.source} -> {self.target}", parent=parent, attributes={"image": record.key}):
            try:
                target = fitted(self.work(self._decoded(record)), self.images)
            except InvalidInput as error:
                return Poison(type(error).__name__, str(error))
            message = encode(
                self.target,
                target,
                key=target.image.id,
                tenant=target.image.tenant,
                job_id=target.run.job_id,
                traceparent=tracing.traceparent(),
            )
            return Done((message,))

    def _decoded(self, record: Record) -> Source:
        schema = SCHEMAS[self.source]
        found = schema()
        try:
            found.ParseFromString(record.value)
        except DecodeError as error:
            raise InvalidInput(f"the record is no {schema.DESCRIPTOR.full_name}: {error}") from error
        for name, value in (
            ("an image id", found.image.id),  # type: ignore[attr-defined]
            ("a tenant", found.image.tenant),  # type: ignore[attr-defined]
            ("a job id", found.run.job_id),  # type: ignore[attr-defined]
        ):
            if not value:
                raise InvalidInput(f"the record has not {name}")
        return found  # type: ignore[return-value]


def fitted(record: Target, images: ImageStore, limit: int = MAX_RECORD_BYTES - ROOM) -> Target:
    """The record within the limit of bytes.

    Where it is too large the inline image goes first (the blob store has it), then the masks of negative
    pairs (they are evidence, not annotation). Raises `TooLarge` when even that is not enough.
    """
    if record.ByteSize() <= limit:
        return record
    if record.image.WhichOneof("content") == "inline":
        images.put(record.image, record.image.inline)
    record.image.CopyFrom(images.without_content(record.image))
    if record.ByteSize() > limit and not isinstance(record, records_pb2.ImageProposed):
        for pair in record.pairs:
            if pair.polarity == concepts_pb2.POLARITY_NEGATIVE:
                pair.ClearField("masks")
    if (size := record.ByteSize()) > limit:
        raise TooLarge(f"the masks of this image need {size} bytes; a record may have {limit}")
    return record
