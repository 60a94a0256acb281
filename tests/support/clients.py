"""Both Python clients behind one face, so that every mechanic is tested on both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Literal

import httpx

from gateway.client import AsyncClient, Client, ClientSettings

Kind = Literal["sync", "async"]
Handler = Callable[[httpx.Request], httpx.Response]


class ManualTime:
    """Time that passes only by pauses."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.passed

    def pause(self, seconds: float) -> None:
        self.passed += seconds
        self.pauses.append(seconds)

    async def apause(self, seconds: float) -> None:
        self.pause(seconds)


class Caller:
    """Calls one of the clients by name: `caller("job", "job_1")`; iterators are read to their end."""

    def __init__(self, kind: Kind, handler: Handler | None = None, **settings: Any) -> None:
        self.kind = kind
        self.time = ManualTime()
        self.requests: list[httpx.Request] = []
        self._handler = handler
        self._settings = ClientSettings(**{"url": "http://gateway.test", "api_key": "secret", **settings})

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.kind == "sync":
            return self._sync(name, *args, **kwargs)
        return asyncio.run(self._async(name, *args, **kwargs))

    def _sync(self, name: str, *args: Any, **kwargs: Any) -> Any:
        transport = httpx.MockTransport(self._answer) if self._handler else None
        with Client(self._settings, transport=transport, pause=self.time.pause, now=self.time.now) as client:
            result = getattr(client, name)(*args, **kwargs)
            return list(result) if inspect.isgenerator(result) else result

    async def _async(self, name: str, *args: Any, **kwargs: Any) -> Any:
        transport = httpx.MockTransport(self._answer) if self._handler else None
        async with AsyncClient(
            self._settings, transport=transport, pause=self.time.apause, now=self.time.now
        ) as client:
            result = getattr(client, name)(*args, **kwargs)
            return [item async for item in result] if inspect.isasyncgen(result) else await result

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        assert self._handler is not None
        return self._handler(request)


class Script:
    """A handler that gives one prepared answer after the other; an exception is raised in its turn."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def job_body(job_id: str = "job_1", status: str = "running", **changes: Any) -> dict[str, Any]:
    """A job as the gateway tells it."""
    return {
        "id": job_id,
        "name": "harbour",
        "status": status,
        "stage": "automatic",
        "phrases": [],
        "hard_negatives": 10,
        "thresholds": {"accept_above": 0.9, "reject_below": 0.7},
        "audit_rate": 0.05,
        "exhaustivity_rate": 0.1,
        "tier": "synthetic",
        "webhook_url": None,
        "submitted_at": "2026-01-02T03:04:05Z",
        "finished_at": None,
        "images": 2,
        "counts": {"submitted": 2},
        "refused": [],
        "failures": [],
        "accepted_positives": 0,
        "accepted_negatives": 0,
        "open_tasks": 0,
        "rate": 0.0,
        "eta_seconds": None,
        **changes,
    }


def problem(status: int, code: str, detail: str, **members: Any) -> httpx.Response:
    """An RFC 9457 answer as the gateway gives it."""
    headers = members.pop("headers", {})
    body = {
        "type": f"urn:tercet:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "instance": "/v1/jobs",
        "request_id": "req-7",
        **members,
    }
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json", **headers})
