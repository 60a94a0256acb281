"""The size of a message, and what is too large to be written."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from services.core.errors import Overloaded, TooLarge
from services.kit.bus.ports import Message
from services.kit.bus.topics import MAX_RECORD_BYTES

DEAD_LETTER_BYTES = 16 * 1024
"""What a dead letter, and a record replayed from one, may have over the record as it was."""


def size(message: Message) -> int:
    """Bytes of key, value and headers."""
    headers = sum(len(name.encode()) + len(value.encode()) for name, value in message.headers.items())
    return len(message.key.encode()) + len(message.value) + headers


def check(messages: Iterable[Message]) -> int:
    """Bytes of all of the messages. Raises `TooLarge` when one passes `MAX_RECORD_BYTES`."""
    total = 0
    for message in messages:
        carries_more = message.topic.endswith(".dlq") or "replayed_from" in message.headers
        limit = MAX_RECORD_BYTES + (DEAD_LETTER_BYTES if carries_more else 0)
        bytes_ = size(message)
        if bytes_ > limit:
            raise TooLarge(f"a record for {message.topic} has {bytes_} bytes; the limit is {limit}")
        total += bytes_
    return total


class InFlight:
    """Bounds the bytes of all the publish calls that run or wait."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, bytes_: int) -> Iterator[None]:
        """Count the bytes while inside. Raises `Overloaded` when they do not fit; alone, any number fits."""
        with self._lock:
            if self._bytes and self._bytes + bytes_ > self._limit:
                raise Overloaded(f"{self._bytes} bytes are being written already; the limit is {self._limit}")
            self._bytes += bytes_
        try:
            yield
        finally:
            with self._lock:
                self._bytes -= bytes_
