"""A running service: what it waits for, how it drains, and what it does about a lost worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.core.errors import InvalidInput, Unavailable
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.outcomes import Done, Outcome
from services.kit.bus.ports import Consumer, Message, Record
from services.kit.bus.worker import Worker, WorkerSettings
from services.kit.clock import SystemClock
from services.kit.inference.embedded import EmbeddedInference
from services.kit.running import RunningService, start, stop_all, wait_for
from services.kit.service import Adapters, Service
from services.kit.settings import KitSettings
from services.kit.state.embedded import embedded
from tercet.v1 import mining_pb2_grpc
from tests.support.polling import eventually

GRPC_SERVICE = "tercet.v1.MiningService"
TOPIC = "images.submitted"
SETTINGS = KitSettings(poll_age_limit=1.5)


@pytest.fixture
def adapters(tmp_path: Path) -> Iterator[Adapters]:
    ports = Adapters(
        bus=EmbeddedBus(),
        redis=embedded(),
        blobs=connect_blobs(f"file://{tmp_path}/blobs"),
        inference=EmbeddedInference({}, settings=SETTINGS),
        clock=SystemClock(),
    )
    yield ports
    ports.inference.close()
    ports.bus.close()


def service(
    adapters: Adapters, handler: Callable[[Sequence[Record]], Sequence[Outcome]], **changes: Any
) -> Service:
    worker = Worker(
        bus=changes.pop("bus", adapters.bus),
        group="running",
        topics=[TOPIC],
        handler=handler,
        settings=WorkerSettings(poll_seconds=0.05, attempts=1, poison_limit_records=2, drain_seconds=10),
        clock=adapters.clock,
    )
    return Service(
        name="mining",
        grpc_service=GRPC_SERVICE,
        register=lambda server: mining_pb2_grpc.add_MiningServiceServicer_to_server(
            mining_pb2_grpc.MiningServiceServicer(),  # type: ignore[abstract]
            server,
        ),
        workers=[worker],
        **changes,
    )


def done(records: Sequence[Record]) -> Sequence[Outcome]:
    return [Done() for _ in records]


def health(running: RunningService) -> str:
    with grpc.insecure_channel(running.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=GRPC_SERVICE), timeout=10)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def publish(adapters: Adapters, count: int = 1) -> None:
    adapters.bus.publish([Message(topic=TOPIC, key=str(n), value=b"") for n in range(count)])


def test_it_serves_once_everything_is_there(adapters: Adapters, tmp_path: Path) -> None:
    there = threading.Event()
    handled = threading.Event()

    def needed() -> bool:
        if not there.is_set():
            raise Unavailable("not yet")
        return True

    def handler(records: Sequence[Record]) -> Sequence[Outcome]:
        handled.set()
        return done(records)

    publish(adapters)
    running = start(
        service(adapters, handler),
        adapters,
        f"unix:{tmp_path}/s.sock",
        settings=SETTINGS,
        needs={"the thing": needed},
    )
    assert not running.wait_ready(0.5)
    assert health(running) == "NOT_SERVING"
    assert not handled.is_set(), "no record is worked before everything is there"
    there.set()
    assert running.wait_ready(20)
    assert health(running) == "SERVING"
    assert handled.wait(20)
    assert running.stop(20)
    assert running.failure is None


def test_it_waits_for_its_models(adapters: Adapters, tmp_path: Path) -> None:
    running = start(
        service(adapters, done, models=("sam",)), adapters, f"unix:{tmp_path}/s.sock", settings=SETTINGS
    )
    assert not running.wait_ready(0.5)
    assert health(running) == "NOT_SERVING"
    assert running.stop(20), "it can be stopped while it waits"


def test_stopping_finishes_the_batch_at_hand(adapters: Adapters, tmp_path: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    def handler(records: Sequence[Record]) -> Sequence[Outcome]:
        entered.set()
        release.wait(20)
        return [Done((Message(topic="images.proposed", key=r.key, value=b"out"),)) for r in records]

    publish(adapters)
    running = start(service(adapters, handler), adapters, f"unix:{tmp_path}/s.sock", settings=SETTINGS)
    assert entered.wait(20)
    stopped: list[bool] = []
    stopping = threading.Thread(target=lambda: stopped.append(stop_all([running], 20)))
    stopping.start()
    release.set()
    stopping.join(30)
    assert stopped == [True]
    assert [record.value for record in adapters.bus.read(["images.proposed"])] == [b"out"]


def test_a_batch_that_does_not_end_is_given_up_after_the_grace(adapters: Adapters, tmp_path: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    def handler(records: Sequence[Record]) -> Sequence[Outcome]:
        entered.set()
        release.wait(30)
        return done(records)

    publish(adapters)
    running = start(service(adapters, handler), adapters, f"unix:{tmp_path}/s.sock", settings=SETTINGS)
    assert entered.wait(20)
    assert not running.stop(0.5)
    release.set()


def test_a_worker_that_halts_is_told_and_no_longer_served(adapters: Adapters, tmp_path: Path) -> None:
    def handler(records: Sequence[Record]) -> Sequence[Outcome]:
        raise InvalidInput(f"{len(records)} records, and all are bad")

    failures: list[str] = []
    publish(adapters, 20)
    running = start(
        service(adapters, handler),
        adapters,
        f"unix:{tmp_path}/s.sock",
        settings=SETTINGS,
        failed=failures.append,
    )
    eventually(lambda: failures)
    assert "worker running halted" in failures[0]
    assert running.failure == failures[0]
    assert health(running) == "NOT_SERVING"
    assert running.stop(20)
    assert len(failures) == 1


class HangingBus(EmbeddedBus):
    """Its consumers never come back from a poll, as a client library with a bug."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def subscribe(self, *, group: str, topics: Sequence[str]) -> Any:
        consumer = super().subscribe(group=group, topics=topics)
        release = self.release

        class Hanging:
            def poll(self, **_: Any) -> Sequence[Record]:
                release.wait(60)
                return []

            def __getattr__(self, name: str) -> Any:
                return getattr(consumer, name)

        hanging: Consumer = Hanging()
        return hanging


def test_a_worker_that_no_longer_polls_is_told(adapters: Adapters, tmp_path: Path) -> None:
    failures: list[str] = []
    bus = HangingBus()
    running = start(
        service(adapters, done, bus=bus),
        adapters,
        f"unix:{tmp_path}/s.sock",
        settings=SETTINGS,
        failed=failures.append,
    )
    eventually(lambda: failures)
    assert "hangs" in failures[0]
    assert not running.stop(0.5)
    bus.release.set()
    bus.close()


def test_waiting_is_called_off_by_stop() -> None:
    stop = threading.Event()
    stop.set()
    assert not wait_for({"nothing": lambda: False}, clock=SystemClock(), stop=stop)
    assert not wait_for({"all there": lambda: True}, clock=SystemClock(), stop=stop)


def test_warming_up_holds_nothing_up(adapters: Adapters, tmp_path: Path) -> None:
    began, finish = threading.Event(), threading.Event()

    def warm_up() -> None:
        began.set()
        finish.wait(30)

    warming = service(adapters, done, warm_up=warm_up)
    running = start(warming, adapters, f"unix:{tmp_path}/s.sock", settings=SETTINGS)
    try:
        assert began.wait(10)
        assert running.wait_ready(10), "it serves while something is still being loaded"
        assert not finish.is_set()
    finally:
        finish.set()
        running.stop(5)
