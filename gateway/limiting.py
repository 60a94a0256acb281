"""Refusing in time: requests a second for each key, and submissions that together hold too much memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis

from gateway import metrics
from gateway.errors import RateLimited
from services.core.errors import Overloaded, Unavailable
from services.kit.clock import Clock
from services.kit.logging import get_logger

_LOG = get_logger(__name__)

# A token bucket: KEYS[1] holds tokens and their time; ARGV are rate, burst and now in seconds. Answers the
# milliseconds to wait, 0 for a token taken. Redis's own clock would do; the caller's lets tests decide the
# time.
_TAKE: Final = """
local rate, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) / rate * 1000) end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
return wait
"""


class RateLimiter:
    """A token bucket for each caller, shared by all gateways through Redis."""

    def __init__(self, state: redis.Redis, clock: Clock, *, per_second: float, burst: int) -> None:
        self._take = state.register_script(_TAKE)
        self._clock = clock
        self._per_second = per_second
        self._burst = burst

    def take(self, caller: str) -> None:
        """Count one request. Raises `RateLimited` when the caller has made too many.

        Without Redis it lets everything through: limits protect the gateway, and must not be what stops it.
        """
        try:
            wait_ms = int(
                self._take(
                    keys=[f"tercet:gateway:rate:{caller}"],
                    args=[repr(self._per_second), self._burst, repr(self._clock.now())],
                )
            )
        except Unavailable as error:
            _LOG.warning("requests are not counted", reason=str(error))
            return
        if wait_ms:
            raise RateLimited(
                f"more than {self._per_second:g} requests a second; wait a little", retry_after=wait_ms / 1000
            )


class UploadBudget:
    """Bounds submissions under way by number and by the memory that they may need. Thread-safe."""

    def __init__(self, *, uploads: int, bytes_: int) -> None:
        self._uploads = uploads
        self._bytes = bytes_
        self._lock = threading.Lock()
        self._under_way = 0
        self._held = 0

    @contextmanager
    def hold(self, bytes_: int) -> Iterator[None]:
        """Hold the memory while inside. Raises `Overloaded` when there is too little; alone, all fits."""
        with self._lock:
            if self._under_way >= self._uploads or (self._held and self._held + bytes_ > self._bytes):
                metrics.UPLOADS_REFUSED.inc()
                raise Overloaded("too many submissions are under way; try again shortly", retry_after=5.0)
            self._under_way += 1
            self._held += bytes_
        metrics.UPLOADS.inc()
        try:
            yield
        finally:
            metrics.UPLOADS.dec()
            with self._lock:
                self._under_way -= 1
                self._held -= bytes_
