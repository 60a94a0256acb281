"""The three stage services, built by their bootstraps over embedded adapters and running."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message as Proto

from services.kit.blobs.store import connect
from services.kit.bus import dlq, topics
from services.kit.bus.embedded import EmbeddedBus
from services.kit.clock import SystemClock
from services.kit.inference.ports import Inference
from services.kit.service import Adapters, Service
from services.kit.state.embedded import embedded
from services.proposer import bootstrap as proposer
from services.proposer.settings import ProposerSettings
from services.segmenter import bootstrap as segmenter
from services.segmenter.settings import SegmenterSettings
from services.verifier import bootstrap as verifier
from services.verifier.settings import VerifierSettings
from tercet.v1 import records_pb2
from tests.support.polling import eventually

P = TypeVar("P", bound=Proto)


@dataclass(frozen=True)
class Stages:
    """The services at work, and what went in and came out."""

    adapters: Adapters
    services: tuple[Service, ...]

    def submit(self, *submitted: records_pb2.ImageSubmitted) -> None:
        """Write the records as the gateway does."""
        self.adapters.bus.publish(
            [
                topics.encode(
                    topics.IMAGES_SUBMITTED,
                    record,
                    key=record.image.id,
                    tenant=record.image.tenant,
                    job_id=record.run.job_id,
                )
                for record in submitted
            ]
        )

    def records(self, topic: str, kind: type[P]) -> list[P]:
        """What the topic holds now."""
        found = []
        for record in self.adapters.bus.read([topic]):
            value = kind()
            value.ParseFromString(record.value)
            found.append(value)
        return found

    def letters(self) -> list[str]:
        """The reasons of all dead letters."""
        dead = [topics.dead_letter(topic) for topic in topics.TOPICS]
        return [record.headers[dlq.Header.REASON] for record in self.adapters.bus.read(dead)]

    def verified(self, count: int, timeout: float = 60.0) -> list[records_pb2.ImageVerified]:
        """The results, once there are as many."""

        def enough() -> list[records_pb2.ImageVerified]:
            found = self.records(topics.IMAGES_VERIFIED, records_pb2.ImageVerified)
            return found if len(found) >= count else []

        return eventually(enough, timeout=timeout)


@contextmanager
def running(inference: Inference, blobs_url: str = "memory://stages") -> Iterator[Stages]:
    """The three services with their workers running; stopped at the end."""
    adapters = Adapters(
        bus=EmbeddedBus(),
        redis=embedded(),
        blobs=connect(blobs_url),
        inference=inference,
        clock=SystemClock(),
    )
    services = (
        proposer.build(adapters, ProposerSettings()),
        segmenter.build(adapters, SegmenterSettings()),
        verifier.build(adapters, VerifierSettings()),
    )
    workers = [worker for service in services for worker in service.workers]
    threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield Stages(adapters, services)
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(timeout=30)
        adapters.bus.close()
