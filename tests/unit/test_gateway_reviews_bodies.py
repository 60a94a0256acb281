"""Large bodies are bounded one by one and together, before anyone knows whose they are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.body_limit import BodyLimit

MOST, LARGER, BEYOND = 100, 1000, 1500


class Server:
    """Reads bodies and answers their sizes, to `/hold` once it is let go."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.go = asyncio.Event()
        app = Starlette(
            routes=[Route(path, self.answer, methods=["POST"]) for path in ("/hold", "/large", "/small")]
        )
        app.add_middleware(
            BodyLimit,
            most=MOST,
            except_for=("POST", "/free"),
            larger=(re.compile("/hold|/large"), LARGER),
            beyond=BEYOND,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")

    async def answer(self, request: Request) -> PlainTextResponse:
        size = len(await request.body())
        if request.url.path == "/hold":
            self.reading.set()
            await self.go.wait()
        return PlainTextResponse(str(size))

    async def post(self, path: str, size: int, *, told: bool = True) -> httpx.Response:
        async def pieces(parts: Iterable[int]) -> AsyncIterator[bytes]:
            for part in parts:
                yield b"x" * part

        halves = (size // 2, size - size // 2)
        return await self.client.post(path, content=b"x" * size if told else pieces(halves))


@pytest.mark.parametrize("told", [True, False])
def test_each_body_has_its_limit(told: bool) -> None:
    async def scene() -> list[int]:
        server = Server()
        sizes = (("/small", MOST), ("/small", MOST + 1), ("/large", LARGER), ("/large", LARGER + 1))
        return [(await server.post(path, size, told=told)).status_code for path, size in sizes]

    assert asyncio.run(scene()) == [200, 413, 200, 413]


def test_large_bodies_together_stay_within_a_budget() -> None:
    async def scene() -> None:
        server = Server()
        first = asyncio.create_task(server.post("/hold", LARGER))
        await server.reading.wait()
        refused = await server.post("/large", LARGER)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert (await server.post("/large", MOST + 600)).status_code == 200
        assert (await server.post("/small", MOST)).status_code == 200
        server.go.set()
        assert (await first).text == str(LARGER)
        assert (await server.post("/large", LARGER)).status_code == 200

    asyncio.run(scene())
