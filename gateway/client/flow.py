"""A call of the API as a flow: a generator that says what to do and is told what came of it.

Flows hold all that the client knows: requests, retries, reconnects, checks. They do no network I/O and do not
wait themselves, so one flow serves `Client` and `AsyncClient`; those perform its effects. A flow writes
`response = yield from send(request)` as if it were a plain call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx

from gateway.client.body import Body

T = TypeVar("T")
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Request:
    """One HTTP request, relative to the gateway's base URL."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    body: Body | None = None
    repeatable: bool = True
    """Whether sending it twice does no more than sending it once."""
    read_timeout: float | None = None
    """Seconds without a byte; None: as set."""


@dataclass(frozen=True)
class Send:
    """Send it and read the whole answer (`httpx.Response`)."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send it and give the answer with its body unread; the performer closes it when the flow ends."""

    request: Request


@dataclass(frozen=True)
class Read:
    """The next bytes of an opened answer; None at its end."""

    response: httpx.Response


@dataclass(frozen=True)
class Close:
    """Done with an opened answer."""

    response: httpx.Response


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Compute:
    """Call it: work that must not block an event loop. Its exceptions come back to the flow."""

    work: Callable[[], Any]


@dataclass(frozen=True)
class Emit:
    """One item for the caller that iterates the flow."""

    item: Any


Effect = Send | Open | Read | Close | Pause | Compute | Emit
Flow = Generator[Effect, Any, T]


class Items(Generic[ItemT]):
    """A flow that emits; the type of its items is kept here, which a generator of effects cannot."""

    def __init__(self, flow: Flow[Any]) -> None:
        self.flow = flow


def send(request: Request) -> Flow[httpx.Response]:
    """The whole answer. Raises `httpx.TransportError`."""
    response: httpx.Response = yield Send(request)
    return response


def open_stream(request: Request) -> Flow[httpx.Response]:
    """The answer, its body unread. Raises `httpx.TransportError`."""
    response: httpx.Response = yield Open(request)
    return response


def read(response: httpx.Response) -> Flow[bytes | None]:
    """The next bytes; None at the end. Raises `httpx.TransportError`."""
    chunk: bytes | None = yield Read(response)
    return chunk


def compute(work: Callable[[], T]) -> Flow[T]:
    """What `work` returns; raises what it raises."""
    result: T = yield Compute(work)
    return result


class Course(Generic[T]):
    """Drives one flow: `next` gives the effect to perform, `done` or `failed` tells what came of it."""

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self._answer: Any = None
        self._failure: Exception | None = None
        self.result: T | None = None

    def next(self) -> Effect | None:
        """The next effect; None when the flow has returned (`result`). Raises what the flow raises."""
        answer, failure = self._answer, self._failure
        self._answer = self._failure = None
        try:
            return self._flow.throw(failure) if failure is not None else self._flow.send(answer)
        except StopIteration as end:
            self.result = end.value
            return None

    def done(self, answer: Any) -> None:
        """The effect's outcome."""
        self._answer = answer

    def failed(self, failure: Exception) -> None:
        """The effect raised."""
        self._failure = failure

    def close(self) -> None:
        """The caller does not want the rest."""
        self._flow.close()
