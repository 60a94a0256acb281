"""Transactions on Kafka: all of the messages and offsets, or none, with the outcome known wherever it can be.

kafka-python's own recovery is not relied on: whatever goes wrong, the producer is thrown away and another one
with the same transactional id takes over, which fences the old one and settles what it left open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import structlog
from kafka.errors import KafkaError, KafkaTimeoutError, ProducerFencedError
from kafka.structs import OffsetAndMetadata, TopicPartition

from services.core.errors import Conflict, Unavailable
from services.kit.bus import kafka_clients, limits
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.ports import Message, OutcomeUnknown

log = structlog.get_logger(__name__)


class Unanswered(OutcomeUnknown):
    """The commit was asked for and not answered. `written` is where its last records are, if they are."""

    def __init__(self, message: str, written: Mapping[TopicPartition, int]) -> None:
        super().__init__(message)
        self.written = written


class Transactions:
    """The transactions of one transactional id, one at a time. Not thread-safe.

    The brokers abort a transaction that is open for `timeout_seconds`. `note` is told where the last record
    on each partition is, once it is committed.
    """

    def __init__(
        self,
        bootstrap: str,
        settings: KafkaSettings,
        transactional_id: str,
        *,
        timeout_seconds: float,
        note: Callable[[Mapping[TopicPartition, int]], None],
    ) -> None:
        self._bootstrap = bootstrap
        self._note = note
        self._timeout_seconds = timeout_seconds
        self._settings = settings
        self._id = transactional_id
        self._producer: Any = None
        self._log = log.bind(transactional_id=transactional_id)

    def start(self) -> None:
        """Have a producer; a new one fences the earlier ones of the id and settles what they left open.

        Raises `Unavailable` when that cannot be had in time.
        """
        if self._producer is not None:
            return
        producer = kafka_clients.producer(self._bootstrap, self._settings, self._id, self._timeout_seconds)
        try:
            producer.init_transactions()
        except KafkaError as error:
            _throw_away(producer)
            raise Unavailable(f"no producer {self._id}: {error!r}") from error
        self._producer = producer

    def run(
        self,
        messages: Sequence[Message],
        *,
        offsets: Mapping[TopicPartition, int] | None = None,
        group: Any = None,
    ) -> None:
        """One transaction: the messages, and the offsets of the consumer group, if any.

        `group` is the group metadata of the consumer, by which the broker refuses one that lost its
        membership. Raises `Unavailable` when nothing was written, `Unanswered` when it may have been, and
        `Conflict` when another producer has taken the transactional id.
        """
        self.start()
        written: dict[TopicPartition, int] = {}
        committing = False
        try:
            self._producer.begin_transaction()
            self._send(messages, written)
            if offsets:
                metadata = {
                    partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()
                }
                self._in_time(lambda: self._producer.send_offsets_to_transaction(metadata, group))
            committing = True
            self._in_time(self._producer.commit_transaction)
        except (KafkaError, ValueError) as error:
            fenced = self._fenced(error)
            self._log.warning("transaction failed", error=repr(error), committing=committing, fenced=fenced)
            self.discard()
            if fenced:
                raise Conflict(f"another producer is {self._id} now: {error!r}") from error
            if committing:
                raise Unanswered(f"commit not answered: {error!r}", written) from error
            raise Unavailable(f"nothing was written: {error!r}") from error
        self._note(written)

    def discard(self) -> None:
        """Throw the producer away, without waiting for it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            _throw_away(producer)

    def close(self) -> None:
        """Let the producer finish and go."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.close(timeout=10)
            except KafkaError:
                _throw_away(producer)

    def _send(self, messages: Sequence[Message], written: dict[TopicPartition, int]) -> None:
        """Send in chunks: `send` itself never blocks, however much is in flight. Fills in `written`."""
        deadline = monotonic() + self._settings.answer_seconds
        futures: list[Any] = []
        in_flight = 0
        for index, message in enumerate(messages):
            futures.append(
                self._producer.send(
                    message.topic,
                    key=message.key.encode(),
                    value=message.value,
                    headers=[(name, value.encode()) for name, value in message.headers.items()],
                )
            )
            in_flight += limits.size(message)
            if in_flight >= self._settings.chunk_bytes or index == len(messages) - 1:
                for future in futures:
                    placed = future.get(timeout=max(0.0, deadline - monotonic()))
                    partition = TopicPartition(placed.topic, placed.partition)
                    written[partition] = max(placed.offset, written.get(partition, -1))
                futures.clear()
                in_flight = 0
                # Each chunk has the time that a small message would have; the transaction's own timeout
                # bounds all.
                deadline = monotonic() + self._settings.answer_seconds

    def _in_time(self, call: Callable[[], None]) -> None:
        """Calls of kafka-python that may wait forever, given up after the time for an answer."""
        errors: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name=f"{self._id}-transaction", daemon=True)
        thread.start()
        thread.join(self._settings.answer_seconds)
        if thread.is_alive():
            raise KafkaTimeoutError(f"no answer within {self._settings.answer_seconds:g} s")
        if errors:
            raise errors[0]

    def _fenced(self, error: BaseException) -> bool:
        """Whether another producer has the id: kafka-python keeps the cause behind a general error."""
        last = getattr(getattr(self._producer, "_transaction_manager", None), "last_error", None)
        return isinstance(error, ProducerFencedError) or isinstance(last, ProducerFencedError)


def _throw_away(producer: Any) -> None:
    try:
        producer.close(timeout=0)
    except KafkaError:
        # close() gives up before it stops the thread when records are unsent; the thread would go on
        # retrying.
        producer._sender.force_close()
