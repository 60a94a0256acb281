"""Dead letters: records that cannot be worked, kept beside their topic with the reason.

A dead letter is the record as it was, on `<topic>.dlq`, with the headers named in `Header` added to its own.
"""

from __future__ import annotations

from collections import deque

from services.kit.bus.outcomes import Poison
from services.kit.bus.ports import Message, Record
from services.kit.bus.topics import dead_letter


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
