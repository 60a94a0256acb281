"""What a bus is. Adapters: `services.kit.bus.kafka` (real), `services.kit.bus.embedded` (one SQLite file)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.core.errors import Unavailable


class OutcomeUnknown(Unavailable):
    """The transaction may have been committed or not: the bus went away in between and stays away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A record to be written. The key decides the partition: records of one key keep their order."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Message):
    """A committed record as it was read."""

    partition: int
    offset: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How far a consumer group is behind on one partition.

    `records` unread, `seconds` the age of the oldest unread record (0 when none), `members` live consumers of
    the group, `stalled` when records wait and the group has not moved for the stall limit.
    """

    group: str
    topic: str
    partition: int
    records: int
    seconds: float
    members: int
    stalled: bool


class Consumer(Protocol):
    """One member of a consumer group. Not thread-safe: all calls come from the thread that polls."""

    def poll(self, *, max_records: int, timeout: float, max_bytes: int | None = None) -> Sequence[Record]:
        """Up to `max_records` new records within `timeout` seconds, in order within a partition.

        Of more than one record, no more than `max_bytes` together. While paused it returns nothing and keeps
        the membership alive.
        """

    def pause(self) -> None:
        """Stop the flow of records while the last batch is worked on."""

    def resume(self) -> None:
        """Let the records flow again."""

    def commit(self, records: Sequence[Record], outputs: Sequence[Message]) -> None:
        """Write `outputs` and mark `records` as consumed, in one transaction.

        Raises `Unavailable` when it certainly did not happen or its outcome is unknown: the consumer then
        rewinds by itself, and `poll` delivers again whatever is not committed.
        """

    def rewind(self) -> None:
        """Give up what was polled and not committed: `poll` delivers it again."""

    def close(self) -> None:
        """Leave the group. What was not committed goes to another member."""


class Writer(Protocol):
    """The one writer of a name, until another is made."""

    def publish(self, messages: Sequence[Message]) -> None:
        """As `Bus.publish`; raises `Conflict`, with nothing written, once another writer has the name."""

    def close(self) -> None:
        """Give the name back."""


class Bus(Protocol):
    """Topics. Thread-safe."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Write all of the messages or none; returns once all in-sync replicas have them.

        Raises `Unavailable` when that cannot be had in time and nothing was written (`OutcomeUnknown`:
        perhaps it was), `Overloaded` when too many bytes are in flight and `TooLarge` for a message over the
        limit.
        """

    def subscribe(self, *, group: str, topics: Sequence[str]) -> Consumer:
        """A new member of the group, from the oldest record where the group has no offset yet."""

    def read(self, topics: Sequence[str], *, since_ms: int | None = None) -> Iterator[Record]:
        """Committed records from the start (or from `since_ms`) to the end as it is at the call, without a
        group.

        In order within a partition; topics one after the other in the order given.
        """

    def writer(self, name: str) -> Writer:
        """Become the one writer of the name. What an earlier writer had not committed is given up, now and
        for good.

        What is read after this call and published through the writer is therefore decided by one party at a
        time.
        """

    def lag(self) -> Sequence[PartitionLag]:
        """Lag of every group on every partition it has touched."""

    def close(self) -> None:
        """Give the connections back."""
