"""Bodies of ordinary requests are small; what is larger is refused before it is read."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import response
from services.core.errors import TooLarge


class BodyLimit:
    """ASGI middleware: at most `most` bytes, whatever Content-Length says.

    `except_for` is (method, path) of what is not limited here, `larger` (path pattern, bytes) of what may
    be larger. What all of these hold beyond `most` stays within `beyond` bytes; more is refused for now.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        most: int,
        except_for: tuple[str, str],
        larger: tuple[re.Pattern[str], int],
        beyond: int,
    ) -> None:
        self._app = app
        self._most = most
        self._except_for = except_for
        self._larger = larger
        self._beyond = beyond
        self._held_beyond = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) == self._except_for:
            await self._app(scope, receive, send)
            return
        pattern, larger = self._larger
        most = larger if pattern.fullmatch(scope["path"]) else self._most
        claimed = Headers(scope=scope).get("content-length", "")
        if claimed.isdigit() and int(claimed) > most:
            refusal = TooLarge(f"the body has {claimed} bytes; at most {most} are taken here")
            await response(refusal, instance=scope["path"])(scope, receive, send)
            return
        size = held = 0

        async def counted() -> Message:
            nonlocal size, held
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                # FastAPI passes on this kind of exception only, while it reads a body.
                raise HTTPException(413)
            more = max(0, size - self._most) - held
            if self._held_beyond + more > self._beyond:
                raise HTTPException(503, "too many large bodies at once", headers={"Retry-After": "1"})
            held, self._held_beyond = held + more, self._held_beyond + more
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held_beyond -= held
