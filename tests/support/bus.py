"""The two logs that the bus suites run on, behind one face, and small readers of them."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from kafka.admin import KafkaAdminClient, NewTopic

from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.kafka import KafkaBus
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.outcomes import Done, Handler, Outcome
from services.kit.bus.ports import Bus, Consumer, Message, Record
from services.kit.bus.topics import configuration, dead_letter
from services.kit.bus.worker import Worker, WorkerSettings
from services.kit.clock import SystemClock
from tests.support.polling import eventually

PARTITIONS = 4


class Log(Protocol):
    """One log. `location` is what another process needs to open it."""

    kind: str
    location: str
    markers: bool
    """Whether lag counts the marker of each transaction as a record."""

    def bus(self, **settings: object) -> Bus:
        """A bus on the log, as a process of its own would have it. The settings are Kafka's."""

    def topic(self) -> str:
        """A new topic of four partitions, with its dead-letter twin."""

    def close(self) -> None:
        """Close every bus."""


class EmbeddedLog:
    """A file. One process has one bus on it, which all of its services share."""

    kind = "embedded"
    markers = False

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._bus: EmbeddedBus | None = None
        self._numbers = itertools.count()

    def bus(self, **settings: object) -> Bus:
        if self._bus is None:
            self._bus = EmbeddedBus(self.location, synchronous="NORMAL", stall_seconds=0.2)
        return self._bus

    def topic(self) -> str:
        return f"topic-{next(self._numbers)}"

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None


class KafkaLog:
    """A broker."""

    kind = "kafka"
    markers = True

    def __init__(self, bootstrap: str) -> None:
        self.location = bootstrap
        self._buses: list[KafkaBus] = []
        self._admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def bus(self, **settings: object) -> KafkaBus:
        bus = KafkaBus(self.location, settings=kafka_settings(**settings))
        self._buses.append(bus)
        return bus

    def topic(self) -> str:
        name = f"topic-{uuid.uuid4().hex[:12]}"
        self._admin.create_topics(
            [
                NewTopic(
                    topic, num_partitions=PARTITIONS, replication_factor=1, topic_configs=configuration(topic)
                )
                for topic in (name, dead_letter(name))
            ]
        )
        return name

    def close(self) -> None:
        for bus in self._buses:
            bus.close()
        self._admin.close()


def kafka_settings(**changes: object) -> KafkaSettings:
    """Dead members are found dead as soon as a broker allows."""
    defaults: dict[str, object] = {"session_timeout_seconds": 6.0, "lag_seconds": 0.0, "stall_seconds": 0.2}
    return KafkaSettings.model_validate({**defaults, **changes})


def messages(topic: str, count: int, *, keys: int = 20, size: int = 0) -> list[Message]:
    """Messages numbered from 0 in their value, of `size` bytes at least."""
    return [
        Message(topic=topic, key=f"key-{number % keys}", value=str(number).encode().ljust(size))
        for number in range(count)
    ]


def numbers(records: Iterable[Message]) -> list[int]:
    """The numbers of the messages, in the order of the records."""
    return [int(record.value) for record in records]


def drain(consumer: Consumer, count: int, *, timeout: float = 30.0) -> list[Record]:
    """So many records, polled and not committed."""
    records: list[Record] = []

    def enough() -> bool:
        records.extend(consumer.poll(max_records=count - len(records), timeout=0.2))
        return len(records) >= count

    eventually(enough, timeout=timeout, interval=0.0)
    return records


def copy_to(topic: str) -> Handler:
    """A handler that writes every record to another topic."""

    def handle(records: Sequence[Record]) -> list[Outcome]:
        return [Done((Message(topic=topic, key=record.key, value=record.value),)) for record in records]

    return handle


def quick(**changes: object) -> WorkerSettings:
    """A worker that does not take its time."""
    defaults: dict[str, object] = {
        "poll_seconds": 0.1,
        "keepalive_seconds": 0.05,
        "backoff_seconds": 0.01,
        "backoff_limit_seconds": 0.05,
        "drain_seconds": 5.0,
    }
    return WorkerSettings.model_validate({**defaults, **changes})


@contextmanager
def working(
    bus: Bus,
    topic: str,
    handler: Handler,
    *,
    group: str,
    settings: WorkerSettings | None = None,
    skip: Callable[[Record], bool] | None = None,
) -> Iterator[Worker]:
    """A worker that runs in a thread of its own until the block ends."""
    worker = Worker(
        bus=bus,
        group=group,
        topics=[topic],
        handler=handler,
        settings=settings or quick(),
        clock=SystemClock(),
        skip=skip,
    )
    thread = threading.Thread(target=worker.run, name=group)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(30)
        assert not thread.is_alive()
