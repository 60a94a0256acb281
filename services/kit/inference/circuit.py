"""A circuit breaker: a model that keeps failing is left alone for a while, and its callers fail at once.

Not pybreaker's: its breaker holds a lock while the call runs, so that calls would go one by one and never be
batched.
"""

from __future__ import annotations

import threading

from services.core.errors import Unavailable
from services.kit import metrics
from services.kit.clock import Clock


class Circuit:
    """Closed until `failures` calls in a row failed; then open for `reset` seconds; then one call tries."""

    def __init__(self, name: str, *, failures: int, reset: float, clock: Clock) -> None:
        self._name = name
        self._limit = failures
        self._reset = reset
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._retry_at = 0.0

    def enter(self) -> None:
        """Before a call. Raises `Unavailable` while the circuit is open."""
        with self._lock:
            if self._failures < self._limit:
                return
            now = self._clock.monotonic()
            if now < self._retry_at:
                raise Unavailable(
                    f"{self._name} kept failing; it is tried again in {self._retry_at - now:.1f} s"
                )
            # This call tries; the others wait for what becomes of it, at most as long again.
            self._retry_at = now + self._reset

    def succeeded(self) -> None:
        """After a call that the model answered, be it with a refusal."""
        with self._lock:
            self._failures = 0
        metrics.CIRCUIT_OPEN.labels(self._name).set(0)

    def failed(self) -> None:
        """After a call that the model did not answer."""
        with self._lock:
            self._failures += 1
            if self._failures < self._limit:
                return
            self._retry_at = self._clock.monotonic() + self._reset
        metrics.CIRCUIT_OPEN.labels(self._name).set(1)
