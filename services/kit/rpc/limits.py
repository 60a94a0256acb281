"""Sizes and keep-alives that the two ends of a call agree on."""

from __future__ import annotations

from typing import Final

from services.kit.bus.topics import MAX_RECORD_BYTES

MAX_MESSAGE_BYTES: Final = MAX_RECORD_BYTES + 256 * 1024
"""Largest gRPC message: a whole record, and what a request or response wraps around it."""

KEEPALIVE_SECONDS: Final = 30
KEEPALIVE_TIMEOUT_SECONDS: Final = 10

COMMON: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
)
"""Channel arguments of both ends."""
