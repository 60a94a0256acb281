"""Trying again, with pauses that grow and differ, and that end with the caller's deadline."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from services.core.errors import Overloaded, Unavailable
from services.kit.clock import Clock
from services.kit.deadlines import remaining

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """At most `attempts` calls, with pauses of `first` seconds, doubled each time up to `longest`.

    Each pause is cut by a random part of up to a half, so that many callers do not come back at once.
    """

    attempts: int
    first: float = 0.1
    longest: float = 5.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, at least 1."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)


def retry(
    call: Callable[[], T],
    *,
    backoff: Backoff,
    clock: Clock,
    retried: Callable[[Exception], object] = lambda _: None,
    stop: threading.Event | None = None,
) -> T:
    """What `call` returns, made again after `Unavailable` and `Overloaded`; `retried` hears of each failure.

    The last error is raised when the attempts are used up, when the caller's deadline would end before the
    next one, or when `stop` is set. Any other error is raised at once.
    """
    waiting = stop if stop is not None else threading.Event()
    failures = 0
    while True:
        try:
            return call()
        except (Unavailable, Overloaded) as error:
            failures += 1
            pause = backoff.pause(failures)
            if isinstance(error, Overloaded):
                pause = max(pause, error.retry_after)
            left = remaining()
            if failures >= backoff.attempts or (left is not None and left <= pause):
                raise
            retried(error)
            if clock.wait(waiting, pause):
                raise
