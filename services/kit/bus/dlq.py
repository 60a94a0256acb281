"""Dead letters: records that cannot be worked, kept beside their topic with the reason.

A dead letter is the record as it was, on `<topic>.dlq`, with the headers named in `Header` added to its own.

Replaying writes the record to its topic again, as it was, with the header `replayed_from` = the letter's id;
in the same transaction a marker with that id as key goes to the topic `dlq.replays`. A letter is open while
no marker names it. All replays go through the one writer of the name `dlq-replay`, which reads the markers
after it became the writer: two replays at once therefore cannot both write a letter, since the later one
fences the earlier.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from services.kit.bus import limits
from services.kit.bus.outcomes import Poison
from services.kit.bus.ports import Bus, Message, Record
from services.kit.bus.topics import DLQ_REPLAYS, TOPICS, dead_letter


class Header:
    """Names of the headers that a dead letter adds, and of the one that a replayed record carries."""

    TOPIC = "original_topic"
    PARTITION = "original_partition"
    OFFSET = "original_offset"
    GROUP = "consumer_group"
    ERROR = "error_class"
    REASON = "error_message"
    ATTEMPTS = "attempts"
    REPLAYED_FROM = "replayed_from"


ADDED = (
    Header.TOPIC,
    Header.PARTITION,
    Header.OFFSET,
    Header.GROUP,
    Header.ERROR,
    Header.REASON,
    Header.ATTEMPTS,
)
REASON_CHARACTERS = 2000


def letter(record: Record, poison: Poison, *, group: str, attempts: int) -> Message:
    """The dead letter of a record that the group could not work."""
    return Message(
        topic=dead_letter(record.topic),
        key=record.key,
        value=record.value,
        headers={
            **record.headers,
            Header.TOPIC: record.topic,
            Header.PARTITION: str(record.partition),
            Header.OFFSET: str(record.offset),
            Header.GROUP: group,
            Header.ERROR: poison.error,
            Header.REASON: poison.reason[:REASON_CHARACTERS],
            Header.ATTEMPTS: str(attempts),
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A letter without its record's value. `id` is `<dead-letter topic>/<partition>/<offset>`."""

    id: str
    topic: str
    partition: int
    offset: int
    key: str
    tenant: str
    job_id: str
    group: str
    error: str
    reason: str
    attempts: int
    failed_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which letters: those for which everything that is given agrees. `topic` is the original one."""

    ids: Collection[str] | None = None
    topic: str | None = None
    job_id: str | None = None
    tenant: str | None = None

    def topics(self, topics: Collection[str]) -> list[str]:
        """The dead-letter topics that can hold such letters."""
        return [dead_letter(topic) for topic in topics if self.topic in (None, topic)]

    def __contains__(self, dead: DeadLetter) -> bool:
        return (
            (self.ids is None or dead.id in self.ids)
            and self.topic in (None, dead.topic)
            and self.job_id in (None, dead.job_id)
            and self.tenant in (None, dead.tenant)
        )


EVERY = Selection()
REPLAY_BYTES = 16 * 1024 * 1024


def open_letters(
    bus: Bus, selection: Selection = EVERY, *, topics: Collection[str] = TOPICS
) -> list[DeadLetter]:
    """The letters of the topics that were not replayed, topic by topic, the oldest of a partition first."""
    return [dead for dead, _ in _open(bus, selection, topics)]


def replay(bus: Bus, selection: Selection = EVERY, *, topics: Collection[str] = TOPICS) -> list[DeadLetter]:
    """Write the records of the open letters to their topics again; which ones.

    Each is written exactly once, whoever else replays. Raises `Conflict` when another replay took over, and
    `Unavailable`; what was replayed until then stays so, and asking again replays the rest.
    """
    writer = bus.writer("dlq-replay")
    try:
        replayed: list[DeadLetter] = []
        chunk: list[Message] = []
        chunk_bytes = 0
        for dead, record in _open(bus, selection, topics):
            replayed.append(dead)
            chunk += _replayed(dead, record)
            chunk_bytes += limits.size(record)
            if chunk_bytes >= REPLAY_BYTES:
                writer.publish(chunk)
                chunk, chunk_bytes = [], 0
        if chunk:
            writer.publish(chunk)
        return replayed
    finally:
        writer.close()


def _open(bus: Bus, selection: Selection, topics: Collection[str]) -> Iterator[tuple[DeadLetter, Record]]:
    markers = {record.key for record in bus.read([DLQ_REPLAYS])}
    for record in bus.read(selection.topics(topics)):
        if Header.TOPIC not in record.headers:  # not a letter; nobody of ours wrote it
            continue
        dead = _dead(record)
        if dead.id not in markers and dead in selection:
            yield dead, record


def _replayed(dead: DeadLetter, record: Record) -> tuple[Message, Message]:
    headers = {name: value for name, value in record.headers.items() if name not in ADDED}
    again = Message(
        topic=dead.topic,
        key=record.key,
        value=record.value,
        headers={**headers, Header.REPLAYED_FROM: dead.id},
    )
    return again, Message(topic=DLQ_REPLAYS, key=dead.id, value=b"", headers={Header.TOPIC: dead.topic})


def _dead(record: Record) -> DeadLetter:
    headers = record.headers
    return DeadLetter(
        id=f"{record.topic}/{record.partition}/{record.offset}",
        topic=headers[Header.TOPIC],
        partition=int(headers[Header.PARTITION]),
        offset=int(headers[Header.OFFSET]),
        key=record.key,
        tenant=headers.get("tenant", ""),
        job_id=headers.get("job_id", ""),
        group=headers[Header.GROUP],
        error=headers[Header.ERROR],
        reason=headers[Header.REASON],
        attempts=int(headers[Header.ATTEMPTS]),
        failed_at_ms=record.timestamp_ms,
    )


class PoisonLimit:
    """Tells a bad record here and there from a bad deploy, by the share of poison within a sliding window."""

    def __init__(self, *, records: int, share: float, seconds: float) -> None:
        self._records = records
        self._share = share
        self._seconds = seconds
        self._batches: deque[tuple[float, int, int]] = deque()

    def exceeded(self, now: float, *, handled: int, poisoned: int) -> str | None:
        """Count a batch; the reason when the window now holds too much poison, by number and by share."""
        self._batches.append((now, handled, poisoned))
        while self._batches[0][0] < now - self._seconds:
            self._batches.popleft()
        all_handled = sum(batch[1] for batch in self._batches)
        all_poisoned = sum(batch[2] for batch in self._batches)
        if all_poisoned > self._records and all_poisoned > self._share * all_handled:
            return f"{all_poisoned} of {all_handled} records within {self._seconds:g} s could not be worked"
        return None
