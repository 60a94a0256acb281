"""How much time the work at hand has left. A call made on behalf of another call never outlives it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from services.core.errors import DeadlineExceeded

# On the monotonic clock of the process. Threads that the work starts do not inherit it: contextvars are a
# thread's own.
_deadline: ContextVar[float | None] = ContextVar("tercet_deadline", default=None)


def remaining() -> float | None:
    """Seconds left, 0 when the deadline has passed; None without one."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def within(seconds: float) -> float:
    """`seconds`, or what is left of the deadline where that is less; `DeadlineExceeded` when nothing is."""
    left = remaining()
    if left is None:
        return seconds
    if left <= 0:
        raise DeadlineExceeded("the caller's deadline has passed")
    return min(seconds, left)


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """The block has `seconds` at most; an outer deadline that ends earlier stays. None: no further limit."""
    before = _deadline.get()
    after = before
    if seconds is not None:
        mine = time.monotonic() + seconds
        after = mine if before is None else min(before, mine)
    _deadline.set(after)
    try:
        yield
    finally:
        _deadline.set(before)
