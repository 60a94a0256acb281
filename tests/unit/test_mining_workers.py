"""Mining's Kafka doors: records to messages, garbage to dead letters, cancelled jobs skipped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import redis

from services.kit.blobs.store import BlobStore, connect
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.ports import Message
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    IMAGES_VERIFIED,
    JOBS_EVENTS,
    REVIEW_COMPLETED,
    REVIEW_REQUESTED,
    dead_letter,
    encode,
)
from services.kit.clock import SystemClock
from services.kit.inference.embedded import EmbeddedInference
from services.kit.service import Adapters
from services.kit.settings import KitSettings
from services.kit.state.cancelled import CancelledJobs
from services.kit.state.embedded import embedded
from services.mining.bootstrap import build
from services.mining.settings import MiningSettings
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs
from tests.support.polling import eventually


@dataclass
class Mining:
    bus: EmbeddedBus = field(default_factory=EmbeddedBus)
    state: redis.Redis = field(default_factory=embedded)
    blobs: BlobStore = field(default_factory=lambda: connect("memory://workers"))

    def __post_init__(self) -> None:
        adapters = Adapters(
            bus=self.bus,
            redis=self.state,
            blobs=self.blobs,
            inference=EmbeddedInference({}, settings=KitSettings()),
            clock=SystemClock(),
        )
        self.service = build(adapters, MiningSettings())
        self.threads = [threading.Thread(target=worker.run) for worker in self.service.workers]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        for worker in self.service.workers:
            worker.stop()
        for thread in self.threads:
            thread.join(20)
        self.bus.close()

    def verified(self, record: records_pb2.ImageVerified) -> None:
        self.bus.publish(
            [
                encode(
                    IMAGES_VERIFIED,
                    record,
                    key=record.image.id,
                    tenant=record.image.tenant,
                    job_id=record.run.job_id,
                    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                )
            ]
        )

    def read(self, topic: str, at_least: int = 1) -> Sequence[Message]:
        def there() -> Sequence[Message]:
            found = list(self.bus.read([topic]))
            return found if len(found) >= at_least else []

        return eventually(there)


@pytest.fixture
def mining() -> Iterator[Mining]:
    made = Mining()
    yield made
    made.stop()


def test_a_verified_image_becomes_one_result_and_tasks(mining: Mining) -> None:
    record = runs.verified([runs.pair("dog"), runs.pair("cat", concepts_pb2.VERDICT_REVIEW)])
    record.image.inline = b"the picture"
    mining.verified(record)
    (result,) = mining.read(ANNOTATIONS_ACCEPTED)
    accepted = records_pb2.AnnotationsAccepted.FromString(result.value)
    assert (accepted.tasks_opened, accepted.image.WhichOneof("content")) == (1, None)
    assert result.key == record.image.id
    assert result.headers["schema"] == "tercet.v1.AnnotationsAccepted"
    assert (result.headers["tenant"], result.headers["job_id"]) == ("acme", "job-1")
    assert result.headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c")
    (asked,) = mining.read(REVIEW_REQUESTED)
    task = records_pb2.ReviewRequested.FromString(asked.value).task
    assert (task.pair.phrase, task.image.WhichOneof("content")) == ("cat", None)
    assert task.created_at.ToMilliseconds() == next(mining.bus.read([IMAGES_VERIFIED])).timestamp_ms


def broken_mask(record: records_pb2.ImageVerified) -> None:
    record.pairs[0].masks[0].counts = b"12"


def no_job(record: records_pb2.ImageVerified) -> None:
    record.run.job_id = ""


@pytest.mark.parametrize("spoil", [broken_mask, no_job])
def test_a_bad_record_goes_to_the_dead_letters_and_its_neighbours_go_on(
    mining: Mining, spoil: Callable[[records_pb2.ImageVerified], None]
) -> None:
    bad = runs.verified([runs.pair("dog", concepts_pb2.VERDICT_REVIEW)], name="bad.png")
    spoil(bad)
    mining.verified(bad)
    mining.verified(runs.verified([], name="good.png"))
    (letter,) = mining.read(dead_letter(IMAGES_VERIFIED))
    assert letter.headers["error_class"] == "InvalidInput"
    (result,) = mining.read(ANNOTATIONS_ACCEPTED)
    assert result.key == runs.image_id("good.png")


def test_garbage_is_a_dead_letter_only_where_mining_alone_reads(mining: Mining) -> None:
    garbage = b"\xff\xff\xff"
    for topic in (JOBS_EVENTS, ANNOTATIONS_ACCEPTED, IMAGES_VERIFIED, REVIEW_COMPLETED):
        mining.bus.publish([Message(topic=topic, key="k", value=garbage)])
    mining.read(dead_letter(IMAGES_VERIFIED))
    mining.read(dead_letter(REVIEW_COMPLETED))
    eventually(lambda: all(lag.records == 0 for lag in mining.bus.lag()))
    assert not list(mining.bus.read([dead_letter(JOBS_EVENTS), dead_letter(ANNOTATIONS_ACCEPTED)]))


def test_images_of_cancelled_jobs_are_not_routed(mining: Mining) -> None:
    CancelledJobs(mining.state).add("job-1")
    mining.verified(runs.verified([]))
    mining.verified(runs.verified([], of=runs.run("job-2"), name="other.png"))
    (result,) = mining.read(ANNOTATIONS_ACCEPTED)
    assert result.key == runs.image_id("other.png")
    eventually(lambda: all(lag.records == 0 for lag in mining.bus.lag()))
    assert len(mining.read(ANNOTATIONS_ACCEPTED)) == 1


def test_accepted_phrases_make_the_next_ones_less_rare(mining: Mining) -> None:
    for number in range(3):
        mining.verified(runs.verified([runs.pair("dog")], name=f"{number}.png"))
    mining.read(ANNOTATIONS_ACCEPTED, at_least=3)
    eventually(lambda: mining.state.pfcount("tercet:mining:{acme}:accepted:dog") == 3)
    mining.verified(runs.verified([runs.pair("dog", concepts_pb2.VERDICT_REVIEW)], name="next.png"))
    (asked,) = mining.read(REVIEW_REQUESTED)
    task = records_pb2.ReviewRequested.FromString(asked.value).task
    assert "rare phrase: 3 accepted so far" in task.reasons
