"""A member of a Kafka consumer group whose offsets are committed with the outputs, in one transaction."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import structlog
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError
from kafka.structs import MemberState, TopicPartition

from services.core.errors import Conflict, Unavailable
from services.kit.bus import kafka_clients, limits
from services.kit.bus.kafka_join import keep_join_results
from services.kit.bus.kafka_reader import record_of
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.kafka_transactions import Transactions
from services.kit.bus.ports import Message, OutcomeUnknown, Record

log = structlog.get_logger(__name__)

_JOIN_SECONDS = 0.05


class KafkaMember:
    """A `Consumer` on Kafka.

    For each partition it keeps the span of offsets that was delivered and is not committed. A partition that
    leaves takes its span along, so that its records can no longer be committed, even if it comes back:
    whoever had it meanwhile may have committed them. The group's generation fences what this member cannot
    know.
    """

    def __init__(
        self,
        bootstrap: str,
        settings: KafkaSettings,
        *,
        group: str,
        topics: Sequence[str],
        transactions: Transactions,
        on_close: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._transactions = transactions
        self._on_close = on_close
        self._log = log.bind(group=group)
        self._held: deque[Record] = deque()
        self._spans: dict[TopicPartition, tuple[int, int]] = {}
        self._paused = False
        self._unsettled = False
        self._departures = _Departures()
        self._closed = False
        self._consumer = kafka_clients.member(bootstrap, settings, group)
        keep_join_results(self._consumer)
        self._consumer.subscribe(topics=list(topics), listener=self._departures)

    def poll(self, *, max_records: int, timeout: float, max_bytes: int | None = None) -> list[Record]:
        """See `Consumer.poll`."""
        self._check_open()
        try:
            if not self._paused:
                self._settle()
                self._forget_departed()
                if self._held:
                    return self._take(max_records, max_bytes)
            if self._consumer.group_metadata().state is not MemberState.STABLE:
                # A rebalance gets nowhere in polls that end at once.
                timeout = max(timeout, _JOIN_SECONDS)
            polled = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=max_records)
            self._forget_departed()
            for records in polled.values():
                self._held.extend(map(record_of, records))
            if self._paused:
                # A partition that came during the pause flows until it is paused as well.
                self._consumer.pause(*self._consumer.assignment())
                return []
            return self._take(max_records, max_bytes)
        except KafkaError as error:
            raise Unavailable(f"cannot poll: {error!r}") from error

    def pause(self) -> None:
        """See `Consumer.pause`."""
        self._paused = True
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """See `Consumer.resume`."""
        self._paused = False
        self._consumer.resume(*self._consumer.paused())

    def commit(self, records: Sequence[Record], outputs: Sequence[Message]) -> None:
        """See `Consumer.commit`."""
        self._check_open()
        limits.check(outputs)
        membership = self._consumer.group_metadata()
        self._forget_departed()
        ends: dict[TopicPartition, int] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            first, end = self._spans.get(partition, (0, 0))
            if not first <= record.offset < end:
                self.rewind()
                raise Unavailable(
                    f"{record.topic}/{record.partition} went to another member; nothing was committed"
                )
            ends[partition] = max(ends.get(partition, 0), record.offset + 1)
        if membership.generation_id < 0 or not membership.member_id:
            # Without them the broker would take the offsets from anyone.
            self.rewind()
            raise Unavailable("the membership of the group was lost; nothing was committed")
        try:
            self._transactions.run(outputs, offsets=ends, group=membership)
        except (Unavailable, Conflict) as error:
            self._unsettled = self._unsettled or isinstance(error, OutcomeUnknown)
            self.rewind()
            self._end_what_is_open()
            if isinstance(error, Conflict):
                raise Unavailable(
                    f"{error}; is {self._settings.instance} the name of two processes?"
                ) from error
            raise
        for partition, end in ends.items():
            self._spans[partition] = (end, max(end, self._spans[partition][1]))

    def rewind(self) -> None:
        """See `Consumer.rewind`."""
        self._forget_departed()
        self._held.clear()
        for partition, (first, _) in list(self._spans.items()):
            self._seek(partition, first)

    def close(self) -> None:
        """See `Consumer.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            self._consumer.close(autocommit=False, timeout_ms=10_000)
        except KafkaError as error:
            self._log.warning("left the group without saying so", error=repr(error))
        self._transactions.close()
        self._on_close()

    def _take(self, max_records: int, max_bytes: int | None) -> list[Record]:
        taken: list[Record] = []
        left = max_bytes
        while self._held and len(taken) < max_records:
            record = self._held[0]
            partition = TopicPartition(record.topic, record.partition)
            first, end = self._spans.get(partition, (record.offset, record.offset))
            if record.offset < end:  # delivered before
                self._held.popleft()
                continue
            if left is not None:
                left -= limits.size(record)
                if taken and left < 0:
                    break
            taken.append(self._held.popleft())
            self._spans[partition] = (first, record.offset + 1)
        return taken

    def _settle(self) -> None:
        """After a commit whose outcome is unknown: have it settled, then go on from the committed offsets."""
        if not self._unsettled:
            return
        self._transactions.start()
        for partition, (first, _) in list(self._spans.items()):
            committed = self._consumer.committed(
                partition, timeout_ms=int(self._settings.answer_seconds * 1000)
            )
            self._seek(partition, first if committed is None else max(first, committed))
        self._unsettled = False

    def _end_what_is_open(self) -> None:
        """Readers wait behind an open transaction: the new producer ends it now, if Kafka can be reached."""
        try:
            self._transactions.start()
        except Unavailable as error:
            self._log.warning("an open transaction is left to its timeout", error=str(error))

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        try:
            self._consumer.seek(partition, offset)
        except ValueError:  # not ours any more
            del self._spans[partition]
        else:
            self._spans[partition] = (offset, offset)

    def _forget_departed(self) -> None:
        departed = self._departures.take()
        if departed:
            for partition in departed:
                self._spans.pop(partition, None)
            self._held = deque(
                record
                for record in self._held
                if TopicPartition(record.topic, record.partition) not in departed
            )

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the consumer is closed")


class _Departures(ConsumerRebalanceListener):  # type: ignore[misc]
    """Which partitions left. Called on the client's own thread, so that it only takes notes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._departed: set[TopicPartition] = set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._departed.update(revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing to note: a new partition starts at its committed offset."""

    def take(self) -> set[TopicPartition]:
        """What left since the last call."""
        with self._lock:
            departed, self._departed = self._departed, set()
        return departed
