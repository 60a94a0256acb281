"""Webhooks: posted once, signed, tried again, given up, and never in each other's way."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.addresses import AddressPolicy
from gateway.fetching import FetchLimits, SafeFetcher
from gateway.settings import GatewaySettings
from gateway.webhooks import Webhooks
from services.core.errors import Unavailable
from services.kit.bus.outcomes import Done
from services.kit.bus.ports import Record
from services.kit.bus.topics import JOBS_EVENTS
from services.kit.clock import ManualClock
from services.kit.rpc.client import connect
from services.kit.state.embedded import embedded
from tercet.v1 import dataset_pb2_grpc, records_pb2
from tests.support.polling import eventually
from tests.support.scripted_dataset import ScriptedDataset, a_job, serving


@dataclass
class Receiver:
    """An HTTP server that answers with the statuses it is told, then with 204."""

    statuses: list[int] = field(default_factory=list)
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event | None = None
    port: int = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.posts.append((self.path, dict(self.headers), body))
            if found.hold is not None and self.path == "/slow":
                found.hold.wait(30)
            self.send_response(found.statuses.pop(0) if found.statuses else 204)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            if found.hold is not None:
                found.hold.set()
            server.shutdown()
            thread.join()


async def resolve(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@dataclass
class Parts:
    webhooks: Webhooks
    dataset: ScriptedDataset
    clock: ManualClock
    state: redis.Redis
    url: Callable[[str], str]

    def finished(
        self, job_id: str = "job_a", path: str = "/hook", status: str = "complete", undone: int = 0
    ) -> None:
        """The job has ended, and the worker reads of it."""
        self.dataset.show(a_job(job_id, done=10, webhook_url=self.url(path) if path else ""))
        event = records_pb2.JobEvent(
            job_id=job_id,
            tenant="default",
            finished=records_pb2.JobFinished(status=status, undone=undone),
        )
        assert self.webhooks.handle([record(event)]) == [Done()]

    def deliver(self) -> int:
        with ThreadPoolExecutor(4) as pool:
            return self.webhooks.deliver_due(pool)


def record(event: records_pb2.JobEvent) -> Record:
    return Record(
        topic=JOBS_EVENTS,
        key=event.job_id,
        value=event.SerializeToString(),
        partition=0,
        offset=0,
        timestamp_ms=0,
    )


@pytest.fixture
def parts(tmp_path: Path, receiver: Receiver) -> Iterator[Parts]:
    settings = GatewaySettings(
        webhook_secret="a secret",
        webhook_attempts=3,
        webhook_backoff=10,
        webhook_parallel=2,
        rpc_attempts=1,
    )
    clock, state = ManualClock(), embedded()
    fetcher = SafeFetcher(
        AddressPolicy(["hooks.test"]),
        FetchLimits(ports=frozenset({receiver.port}), seconds=10),
        resolve=resolve,
    )
    with serving(tmp_path) as (dataset, address), connect(address, settings=settings) as channel:
        webhooks = Webhooks(
            state=state,
            dataset=dataset_pb2_grpc.DatasetServiceStub(channel),
            fetcher=fetcher,
            clock=clock,
            settings=settings,
        )
        yield Parts(webhooks, dataset, clock, state, lambda path: f"http://hooks.test:{receiver.port}{path}")


def test_the_job_is_posted_once_and_signed(parts: Parts, receiver: Receiver) -> None:
    parts.finished()
    parts.finished()
    assert parts.deliver() == 1
    assert parts.deliver() == 0
    parts.finished()  # read again after a crash
    assert parts.deliver() == 0
    [(path, headers, body)] = receiver.posts
    assert path == "/hook"
    sent = json.loads(body)
    assert (sent["event"], sent["job"]["id"], sent["job"]["status"]) == ("job.finished", "job_a", "complete")
    assert headers["Tercet-Delivery"] == sent["id"]
    assert headers["Tercet-Event"] == "job.finished"
    at, signature = headers["Tercet-Signature"].split(",")
    assert at == f"t={int(parts.clock.now())}"
    expected = hmac.new(b"a secret", at.removeprefix("t=").encode() + b"." + body, hashlib.sha256)
    assert signature == f"v1={expected.hexdigest()}"


def test_each_end_of_a_job_is_told(parts: Parts, receiver: Receiver) -> None:
    parts.finished(status="waiting_for_people")
    parts.finished(status="complete")
    assert parts.deliver() == 2
    assert len({headers["Tercet-Delivery"] for _, headers, _ in receiver.posts}) == 2


def test_a_job_that_an_undo_opened_is_told_again_once_it_is_complete(
    parts: Parts, receiver: Receiver
) -> None:
    for undone in (0, 0, 2, 2):
        parts.finished(undone=undone)
        parts.deliver()
    assert len(receiver.posts) == 2
    assert len({headers["Tercet-Delivery"] for _, headers, _ in receiver.posts}) == 2


def test_jobs_without_a_webhook_and_other_events(parts: Parts, receiver: Receiver) -> None:
    parts.finished(path="")
    created = records_pb2.JobEvent(job_id="job_a", tenant="default", created=records_pb2.JobCreated())
    unknown = records_pb2.JobEvent(job_id="job_x", tenant="default", finished=records_pb2.JobFinished())
    assert parts.webhooks.handle([record(created), record(unknown)]) == [Done(), Done()]
    assert parts.deliver() == 0
    assert receiver.posts == []


def test_tried_again_with_growing_pauses_then_delivered(parts: Parts, receiver: Receiver) -> None:
    receiver.statuses = [500, 302]
    parts.finished()
    assert parts.deliver() == 1
    parts.clock.advance(7)
    assert parts.deliver() == 0
    parts.clock.advance(6)  # 10 s, a quarter more or less
    assert parts.deliver() == 1
    parts.clock.advance(14)
    assert parts.deliver() == 0
    parts.clock.advance(12)
    assert parts.deliver() == 1
    parts.clock.advance(1000)
    assert parts.deliver() == 0
    assert len({headers["Tercet-Delivery"] for _, headers, _ in receiver.posts}) == 1
    assert len(receiver.posts) == 3


def test_given_up_in_the_end(parts: Parts, receiver: Receiver) -> None:
    receiver.statuses = [500] * 10
    parts.finished()
    for _ in range(5):
        parts.deliver()
        parts.clock.advance(1000)
    assert len(receiver.posts) == 3


def test_an_address_that_turned_inward_is_given_up_at_once(parts: Parts, receiver: Receiver) -> None:
    job = a_job("job_b", done=10, webhook_url=f"http://127.0.0.1:{receiver.port}/hook")
    parts.dataset.show(job)
    event = records_pb2.JobEvent(
        job_id="job_b", tenant="default", finished=records_pb2.JobFinished(status="complete")
    )
    parts.webhooks.handle([record(event)])
    assert parts.deliver() == 1
    parts.clock.advance(1000)
    assert parts.deliver() == 0
    assert receiver.posts == []


def test_a_killed_gateway_s_delivery_is_made_later(parts: Parts, receiver: Receiver) -> None:
    parts.finished()
    # Leased, and then nothing more is heard of it.
    now = parts.clock.now()
    assert len(parts.webhooks._lease(keys=["tercet:gateway:webhooks:due"], args=[now, now + 60, 4])) == 1
    assert parts.deliver() == 0
    parts.clock.advance(61)
    assert parts.deliver() == 1
    assert len(receiver.posts) == 1


def test_without_the_dataset_the_worker_tries_again(parts: Parts) -> None:
    parts.dataset.go(away=True)
    event = records_pb2.JobEvent(job_id="job_a", tenant="default", finished=records_pb2.JobFinished())
    with pytest.raises(Unavailable):
        parts.webhooks.handle([record(event)])


def test_a_slow_receiver_holds_up_no_other_job(parts: Parts, receiver: Receiver) -> None:
    receiver.hold = threading.Event()
    parts.finished("job_slow", "/slow")
    parts.finished("job_quick", "/quick")
    with ThreadPoolExecutor(1) as pool:
        delivering = pool.submit(parts.deliver)
        eventually(lambda: {"/slow", "/quick"} <= {path for path, _, _ in receiver.posts})
        assert not delivering.done()
        receiver.hold.set()
        assert delivering.result(timeout=30) == 2
