"""Submissions that are repeated: one job, whatever was lost in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services.core.errors import Unavailable
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.ports import Message
from services.kit.clock import ManualClock
from tests.support.gateways import Running, adapters, files, png, running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(adapters(tmp_path), max_images=6, max_image_bytes=200_000) as found:
        yield found


class TestIdempotency:
    def post(self, served: Running, key: str, *, seed: int = 1, headers: dict[str, str] | None = None) -> Any:
        return served.client.post(
            "/v1/jobs", files=files(("a.png", png(seed))), headers={"Idempotency-Key": key, **(headers or {})}
        )

    def test_a_retry_gets_the_same_answer_and_no_second_job(self, served: Running) -> None:
        first = self.post(served, "k")
        second = self.post(served, '"k"')
        assert (first.status_code, second.status_code) == (202, 202)
        assert second.json() == first.json()
        assert second.headers["location"] == first.headers["location"]
        assert len(served.jobs()) == 1
        assert len(served.images()) == 1

    def test_another_body_is_refused(self, served: Running) -> None:
        self.post(served, "k")
        answer = self.post(served, "k", seed=2)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        named = served.client.post(
            "/v1/jobs", files=files(("b.png", png(1))), headers={"Idempotency-Key": "k"}
        )
        assert named.status_code == 422
        assert len(served.jobs()) == 1

    def test_keys_of_tenants_are_apart(self, served: Running) -> None:
        first = self.post(served, "k")
        second = self.post(served, "k", headers=served.key("submitter", tenant="other"))
        assert second.status_code == 202
        assert second.json()["id"] != first.json()["id"]
        assert len(served.jobs()) == 2

    def test_malformed_keys(self, served: Running) -> None:
        for key in ("", " ", 'a"b', "x" * 300):
            assert self.post(served, key).status_code == 400, key
        assert served.jobs() == []

    def test_a_refused_job_leaves_the_key_free(self, served: Running) -> None:
        bad = served.client.post("/v1/jobs", files=files(("a", b"x")), headers={"Idempotency-Key": "k"})
        assert bad.status_code == 415
        assert self.post(served, "k").status_code == 202

    def test_many_at_once_make_one_job(self, served: Running) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: self.post(served, "k"), range(8)))
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {202, 409}
        assert 202 in statuses
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 409)
        assert len(served.jobs()) == 1

    def test_redis_lost_and_filled_in_from_the_log(self, served: Running, tmp_path: Path) -> None:
        first = self.post(served, "k").json()
        again = adapters(tmp_path, bus=served.adapters.bus)
        with running(again) as restarted:
            restarted.gateway.rebuild()
            assert self.post(restarted, "k").json() == first
            assert self.post(restarted, "k", seed=2).status_code == 422
            assert len(restarted.jobs()) == 1


class StumblingBus(EmbeddedBus):
    """A bus whose answer to a publish gets lost, before or after the commit, as by a kill."""

    def __init__(self, *, commits: bool, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.commits = commits
        self.stumbles = True

    def publish(self, messages: Sequence[Message]) -> None:
        if not self.stumbles:
            super().publish(messages)
            return
        if self.commits:
            super().publish(messages)
        raise Unavailable("the answer got lost")


class TestDeathInBetween:
    def post(self, served: Running) -> Any:
        return served.client.post(
            "/v1/jobs", files=files(("a.png", png(1))), headers={"Idempotency-Key": "k"}
        )

    def test_after_the_commit_the_job_is_found_in_the_log(self, tmp_path: Path) -> None:
        clock = ManualClock()
        bus = StumblingBus(commits=True, clock=clock)
        with running(adapters(tmp_path, bus=bus, clock=clock)) as served:
            assert self.post(served).status_code == 503
            bus.stumbles = False
            answer = self.post(served)
            assert answer.status_code == 202
            assert [event.job_id for event in served.jobs()] == [answer.json()["id"]]
            assert len(served.images()) == 1

    def test_before_the_commit_it_is_in_flight_for_a_while_then_taken_over(self, tmp_path: Path) -> None:
        clock = ManualClock()
        bus = StumblingBus(commits=False, clock=clock)
        with running(adapters(tmp_path, bus=bus, clock=clock), publish_seconds=60.0) as served:
            assert self.post(served).status_code == 503
            bus.stumbles = False
            waiting = self.post(served)
            assert (waiting.status_code, waiting.json()["code"]) == (409, "idempotency_key_in_flight")
            assert waiting.headers["retry-after"]
            clock.advance(61)
            answer = self.post(served)
            assert answer.status_code == 202
            assert [event.job_id for event in served.jobs()] == [answer.json()["id"]]
            assert self.post(served).json() == answer.json()
