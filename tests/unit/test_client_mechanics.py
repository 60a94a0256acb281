"""What both clients do on the wire: tries, errors, pages; and where their key comes from."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.client import (
    ApiError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServerFailure,
    TooLarge,
    Unauthenticated,
    Unexpected,
    Unreachable,
    UnsupportedMedia,
    UnusableKey,
    Upload,
)
from gateway.client.settings import ClientSettings, find_key_file
from tests.support.clients import Caller, Kind, Script, job_body, problem

CUT = httpx.ReadError("connection reset")


def job_answer() -> httpx.Response:
    return httpx.Response(200, json=job_body())


# --- tries


def test_retry_after_is_obeyed(kind: Kind) -> None:
    busy = problem(429, "overloaded", "too many requests", headers={"Retry-After": "7"})
    caller = Caller(kind, Script(busy, job_answer()))
    assert caller("job", "job_1").id == "job_1"
    assert caller.time.pauses == [7.0]


def test_backoff_grows_and_ends(kind: Kind) -> None:
    caller = Caller(
        kind, lambda _: problem(503, "unavailable", "the dataset service does not answer"), attempts=4
    )
    with pytest.raises(Overloaded, match="the dataset service does not answer"):
        caller("job", "job_1")
    assert len(caller.requests) == 4
    first, second, third = caller.time.pauses
    assert 0.25 <= first <= 0.5 <= second <= 1.0 <= third <= 2.0


def test_no_pause_is_longer_than_set(kind: Kind) -> None:
    busy = problem(429, "overloaded", "too many", headers={"Retry-After": "3600"})
    caller = Caller(kind, Script(busy, job_answer()), longest_pause=20)
    caller("job", "job_1")
    assert caller.time.pauses == [20.0]


def test_cut_connection_is_tried_again(kind: Kind) -> None:
    caller = Caller(kind, Script(CUT, CUT, job_answer()))
    assert caller("job", "job_1").id == "job_1"


def test_nobody_there_is_told_quickly(kind: Kind) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    caller = Caller(kind, refuse)
    with pytest.raises(Unreachable, match=r"http://gateway\.test.*make run"):
        caller("job", "job_1")
    assert len(caller.requests) == 2


def test_unrepeatable_requests_are_not_repeated_after_a_cut(kind: Kind) -> None:
    caller = Caller(kind, lambda _: (_ for _ in ()).throw(CUT))
    with pytest.raises(Unreachable):
        caller("replay", topic="images.proposed")
    assert len(caller.requests) == 1


def test_unrepeatable_requests_are_repeated_after_a_plain_refusal(kind: Kind) -> None:
    busy = problem(429, "overloaded", "too many", headers={"Retry-After": "0"})
    caller = Caller(kind, Script(busy, httpx.Response(200, json={"replayed": 3})))
    assert caller("replay", topic="images.proposed") == 3


def test_submission_keeps_its_key_through_all_tries(kind: Kind) -> None:
    caller = Caller(
        kind, Script(CUT, problem(503, "unavailable", "busy"), httpx.Response(202, json=job_body()))
    )
    caller("submit", Upload("a.png", b"picture", 7))
    keys = {request.headers["idempotency-key"] for request in caller.requests}
    assert len(caller.requests) == 3
    assert len(keys) == 1
    again = Caller(kind, Script(httpx.Response(202, json=job_body())))
    again("submit", Upload("a.png", b"picture", 7))
    assert again.requests[0].headers["idempotency-key"] not in keys


def test_a_repeat_waits_for_its_own_first_try(kind: Kind) -> None:
    def in_flight() -> httpx.Response:
        headers = {"Retry-After": "2"}
        return problem(409, "idempotency_key_in_flight", "the first is not answered yet", headers=headers)

    waits = [in_flight() for _ in range(8)]
    caller = Caller(kind, Script(CUT, *waits, httpx.Response(202, json=job_body())), attempts=3)
    assert caller("submit", Upload("a.png", b"picture", 7)).id == "job_1"
    assert len(caller.requests) == 10


def test_any_other_conflict_is_final(kind: Kind) -> None:
    caller = Caller(kind, Script(problem(409, "conflict", "the job has ended")))
    with pytest.raises(Conflict, match="the job has ended"):
        caller("cancel", "job_1")


# --- errors


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (415, UnsupportedMedia),
        (418, InvalidRequest),
        (422, InvalidRequest),
        (429, Overloaded),
        (500, ServerFailure),
        (502, ServerFailure),
        (503, Overloaded),
    ],
)
def test_each_problem_has_its_exception(status: int, error: type[ApiError]) -> None:
    caller = Caller("sync", lambda _: problem(status, "some_code", "what is wrong"))
    with pytest.raises(error) as raised:
        caller("job", "job_1")
    assert type(raised.value) is error
    told = raised.value
    assert (told.status, told.code, told.detail, told.request_id) == (
        status,
        "some_code",
        "what is wrong",
        "req-7",
    )
    assert "what is wrong" in str(told)
    assert "req-7" in str(told)


def test_wrong_fields_and_refused_images_are_named() -> None:
    answer = problem(
        422,
        "invalid",
        "the request is malformed",
        errors=[{"field": "thresholds.accept_above", "detail": "must be at most 1"}],
        refused=[{"name": "a.jpg", "code": "truncated", "reason": "the file ends too early"}],
    )
    with pytest.raises(InvalidRequest) as raised:
        Caller("sync", lambda _: answer)("job", "job_1")
    assert "thresholds.accept_above: must be at most 1" in str(raised.value)
    assert "a.jpg: the file ends too early" in str(raised.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html><body>Bad gateway</body></html>", b"upstream is gone", b"[1]", b"{}"]
)
def test_errors_of_other_servers_are_told_too(body: bytes) -> None:
    with pytest.raises(ServerFailure, match="HTTP 502") as raised:
        Caller("sync", lambda _: httpx.Response(502, content=body))("job", "job_1")
    assert "<html>" not in str(raised.value)


def test_an_answer_that_is_no_gateways(kind: Kind) -> None:
    with pytest.raises(Unexpected, match="Is it a Tercet gateway"):
        Caller(kind, lambda _: httpx.Response(200, text="hello"))("job", "job_1")


# --- requests


def test_key_goes_as_bearer_token(kind: Kind) -> None:
    caller = Caller(kind, Script(job_answer()))
    caller("job", "job_1")
    assert caller.requests[0].headers["authorization"] == "Bearer secret"


def test_ids_cannot_reach_other_paths(kind: Kind) -> None:
    caller = Caller(kind, Script(job_answer()))
    caller("job", "../keys?x=1")
    assert caller.requests[0].url.raw_path == b"/v1/jobs/..%2Fkeys%3Fx%3D1"


def test_pages_are_followed_to_the_end(kind: Kind) -> None:
    tokens: list[str | None] = []

    def pages(request: httpx.Request) -> httpx.Response:
        token = request.url.params.get("page_token")
        tokens.append(token)
        number = int(token or 0)
        items = [
            {"image_id": f"{number}{i}", "name": "x", "state": "complete", "failure": None} for i in range(2)
        ]
        return httpx.Response(
            200, json={"items": items, "next_page_token": str(number + 1) if number < 2 else None}
        )

    caller = Caller(kind, pages)
    images = caller("job_images", "job_1", state="complete", page_size=2)
    assert [image.image_id for image in images] == ["00", "01", "10", "11", "20", "21"]
    assert tokens == [None, "1", "2"]
    assert all(dict(r.url.params)["state"] == "complete" for r in caller.requests)


def test_pages_are_fetched_as_they_are_needed() -> None:
    caller = Caller(
        "sync", lambda _: httpx.Response(200, json={"items": [job_body()], "next_page_token": "more"})
    )
    from gateway.client import Client

    with Client(
        ClientSettings(url="http://gateway.test"), transport=httpx.MockTransport(caller._answer)
    ) as client:
        next(iter(client.jobs()))
    assert len(caller.requests) == 1


# --- settings


def test_key_file_is_found_upwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERCET_API_KEY", raising=False)
    (tmp_path / ".tercet").mkdir()
    (tmp_path / ".tercet/api-key").write_text("from-file\n")
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert ClientSettings().key() == "from-file"
    monkeypatch.setenv("TERCET_API_KEY", "from-environment")
    assert ClientSettings().key() == "from-environment"
    assert find_key_file(Path(".tercet/none")) is None


def test_the_key_of_make_run_is_found_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERCET_API_KEY", raising=False)
    monkeypatch.delenv("TERCET_KEY_FILE", raising=False)
    (tmp_path / ".tercet/embedded").mkdir(parents=True)
    (tmp_path / ".tercet/embedded/api-key").write_text("of-make-run\n")
    monkeypatch.chdir(tmp_path)
    assert ClientSettings().key() == "of-make-run"
    assert ClientSettings(key_file=Path("elsewhere")).key() is None
    (tmp_path / ".tercet/api-key").write_text("of-make-up\n")
    assert ClientSettings().key() == "of-make-up"


@pytest.mark.parametrize("key", ["two words", "line\nend", "schlüssel"])
def test_a_key_that_is_none_is_not_told(key: str) -> None:
    with pytest.raises(UnusableKey) as raised:
        Caller("sync", Script(), api_key=key)("lag")
    assert key not in str(raised.value)
