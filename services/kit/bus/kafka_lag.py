"""Lag of consumer groups on Kafka: how many records, how old the oldest is, who reads, whether it moves."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from services.core.errors import Unavailable
from services.kit.bus import kafka_clients
from services.kit.bus.kafka_reader import KafkaReader
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.ports import PartitionLag
from services.kit.clock import Clock

_Key = tuple[str, TopicPartition]


class KafkaLag:
    """Computes lag, at most once in `lag_seconds`; in between it gives the same answer again. Thread-safe.

    A call costs three requests to the group coordinators and two to the partition leaders, and one fetch for
    every partition whose oldest unread record is not the one of the call before.
    """

    def __init__(self, bootstrap: str, settings: KafkaSettings, reader: KafkaReader, clock: Clock) -> None:
        self._bootstrap = bootstrap
        self._settings = settings
        self._reader = reader
        self._clock = clock
        self._lock = threading.Lock()
        self._admin: Any = None
        self._answer: tuple[PartitionLag, ...] = ()
        self._answered_at: float | None = None
        self._seen: set[str] = set()
        self._oldest: dict[TopicPartition, dict[int, tuple[int, int | None]]] = {}
        self._moved: dict[_Key, tuple[int, float]] = {}

    def lag(self) -> tuple[PartitionLag, ...]:
        """Lag of every group on every partition of the topics that it has touched. Raises `Unavailable`."""
        with self._lock:
            now = self._clock.monotonic()
            if self._answered_at is None or now - self._answered_at >= self._settings.lag_seconds:
                try:
                    self._answer = tuple(self._compute())
                except KafkaError as error:
                    self._drop()
                    raise Unavailable(f"Kafka does not answer: {error!r}") from error
                self._answered_at = self._clock.monotonic()
            return self._answer

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._drop()

    def _compute(self) -> list[PartitionLag]:
        if self._admin is None:
            self._admin = kafka_clients.admin(self._bootstrap, self._settings)
        # A coordinator that still loads leaves its groups out of the list: those seen before are asked for.
        groups = sorted({group["group_id"] for group in self._admin.list_groups()} | self._seen)
        if not groups:
            return []
        described = self._admin.describe_groups(groups)
        committed = self._admin.list_group_offsets(groups)
        members = {group: described.get(group, {}).get("members", []) for group in groups}
        self._seen = {group for group in groups if committed.get(group) or members[group]}
        topics = {
            group: sorted(
                {partition.topic for partition in committed.get(group, {})} | _subscribed(members[group])
            )
            for group in groups
        }
        partitions = self._reader.existing(sorted({topic for names in topics.values() for topic in names}))
        starts, ends = self._reader.starts(partitions), self._reader.ends(partitions)
        result = []
        for group in groups:
            offsets = committed.get(group, {})
            for partition in partitions:
                if partition.topic in topics[group]:
                    known = offsets.get(partition)
                    offset = starts[partition] if known is None else max(known.offset, starts[partition])
                    result.append(
                        self._partition(group, partition, offset, ends[partition], len(members[group]))
                    )
        return result

    def _partition(
        self, group: str, partition: TopicPartition, offset: int, end: int, members: int
    ) -> PartitionLag:
        oldest_ms = self._oldest_ms(partition, offset, end) if offset < end else None
        now = self._clock.monotonic()
        last_offset, moved_at = self._moved.get((group, partition), (-1, now))
        if last_offset != offset or oldest_ms is None:
            moved_at = now
        self._moved[(group, partition)] = (offset, moved_at)
        return PartitionLag(
            group=group,
            topic=partition.topic,
            partition=partition.partition,
            records=0 if oldest_ms is None else end - offset,
            seconds=0.0 if oldest_ms is None else max(0.0, self._clock.now() - oldest_ms / 1000),
            members=members,
            stalled=oldest_ms is not None and now - moved_at > self._settings.stall_seconds,
        )

    def _oldest_ms(self, partition: TopicPartition, offset: int, end: int) -> int | None:
        """When the oldest unread record was written; None when what is left holds none, only markers."""
        known = self._oldest.setdefault(partition, {})
        if offset in known:
            seen_end, timestamp_ms = known[offset]
            if timestamp_ms is not None or seen_end == end:
                return timestamp_ms
        record = self._reader.first(partition, offset, end)
        timestamp_ms = None if record is None else record.timestamp_ms
        if len(known) > 16:  # groups move on; what is behind all of them is not asked for again
            known.clear()
        known[offset] = (end, timestamp_ms)
        return timestamp_ms

    def _drop(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()


def _subscribed(members: list[Mapping[str, Any]]) -> set[str]:
    """Topics that the members of a group asked for."""
    topics: set[str] = set()
    for member in members:
        metadata = member.get("member_metadata")
        names = (
            metadata.get("topics", []) if isinstance(metadata, Mapping) else getattr(metadata, "topics", [])
        )
        topics.update(names)
    return topics
