"""Watching a job: events in pieces, cuts, silence, and plain looks where events cannot be had."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import NotFound, Unreachable, WaitExpired
from gateway.client.sse import Event, EventParser
from tests.support.clients import Caller, Kind, Script, job_body, problem


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in given chunks; an exception among them cuts it."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def events(*chunks: bytes | Exception) -> httpx.Response:
    return httpx.Response(
        200, headers={"content-type": "text/event-stream; charset=utf-8"}, stream=Chunks(*chunks)
    )


def told(number: int, status: str = "running", **changes: Any) -> bytes:
    body = job_body(status=status, counts={"complete": number}, **changes)
    return f"id: {number}\nevent: job\ndata: {json.dumps(body)}\n\n".encode()


def counts(jobs: list[object]) -> list[int]:
    return [job.counts["complete"] for job in jobs]  # type: ignore[attr-defined]


def test_events_end_with_the_final_status(kind: Kind) -> None:
    caller = Caller(kind, Script(events(told(0), b": still here\n\n", told(1), told(2, "complete"), told(3))))
    jobs = caller("watch", "job_1")
    assert counts(jobs) == [0, 1, 2]
    assert jobs[-1].status == "complete"


def test_an_unchanged_job_is_told_once(kind: Kind) -> None:
    caller = Caller(kind, Script(events(told(0), told(0), told(1, "cancelled"))))
    assert counts(caller("watch", "job_1")) == [0, 1]


def test_a_cut_stream_goes_on_after_the_last_event(kind: Kind) -> None:
    cut = httpx.ReadError("reset")
    caller = Caller(
        kind, Script(events(told(0), told(1)[:40], cut), events(told(1), told(2, "waiting_for_people")))
    )
    assert counts(caller("watch", "job_1")) == [0, 1, 2]
    assert "last-event-id" not in caller.requests[0].headers
    assert caller.requests[1].headers["last-event-id"] == "0"


def test_the_server_says_how_soon_to_come_back(kind: Kind) -> None:
    caller = Caller(kind, Script(events(b"retry: 2500\n\n", told(0)), events(told(1, "complete"))))
    caller("watch", "job_1")
    assert caller.time.pauses == [2.5]


@pytest.mark.parametrize("status", [200, 404])
def test_without_events_the_job_is_looked_at(kind: Kind, status: int) -> None:
    looks = [httpx.Response(200, json=job_body(status=s, counts={"complete": n})) for n, s in
             [(0, "running"), (0, "running"), (1, "running"), (2, "complete")]]  # fmt: skip
    caller = Caller(kind, Script(httpx.Response(status, text="hello"), *looks), poll_interval=3)
    assert counts(caller("watch", "job_1")) == [0, 1, 2]
    assert caller.time.pauses == [3, 3, 3]


def test_barren_streams_lead_to_looks(kind: Kind) -> None:
    silent = [events(b": nothing\n\n") for _ in range(3)]
    caller = Caller(kind, Script(*silent, httpx.Response(200, json=job_body(status="complete"))))
    assert len(caller("watch", "job_1")) == 1


def test_an_unknown_job_is_an_error(kind: Kind) -> None:
    with pytest.raises(NotFound, match="no job job_9"):
        Caller(kind, lambda _: problem(404, "not_found", "no job job_9"))("watch", "job_9")


def test_a_gateway_that_is_gone_for_long_is_an_error(kind: Kind) -> None:
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    caller = Caller(kind, gone, attempts=4)
    with pytest.raises(Unreachable):
        caller("watch", "job_1")
    assert len(caller.requests) == 4


def test_a_gateway_that_comes_back_in_time_is_waited_for(kind: Kind) -> None:
    away = [httpx.ConnectError("refused") for _ in range(9)]
    caller = Caller(kind, Script(events(told(0)), *away, events(told(1, "complete"))), outage=600)
    assert counts(caller("watch", "job_1")) == [0, 1]
    assert caller.time.passed > 60


def test_a_gateway_that_stays_away_is_given_up(kind: Kind) -> None:
    answers = iter([events(told(0))])

    def once(_: httpx.Request) -> httpx.Response:
        for answer in answers:
            return answer
        raise httpx.ConnectError("refused")

    caller = Caller(kind, once, outage=120)
    with pytest.raises(Unreachable):
        caller("watch", "job_1")
    assert 120 < caller.time.passed < 200


@pytest.mark.parametrize("failing", [502, 503])
def test_looks_outlive_a_failing_gateway_too(kind: Kind, failing: int) -> None:
    def look(number: int, status: str) -> httpx.Response:
        return httpx.Response(200, json=job_body(status=status, counts={"complete": number}))

    bad = [problem(failing, "failing", "restarting") for _ in range(6)]
    caller = Caller(kind, Script(bad[0], look(0, "running"), *bad[1:], look(1, "complete")), attempts=3)
    assert counts(caller("watch", "job_1")) == [0, 1]


def test_wait_gives_the_last_sight(kind: Kind) -> None:
    caller = Caller(kind, Script(events(told(0), told(1, "waiting_for_people", open_tasks=4))))
    assert caller("wait", "job_1").open_tasks == 4


def test_wait_ends_in_time(kind: Kind) -> None:
    def running(request: httpx.Request) -> httpx.Response:
        return events(told(0))

    caller = Caller(kind, running)
    with pytest.raises(WaitExpired, match="is running after 10 s"):
        caller("wait", "job_1", timeout=10)
    assert caller.time.passed >= 10


@given(st.data())
def test_events_do_not_depend_on_the_chunks(data: st.DataObject) -> None:
    text = "data: é1\r\ndata: 2\r\n\r\n: comment\nevent: job\rid: 7\rdata\r\r\ndata:x\n\nid: 8\n\ndata: z\n\n"
    stream = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1))))
    parser = EventParser()
    found = [
        e for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) for e in parser.feed(stream[a:b])
    ]
    assert found == [
        Event("é1\n2", "message", ""),
        Event("", "job", "7"),
        Event("x", "message", "7"),
        Event("z", "message", "8"),
    ]


def test_ill_formed_fields_are_ignored() -> None:
    parser = EventParser()
    assert list(parser.feed(b"id: a\0b\nretry: soon\nnonsense\ndata: x\n\n")) == [Event("x")]
    assert parser.retry is None
