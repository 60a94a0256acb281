"""What surrounds each request: id, trace, log line, metrics, and headers that keep browsers careful."""

from __future__ import annotations

import re
import secrets
import time
from contextvars import ContextVar

from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import metrics
from services.kit import tracing
from services.kit.logging import get_logger, logged_with

_LOG = get_logger(__name__)
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_request_id: ContextVar[str] = ContextVar("tercet_request_id", default="")
# Asked every few seconds by probes and scrapers.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


def request_id() -> str:
    """Id of the request that is being answered; empty outside of one."""
    return _request_id.get()


class RequestContext:
    """ASGI middleware. A client's `X-Request-Id` and `traceparent` are kept where they are well formed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        identity = given if _ACCEPTED_ID.match(given) else secrets.token_hex(8)
        _request_id.set(identity)
        started, status = time.monotonic(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["X-Request-Id"] = identity
                answered.setdefault("X-Content-Type-Options", "nosniff")
                answered.setdefault("Cache-Control", "no-store")
                answered.setdefault("Referrer-Policy", "no-referrer")
            await send(message)

        name = f"{scope['method']} {scope['path']}"
        with (
            logged_with(request_id=identity),
            tracing.span(name, parent=headers.get("traceparent", ""), kind=SpanKind.SERVER),
        ):
            try:
                await self._app(scope, receive, answer)
            finally:
                self._finish(scope, status, time.monotonic() - started)

    @staticmethod
    def _finish(scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        metrics.REQUESTS.labels(scope["method"], route, str(status)).inc()
        metrics.REQUEST_SECONDS.labels(scope["method"], route).observe(seconds)
        if scope["path"] not in _QUIET:
            _LOG.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=round(seconds, 4),
            )
