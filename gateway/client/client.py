"""The synchronous client: the calls of `Api`, performed at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from gateway.client.api import Api
from gateway.client.connection import built, headers, timeout
from gateway.client.flow import Close, Compute, Course, Effect, Emit, Flow, Items, Open, Pause, Read, Send
from gateway.client.settings import ClientSettings

T = TypeVar("T")


class Client(Api):
    """One gateway, as Python. Threads may share it. Every call raises subclasses of `ClientError`."""

    def __init__(
        self,
        settings: ClientSettings | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings`: the environment's unless given; `transport`, `pause`, `now`: for tests and proxies."""
        super().__init__(settings or ClientSettings(), now)
        self._pause = pause
        self._http = httpx.Client(
            base_url=self.settings.url,
            headers=headers(self.settings),
            timeout=timeout(self.settings),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _run(self, flow: Flow[T]) -> T:
        """What the flow returns; raises what it raises."""
        course = Course(flow)
        for _ in self._steps(course):
            pass
        result: Any = course.result
        return result  # type: ignore[no-any-return]

    def _iterate(self, items: Items[T]) -> Iterator[T]:
        """What the flow emits."""
        yield from self._steps(Course(items.flow))

    def _steps(self, course: Course[Any]) -> Iterator[Any]:
        streams: dict[int, tuple[httpx.Response, Iterator[bytes]]] = {}
        try:
            while (effect := course.next()) is not None:
                if isinstance(effect, Emit):
                    yield effect.item
                    continue
                try:
                    course.done(self._perform(effect, streams))
                except Exception as error:
                    course.failed(error)
        finally:
            course.close()
            for response, _ in streams.values():
                response.close()

    def _perform(self, effect: Effect, streams: dict[int, tuple[httpx.Response, Iterator[bytes]]]) -> Any:
        match effect:
            case Send(request):
                return self._http.send(built(self._http, self.settings, request))
            case Open(request):
                response = self._http.send(built(self._http, self.settings, request), stream=True)
                streams[id(response)] = (response, response.iter_bytes())
                return response
            case Read(response):
                return next(streams[id(response)][1], None)
            case Close(response):
                streams.pop(id(response))[0].close()
            case Pause(seconds):
                self._pause(seconds)
            case Compute(work):
                return work()
        return None
