"""The asynchronous client: the calls of `Api`, performed on an event loop (asyncio or trio)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
import httpx

from gateway.client.api import Api
from gateway.client.connection import built, headers, timeout
from gateway.client.flow import Close, Compute, Course, Effect, Emit, Flow, Items, Open, Pause, Read, Send
from gateway.client.settings import ClientSettings

T = TypeVar("T")


class AsyncClient(Api):
    """One gateway, for asyncio and trio: `Client`, call for call."""

    def __init__(
        self,
        settings: ClientSettings | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings`: the environment's unless given; `transport`, `pause`, `now`: for tests and proxies."""
        super().__init__(settings or ClientSettings(), now)
        self._pause = pause
        self._http = httpx.AsyncClient(
            base_url=self.settings.url,
            headers=headers(self.settings),
            timeout=timeout(self.settings),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _run(self, flow: Flow[T]) -> T:
        """What the flow returns; raises what it raises."""
        course = Course(flow)
        async with aclosing(self._steps(course)) as steps:
            async for _ in steps:
                pass
        result: Any = course.result
        return result  # type: ignore[no-any-return]

    async def _iterate(self, items: Items[T]) -> AsyncIterator[T]:
        """What the flow emits."""
        async with aclosing(self._steps(Course(items.flow))) as steps:
            async for item in steps:
                yield item

    async def _steps(self, course: Course[Any]) -> AsyncGenerator[Any, None]:
        streams: dict[int, tuple[httpx.Response, AsyncIterator[bytes]]] = {}
        try:
            while (effect := course.next()) is not None:
                if isinstance(effect, Emit):
                    yield effect.item
                    continue
                try:
                    course.done(await self._perform(effect, streams))
                except Exception as error:
                    course.failed(error)
        finally:
            course.close()
            with anyio.CancelScope(shield=True):
                for response, _ in streams.values():
                    await response.aclose()

    async def _perform(
        self, effect: Effect, streams: dict[int, tuple[httpx.Response, AsyncIterator[bytes]]]
    ) -> Any:
        match effect:
            case Send(request):
                return await self._http.send(built(self._http, self.settings, request))
            case Open(request):
                response = await self._http.send(built(self._http, self.settings, request), stream=True)
                streams[id(response)] = (response, response.aiter_bytes())
                return response
            case Read(response):
                return await anext(streams[id(response)][1], None)
            case Close(response):
                await streams.pop(id(response))[0].aclose()
            case Pause(seconds):
                await self._pause(seconds)
            case Compute(work):
                return await anyio.to_thread.run_sync(work)
        return None
