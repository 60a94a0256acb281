"""The size of a message, and what is too large to be written."""

from __future__ import annotations

from collections.abc import Iterable

from services.core.errors import TooLarge
from services.kit.bus.ports import Message
from services.kit.bus.topics import MAX_RECORD_BYTES

DEAD_LETTER_BYTES = 16 * 1024
"""What a dead letter may have over the record that it holds."""


def size(message: Message) -> int:
    """Bytes of key, value and headers."""
    headers = sum(len(name.encode()) + len(value.encode()) for name, value in message.headers.items())
    return len(message.key.encode()) + len(message.value) + headers


def check(messages: Iterable[Message]) -> int:
    """Bytes of all of the messages. Raises `TooLarge` when one passes `MAX_RECORD_BYTES`."""
    total = 0
    for message in messages:
        limit = MAX_RECORD_BYTES + (DEAD_LETTER_BYTES if message.topic.endswith(".dlq") else 0)
        bytes_ = size(message)
        if bytes_ > limit:
            raise TooLarge(f"a record for {message.topic} has {bytes_} bytes; the limit is {limit}")
        total += bytes_
    return total
