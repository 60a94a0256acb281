"""When a request is tried again, and after how long."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from gateway.client.errors import IN_FLIGHT, RETRIED, Unreachable, error_of
from gateway.client.flow import Flow, Pause, Request, send

ATTEMPTS_UNMET = 2
"""Tries to connect where no gateway has ever answered: a wrong URL should be told quickly."""

PATIENCE_IN_FLIGHT = 300.0
"""Seconds to wait for the gateway to finish the first try of the same submission."""


@dataclass
class Retrying:
    """Exponential backoff with jitter; the gateway's Retry-After wins where it asks for more."""

    url: str
    attempts: int
    backoff: float
    longest_pause: float
    jitter: Callable[[], float] = field(default=random.random)
    met: bool = False
    """Whether the gateway has ever answered."""

    def pause(self, attempt: int, asked: float | None = None) -> float:
        """Seconds before the try after the `attempt`th (from 1): half of it fixed, half at random."""
        grown: float = min(self.backoff * 2 ** min(attempt - 1, 30), self.longest_pause)
        return min(max(grown * (0.5 + self.jitter() / 2), asked or 0.0), self.longest_pause)

    def call(self, request: Request) -> Flow[httpx.Response]:
        """An answer below 400. Raises `ApiError` and `Unreachable`, after as many tries as are safe."""
        waited = 0.0
        for attempt in itertools.count(1):
            try:
                response = yield from send(request)
            except httpx.TransportError as error:
                if not self._again(request, attempt, error):
                    raise Unreachable(self.url, error) from error
                yield Pause(self.pause(attempt))
                continue
            self.met = True
            if response.status_code < 400:
                return response
            refusal = error_of(response.status_code, response.headers, response.content)
            pause = self.pause(attempt, refusal.retry_after)
            if refusal.code == IN_FLIGHT:  # our own first try, cut off on the way back: its answer will come
                again = waited < PATIENCE_IN_FLIGHT
            else:
                # A 5xx may come from behind the gateway, after some work was done; a 429 is always a refusal.
                safe = refusal.status == 429 or request.repeatable
                again = refusal.status in RETRIED and safe and attempt < self.attempts
            if not again:
                raise refusal
            waited += pause
            yield Pause(pause)
        raise AssertionError("itertools.count ended")

    def _again(self, request: Request, attempt: int, error: httpx.TransportError) -> bool:
        if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            return False
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):  # nothing was sent
            return attempt < (self.attempts if self.met else min(self.attempts, ATTEMPTS_UNMET))
        return request.repeatable and attempt < self.attempts
