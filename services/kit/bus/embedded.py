"""The bus of the one-process mode: a durable log in one SQLite file, with the semantics of the real one.

Durability: with `synchronous=FULL` (the default) what `publish` and `commit` returned from survives a kill of
the process and a loss of power; with `NORMAL` it survives a kill, and a loss of power may take the last
transactions, whole and from the end. Either way no transaction is ever seen in part. One process opens a file
at a time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from services.core.errors import Conflict, Unavailable
from services.kit.bus import limits
from services.kit.bus.embedded_groups import Groups, Member, Partition
from services.kit.bus.ports import Message, PartitionLag, Record
from services.kit.bus.topics import DEFAULT_PARTITIONS
from services.kit.clock import Clock, SystemClock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    timestamp_ms INTEGER NOT NULL, key TEXT NOT NULL, headers TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (topic, partition, offset)
);
CREATE TABLE IF NOT EXISTS offsets (
    consumer_group TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    offset INTEGER NOT NULL, moved_ms INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "topic, partition, offset, timestamp_ms, key, headers, value"
_READ_ROWS = 32


class EmbeddedBus:
    """A `Bus` in one SQLite file, or in memory for `:memory:`.

    `partitions` counts for a new file; an old one keeps its number. `in_flight_bytes` bounds the publish
    calls under way together. A group that has not moved for `stall_seconds` while records wait is stalled.
    """

    def __init__(
        self,
        path: str | Path = ":memory:",
        *,
        partitions: int = DEFAULT_PARTITIONS,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        in_flight_bytes: int = 256 * 1024 * 1024,
        stall_seconds: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock if clock is not None else SystemClock()
        self._stall_seconds = stall_seconds
        self._in_flight = limits.InFlight(in_flight_bytes)
        self._changed = threading.Condition(threading.RLock())
        self._writers: dict[str, int] = {}
        self._ends: dict[Partition, int] = {}
        self._closed = False
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={synchronous}")
            self._db.executescript(_SCHEMA)
            with self._changed, self._transaction():
                self._partitions = self._stored_partitions(partitions)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the log {path} cannot be opened (is it open elsewhere?): {error}") from error
        self._groups = Groups(self._partitions)
        for topic, partition, end in self._db.execute(
            "SELECT topic, partition, MAX(offset) + 1 FROM records GROUP BY topic, partition"
        ):
            self._ends[(topic, partition)] = end

    # -- Bus

    def publish(self, messages: Sequence[Message]) -> None:
        """Write all of the messages or none (see `Bus.publish`)."""
        with self._in_flight.hold(limits.check(messages)), self._changed, self._transaction():
            self._append(messages)

    def subscribe(self, *, group: str, topics: Sequence[str]) -> EmbeddedConsumer:
        """A new member of the group (see `Bus.subscribe`)."""
        with self._changed:
            self._check_open()
            member = self._groups.join(group, topics)
            self._changed.notify_all()
        return EmbeddedConsumer(self, member)

    def read(self, topics: Sequence[str], *, since_ms: int | None = None) -> Iterator[Record]:
        """Committed records to the end as it is now (see `Bus.read`)."""
        with self._changed:
            self._check_open()
            spans = [
                (
                    (topic, partition),
                    self._first(topic, partition, since_ms),
                    self._ends.get((topic, partition), 0),
                )
                for topic in topics
                for partition in range(self._partitions)
            ]
        return self._read(spans)

    def writer(self, name: str) -> EmbeddedWriter:
        """Become the one writer of the name (see `Bus.writer`)."""
        with self._changed:
            self._check_open()
            epoch = self._writers[name] = self._writers.get(name, 0) + 1
        return EmbeddedWriter(self, name, epoch)

    def lag(self) -> list[PartitionLag]:
        """Lag of every group on every partition (see `Bus.lag`)."""
        with self._changed:
            self._check_open()
            now_ms = self._now_ms()
            committed: dict[str, dict[Partition, tuple[int, int]]] = {}
            for group, topic, partition, offset, moved_ms in self._db.execute("SELECT * FROM offsets"):
                committed.setdefault(group, {})[(topic, partition)] = (offset, moved_ms)
            result = []
            for group in sorted(committed.keys() | self._groups.names()):
                offsets = committed.get(group, {})
                topics = {topic for topic, _ in offsets} | self._groups.topics(group)
                for topic in sorted(topics):
                    for partition in range(self._partitions):
                        offset, moved_ms = offsets.get((topic, partition), (0, 0))
                        result.append(
                            self._partition_lag(group, (topic, partition), offset, moved_ms, now_ms)
                        )
            return result

    def close(self) -> None:
        """Close the file. Whoever polls or publishes afterwards gets `Unavailable`."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._db.close()
                self._changed.notify_all()

    # -- what consumers and writers call

    def publish_as(self, name: str, epoch: int, messages: Sequence[Message]) -> None:
        """`publish`, unless a later writer has the name. Raises `Conflict` then."""
        with self._in_flight.hold(limits.check(messages)), self._changed, self._transaction():
            if self._writers.get(name) != epoch:
                raise Conflict(f"another writer of {name} came first; nothing was written")
            self._append(messages)

    def poll(
        self, member: Member, *, max_records: int, max_bytes: int | None, timeout: float
    ) -> list[Record]:
        """See `Consumer.poll`."""
        deadline = monotonic() + timeout
        with self._changed:
            while True:
                self._check_open()
                if not member.paused:
                    records = self._unread(member, max_records, max_bytes)
                    if records:
                        return records
                left = deadline - monotonic()
                if left <= 0:
                    return []
                self._changed.wait(left)

    def commit(self, member: Member, records: Sequence[Record], outputs: Sequence[Message]) -> None:
        """See `Consumer.commit`."""
        limits.check(outputs)
        ends: dict[Partition, int] = {}
        with self._changed:
            for record in records:
                partition = (record.topic, record.partition)
                if not member.holds(partition, record.offset):
                    member.rewind()
                    raise Unavailable(
                        f"{record.topic}/{record.partition} went to another member; nothing was committed"
                    )
                ends[partition] = max(ends.get(partition, 0), record.offset + 1)
            try:
                with self._transaction():
                    self._append(outputs)
                    self._db.executemany(
                        "INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?, ?)",
                        [(member.group, *partition, end, self._now_ms()) for partition, end in ends.items()],
                    )
            except Unavailable:
                member.rewind()
                raise
            member.committed(ends)

    def rewind(self, member: Member) -> None:
        """See `Consumer.rewind`."""
        with self._changed:
            member.rewind()
            self._changed.notify_all()

    def pause(self, member: Member, paused: bool) -> None:
        """See `Consumer.pause` and `Consumer.resume`."""
        with self._changed:
            member.paused = paused
            self._changed.notify_all()

    def leave(self, member: Member) -> None:
        """See `Consumer.close`."""
        with self._changed:
            self._groups.leave(member)
            self._changed.notify_all()

    # -- the log; all of it under the lock

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._check_open()
        ends = dict(self._ends)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            self._ends = ends
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise Unavailable(f"the log cannot be written: {error}") from error
            raise
        self._changed.notify_all()

    def _append(self, messages: Iterable[Message]) -> None:
        now_ms = self._now_ms()
        for message in messages:
            partition = zlib.crc32(message.key.encode()) % self._partitions
            end = self._ends.get((message.topic, partition), 0)
            self._db.execute(
                f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    message.topic,
                    partition,
                    end,
                    now_ms,
                    message.key,
                    json.dumps(dict(message.headers), separators=(",", ":")),
                    message.value,
                ),
            )
            self._ends[(message.topic, partition)] = end + 1

    def _unread(self, member: Member, max_records: int, max_bytes: int | None) -> list[Record]:
        """The next records of the member's partitions, which take turns at being first."""
        records: list[Record] = []
        left = max_bytes
        for topic, partition in member.turn():
            start = member.position((topic, partition))
            if start is None:
                start = self._committed(member.group, topic, partition)
                member.start((topic, partition), start)
            if start >= self._ends.get((topic, partition), 0):
                continue
            for row in self._rows(topic, partition, start, max_records - len(records)):
                record = _record(row)
                if left is not None:
                    left -= limits.size(record)
                    if records and left < 0:
                        return records
                records.append(record)
                member.delivered((topic, partition), record.offset)
            if len(records) == max_records:
                break
        return records

    def _rows(self, topic: str, partition: int, start: int, count: int) -> Iterator[tuple[Any, ...]]:
        return self._db.execute(
            f"SELECT {_COLUMNS} FROM records WHERE topic = ? AND partition = ? AND offset >= ?"
            " ORDER BY offset LIMIT ?",
            (topic, partition, start, count),
        )

    def _read(self, spans: Iterable[tuple[Partition, int, int]]) -> Iterator[Record]:
        for (topic, partition), start, end in spans:
            while start < end:
                with self._changed:
                    self._check_open()
                    rows = list(self._rows(topic, partition, start, min(_READ_ROWS, end - start)))
                yield from map(_record, rows)
                start += len(rows)

    def _first(self, topic: str, partition: int, since_ms: int | None) -> int:
        if since_ms is None:
            return 0
        (offset,) = self._db.execute(
            "SELECT MIN(offset) FROM records WHERE topic = ? AND partition = ? AND timestamp_ms >= ?",
            (topic, partition, since_ms),
        ).fetchone()
        return self._ends.get((topic, partition), 0) if offset is None else int(offset)

    def _committed(self, group: str, topic: str, partition: int) -> int:
        row = self._db.execute(
            "SELECT offset FROM offsets WHERE consumer_group = ? AND topic = ? AND partition = ?",
            (group, topic, partition),
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _partition_lag(
        self, group: str, partition: Partition, offset: int, moved_ms: int, now_ms: int
    ) -> PartitionLag:
        topic, number = partition
        records = self._ends.get(partition, 0) - offset
        oldest = self._db.execute(
            "SELECT timestamp_ms FROM records WHERE topic = ? AND partition = ? AND offset = ?",
            (topic, number, offset),
        ).fetchone()
        oldest_ms = now_ms if oldest is None else oldest[0]
        waiting_ms = now_ms - max(oldest_ms, moved_ms)
        return PartitionLag(
            group=group,
            topic=topic,
            partition=number,
            records=records,
            seconds=max(0, now_ms - oldest_ms) / 1000,
            members=self._groups.members(group),
            stalled=records > 0 and waiting_ms > self._stall_seconds * 1000,
        )

    def _stored_partitions(self, wanted: int) -> int:
        self._db.execute("INSERT OR IGNORE INTO settings VALUES ('partitions', ?)", (str(wanted),))
        (stored,) = self._db.execute("SELECT value FROM settings WHERE name = 'partitions'").fetchone()
        return int(stored)

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the bus is closed")


class EmbeddedConsumer:
    """A `Consumer` of an `EmbeddedBus`."""

    def __init__(self, bus: EmbeddedBus, member: Member) -> None:
        self._bus = bus
        self._member = member

    def poll(self, *, max_records: int, timeout: float, max_bytes: int | None = None) -> list[Record]:
        return self._bus.poll(self._member, max_records=max_records, max_bytes=max_bytes, timeout=timeout)

    def pause(self) -> None:
        self._bus.pause(self._member, True)

    def resume(self) -> None:
        self._bus.pause(self._member, False)

    def commit(self, records: Sequence[Record], outputs: Sequence[Message]) -> None:
        self._bus.commit(self._member, records, outputs)

    def rewind(self) -> None:
        self._bus.rewind(self._member)

    def close(self) -> None:
        self._bus.leave(self._member)


class EmbeddedWriter:
    """A `Writer` of an `EmbeddedBus`."""

    def __init__(self, bus: EmbeddedBus, name: str, epoch: int) -> None:
        self._bus = bus
        self._name = name
        self._epoch = epoch

    def publish(self, messages: Sequence[Message]) -> None:
        self._bus.publish_as(self._name, self._epoch, messages)

    def close(self) -> None:
        """Nothing to give back: the next writer takes the name."""


def _record(row: tuple[Any, ...]) -> Record:
    topic, partition, offset, timestamp_ms, key, headers, value = row
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        key=key,
        headers=json.loads(headers),
        value=value,
    )
