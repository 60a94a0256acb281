"""Reading Kafka outside any consumer group: committed records, their offsets, and where a topic ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from services.core.errors import Unavailable
from services.kit.bus import kafka_clients
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.ports import Record

Span = tuple[TopicPartition, int, int]
"""A partition, the first offset wanted, and the one after the last."""


class KafkaReader:
    """Reads committed records. Thread-safe; raises `Unavailable` when Kafka does not answer."""

    def __init__(self, bootstrap: str, settings: KafkaSettings) -> None:
        self._bootstrap = bootstrap
        self._settings = settings
        self._lock = threading.Lock()
        self._shared: Any = None
        self._written: dict[TopicPartition, int] = {}

    def note(self, written: Mapping[TopicPartition, int]) -> None:
        """This process committed records up to these offsets: what is read from now on includes them.

        A commit is answered before its markers are in the partitions, and up to them nothing can be read.
        """
        with self._lock:
            for partition, offset in written.items():
                self._written[partition] = max(offset, self._written.get(partition, -1))

    def partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        """All partitions of the topics, in order. Raises `Unavailable` for a topic that does not exist."""
        found = self.existing(topics)
        missing = set(topics) - {partition.topic for partition in found}
        if missing:
            raise Unavailable(f"there is no topic {', '.join(sorted(missing))}")
        return found

    def existing(self, topics: Sequence[str]) -> list[TopicPartition]:
        """All partitions of those of the topics that exist, in order."""
        with self._borrowed() as consumer:
            return [
                TopicPartition(topic, number)
                for topic in topics
                for number in sorted(consumer.partitions_for_topic(topic) or ())
            ]

    def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after the last one that is decided (the last stable offset) of each partition.

        It includes what this process has committed. Raises `Unavailable` when that is not decided in time.
        """
        if not partitions:
            return {}
        deadline = monotonic() + self._settings.answer_seconds
        while True:
            with self._borrowed() as consumer:
                ends = dict(consumer.end_offsets(list(partitions)))
                late = [
                    partition
                    for partition in partitions
                    if ends[partition] <= self._written.get(partition, -1)
                ]
            if not late:
                return ends
            if monotonic() > deadline:
                raise Unavailable(f"an open transaction hides what was written to {late}")
            threading.Event().wait(0.005)

    def starts(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that is kept of each partition."""
        with self._borrowed() as consumer:
            return dict(consumer.beginning_offsets(list(partitions))) if partitions else {}

    def spans(self, topics: Sequence[str], since_ms: int | None) -> list[Span]:
        """What there is to be read now, from the start or from the first record since then."""
        partitions = self.partitions(topics)
        ends = self.ends(partitions)
        if since_ms is None:
            starts = self.starts(partitions)
        else:
            with self._borrowed() as consumer:
                found = consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
            starts = {
                partition: ends[partition] if found.get(partition) is None else found[partition].offset
                for partition in partitions
            }
        return [(partition, starts[partition], ends[partition]) for partition in partitions]

    def read(self, spans: Sequence[Span]) -> Iterator[Record]:
        """The committed records of the spans, topic by topic, in order within a partition."""
        wanted = [span for span in spans if span[1] < span[2]]
        if not wanted:
            return
        consumer = self._connect()
        try:
            for topic in dict.fromkeys(partition.topic for partition, _, _ in wanted):
                yield from self._read_topic(consumer, [span for span in wanted if span[0].topic == topic])
        except KafkaError as error:
            raise Unavailable(f"cannot read: {error!r}") from error
        finally:
            consumer.close(autocommit=False)

    def first(self, partition: TopicPartition, offset: int, end: int) -> Record | None:
        """The first committed record from the offset on and before the end."""
        with self._borrowed() as consumer:
            return next(self._read_topic(consumer, [(partition, offset, end)]), None)

    def holds(self, partition: TopicPartition, offset: int) -> bool:
        """Whether a record that was sent to the offset was committed, once its transaction is decided."""
        self.note({partition: offset})
        self.ends([partition])
        return self.first(partition, offset, offset + 1) is not None

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._drop()

    def _read_topic(self, consumer: Any, spans: Sequence[Span]) -> Iterator[Record]:
        left = {partition: end for partition, _, end in spans}
        consumer.assign(list(left))
        for partition, start, _ in spans:
            consumer.seek(partition, start)
        silent_since = monotonic()
        while left:
            polled = consumer.poll(timeout_ms=20, max_records=100)
            for partition, records in polled.items():
                for record in records:
                    if record.offset < left.get(partition, 0):
                        yield record_of(record)
            # The position passes the markers of transactions and what was aborted; the last record may not
            # come.
            done = [
                partition for partition, end in left.items() if (consumer.position(partition) or 0) >= end
            ]
            for partition in done:
                del left[partition]
                consumer.pause(partition)
            if polled or done:
                silent_since = monotonic()
            elif monotonic() - silent_since > self._settings.answer_seconds:
                raise Unavailable(
                    f"no records within {self._settings.answer_seconds:g} s from {sorted(left)}"
                )

    def _connect(self) -> Any:
        return kafka_clients.reader(self._bootstrap, self._settings)

    def _drop(self) -> None:
        consumer, self._shared = self._shared, None
        if consumer is not None:
            consumer.close(autocommit=False)

    @contextmanager
    def _borrowed(self) -> Iterator[Any]:
        """The shared consumer, for one caller at a time; thrown away when it fails."""
        with self._lock:
            if self._shared is None:
                self._shared = self._connect()
            try:
                yield self._shared
            except KafkaError as error:
                self._drop()
                raise Unavailable(f"Kafka does not answer: {error!r}") from error


def record_of(polled: Any) -> Record:
    """A record as kafka-python gives it, as ours."""
    return Record(
        topic=polled.topic,
        partition=polled.partition,
        offset=polled.offset,
        timestamp_ms=polled.timestamp,
        key=(polled.key or b"").decode(errors="replace"),
        headers={name: (value or b"").decode(errors="replace") for name, value in polled.headers},
        value=polled.value or b"",
    )
