"""Performs flows synchronously."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from gateway.client.connection import built
from gateway.client.flow import Close, Compute, Course, Effect, Emit, Flow, Items, Open, Pause, Read, Send
from gateway.client.settings import ClientSettings

T = TypeVar("T")


class Blocking:
    """Performs effects on one `httpx.Client`."""

    def __init__(
        self, http: httpx.Client, settings: ClientSettings, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._http, self._settings, self._pause = http, settings, pause

    def run(self, flow: Flow[T]) -> T:
        """What the flow returns; raises what it raises."""
        course = Course(flow)
        for _ in self._steps(course):
            pass
        result: Any = course.result
        return result  # type: ignore[no-any-return]

    def iterate(self, items: Items[T]) -> Iterator[T]:
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
                return self._http.send(built(self._http, self._settings, request))
            case Open(request):
                response = self._http.send(built(self._http, self._settings, request), stream=True)
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
