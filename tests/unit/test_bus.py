"""The parts of the bus that need no log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.core.errors import Overloaded, TooLarge, Unavailable
from services.kit.bus import limits
from services.kit.bus.dlq import PoisonLimit
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.lag import LagCollector
from services.kit.bus.outcomes import Done, Outcome
from services.kit.bus.ports import Message, PartitionLag, Record
from services.kit.bus.topics import (
    ALL_TOPICS,
    DLQ_REPLAYS,
    IMAGES_SUBMITTED,
    MAX_MESSAGE_BYTES,
    MAX_RECORD_BYTES,
    SCHEMAS,
    TOPICS,
    configuration,
    dead_letter,
    encode,
)
from services.kit.bus.worker import EXIT_COMMIT_HANGS, Worker, WorkerSettings
from services.kit.clock import ManualClock, SystemClock
from tests.support.bus import copy_to, messages, quick, working
from tests.support.polling import eventually


def test_every_topic_has_a_dead_letter_twin_but_the_replays() -> None:
    assert set(ALL_TOPICS) == set(TOPICS) | set(map(dead_letter, TOPICS)) | {DLQ_REPLAYS}
    assert {configuration(topic)["max.message.bytes"] for topic in ALL_TOPICS} == {str(MAX_MESSAGE_BYTES)}
    assert configuration(DLQ_REPLAYS)["retention.ms"] == "-1"


def test_a_record_is_encoded_with_its_headers() -> None:
    record = SCHEMAS[IMAGES_SUBMITTED]()
    message = encode(IMAGES_SUBMITTED, record, key="k", tenant="t", job_id="j", traceparent="00-a-b-01")
    assert message.headers == {
        "schema": "tercet.v1.ImageSubmitted",
        "tenant": "t",
        "job_id": "j",
        "traceparent": "00-a-b-01",
    }
    assert type(record).FromString(message.value) == record
    assert "traceparent" not in encode(IMAGES_SUBMITTED, record, key="k", tenant="t", job_id="j").headers


def test_the_size_of_a_message_is_key_value_and_headers() -> None:
    message = Message(topic="t", key="ä", value=b"12345", headers={"name": "value"})
    assert limits.size(message) == 2 + 5 + 4 + 5
    assert limits.check([message, message]) == 32
    with pytest.raises(TooLarge, match=str(MAX_RECORD_BYTES)):
        limits.check([message, Message(topic="t", key="k", value=bytes(MAX_RECORD_BYTES))])


def test_bytes_in_flight_are_bounded_together_but_never_refused_alone() -> None:
    in_flight = limits.InFlight(100)
    with in_flight.hold(1000), pytest.raises(Overloaded), in_flight.hold(1):
        pass
    with in_flight.hold(60), in_flight.hold(40), pytest.raises(Overloaded), in_flight.hold(1):
        pass
    with in_flight.hold(100):
        pass


def test_the_poison_limit_needs_number_and_share_within_the_window() -> None:
    limit = PoisonLimit(records=5, share=0.5, seconds=60)
    assert limit.exceeded(0, handled=5, poisoned=5) is None, "all, and yet few"
    assert limit.exceeded(1, handled=20, poisoned=1) is None, "many, and yet a small share"
    assert limit.exceeded(2, handled=10, poisoned=10) is None
    assert limit.exceeded(3, handled=10, poisoned=10) == "26 of 45 records within 60 s could not be worked"
    assert limit.exceeded(70, handled=5, poisoned=5) is None, "what is older than the window is forgotten"


def test_lag_is_exported_under_the_names_of_lag_exporters() -> None:
    clock = ManualClock()
    asked: list[None] = []

    class Asked(EmbeddedBus):
        def lag(self) -> list[PartitionLag]:
            asked.append(None)
            return super().lag()

    bus = Asked(clock=ManualClock())
    bus.publish(messages("images", 30))
    consumer = bus.subscribe(group="segmenter", topics=["images"])
    registry = CollectorRegistry()
    registry.register(LagCollector(bus, clock, seconds=5.0))
    assert not asked, "registering asks the bus for nothing"
    text = generate_latest(registry).decode()
    assert 'kafka_consumergroup_lag_sum{consumergroup="segmenter",topic="images"} 30.0' in text
    assert 'kafka_consumergroup_members{consumergroup="segmenter"} 1.0' in text
    for name in ("kafka_consumergroup_lag", "kafka_consumergroup_lag_seconds", "kafka_consumergroup_stalled"):
        assert f'{name}{{consumergroup="segmenter",partition="0",topic="images"}}' in text
    generate_latest(registry)
    assert len(asked) == 1, "answered from memory for a few seconds"
    clock.advance(6)
    generate_latest(registry)
    assert len(asked) == 2
    consumer.close()
    bus.close()
    clock.advance(6)
    assert "consumergroup=" not in generate_latest(registry).decode(), "no samples while the bus is away"


def test_backoff_grows_to_its_limit_on_the_injected_clock() -> None:
    clock, bus = ManualClock(), EmbeddedBus()
    bus.publish(messages("source", 1))
    waits: list[float] = []
    failures = 0

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        nonlocal failures
        failures += 1
        waits.append(clock.monotonic())
        if failures > 12:
            worker.stop()
            return [Done()]
        raise Unavailable("away")

    settings = WorkerSettings(
        backoff_seconds=1.0, backoff_limit_seconds=64.0, poll_seconds=0.1, keepalive_seconds=0.5
    )
    worker = Worker(bus=bus, group="g", topics=["source"], handler=handle, settings=settings, clock=clock)
    thread = threading.Thread(target=worker.run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    pauses = [later - earlier for earlier, later in pairwise(waits)]
    for index, pause in enumerate(pauses):
        ceiling = min(64.0, 2.0**index)
        assert ceiling / 2 <= pause <= ceiling + 1e-6
    bus.close()


def test_a_commit_that_hangs_ends_the_process() -> None:
    released = threading.Event()
    codes: list[int] = []

    class Hanging(EmbeddedBus):
        """The real bus, whose disk has stopped answering."""

        def commit(self, *arguments: object) -> None:
            released.wait(60)

    hanging = Hanging()
    hanging.publish(messages("source", 1))
    worker = Worker(
        bus=hanging,
        group="g",
        topics=["source"],
        handler=copy_to("target"),
        settings=quick(commit_limit_seconds=0.2),
        clock=SystemClock(),
        die=codes.append,
    )
    thread = threading.Thread(target=worker.run)
    thread.start()
    eventually(lambda: codes == [EXIT_COMMIT_HANGS])
    released.set()
    worker.stop()
    thread.join(30)
    assert not thread.is_alive()
    hanging.close()


def test_a_worker_that_cannot_go_on_says_why() -> None:
    class Broken(EmbeddedBus):
        """The real bus with a flaw."""

        def poll(self, *arguments: object, **more: object) -> list[Record]:
            raise RuntimeError("a flaw")

    broken = Broken()
    with working(broken, "source", copy_to("target"), group="g") as worker:
        eventually(lambda: worker.halted)
    assert worker.halted == "RuntimeError: a flaw"
    broken.close()


def test_a_file_belongs_to_one_process_and_keeps_its_partitions(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    bus = EmbeddedBus(path, partitions=2)
    bus.publish(messages("t", 20))
    with pytest.raises(Unavailable, match="open elsewhere"):
        EmbeddedBus(path)
    bus.close()
    with pytest.raises(Unavailable):
        bus.publish(messages("t", 1))
    again = EmbeddedBus(path, partitions=8)
    assert {record.partition for record in again.read(["t"])} == {0, 1}
    assert len(list(again.read(["t"]))) == 20
    again.close()
