"""Each service's handlers in bulk without Kafka: the model services over the real Triton, the others over
the real Redis.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from PIL import Image

from services.core.ontology import Ontology
from services.dataset import workers as dataset_workers
from services.dataset.handlers import Recording
from services.dataset.view import JobView
from services.kit.blobs.images import ImageStore
from services.kit.blobs.store import BlobStore
from services.kit.bus import topics
from services.kit.bus.outcomes import Done, Handler
from services.kit.bus.ports import Message, Record
from services.kit.bus.stage import StageHandler
from services.kit.bus.worker import WorkerSettings
from services.kit.clock import SystemClock
from services.kit.inference.ports import Inference
from services.kit.state.cancelled import CancelledJobs
from services.mining import workers as mining_workers
from services.mining.handlers import Routing
from services.mining.settings import MiningSettings
from services.mining.view import TaskView
from services.proposer.handlers import Proposer
from services.proposer.settings import ProposerSettings
from services.proposer.sweep import Sweep
from services.segmenter.contents import RecentContents
from services.segmenter.handlers import Segmenter
from services.segmenter.settings import SegmenterSettings
from services.segmenter.strategies import concept_segmenter
from services.verifier.domain import Calibrations
from services.verifier.handlers import Verifier
from services.verifier.settings import VerifierSettings
from tercet.v1 import records_pb2
from tests.bench.calls import Recorded, RecordingInference
from tests.bench.pictures import Picture

BATCH = WorkerSettings().batch_records
THREADS = ProposerSettings().proposer_threads
"""Images of a batch that a stage works at a time; the same of all stages."""
TENANT = "bench"


@dataclass(frozen=True)
class Alone:
    """What the services do by themselves, one after the other."""

    rates: dict[str, float]
    """Images a second, by service."""
    overhead: dict[str, float]
    """Share of a stage's thread time that no model call takes, by service."""
    recorded: tuple[Recorded, ...]
    """The model calls of proposer, segmenter and verifier."""


def run(
    pictures: Sequence[Picture],
    spec: records_pb2.JobSpec,
    inference: Inference,
    blobs: BlobStore,
    state: redis.Redis,
) -> Alone:
    """Every service over the same images, each on what the one before it made of them."""
    clock = SystemClock()
    images = ImageStore(blobs)
    run_ = records_pb2.Run(job_id="bench", spec=spec)
    run_.submitted_at.GetCurrentTime()
    asking = [RecordingInference(inference) for _ in range(3)]
    proposer = Proposer(asking[0], images, Ontology.load(), Sweep.load(None), clock, ProposerSettings())
    segmenter = Segmenter(
        inference=asking[1],
        concepts=concept_segmenter(asking[1], clock, SegmenterSettings()),
        images=images,
        contents=RecentContents(images, SegmenterSettings().click_cache_bytes),
        ontology=Ontology.load(),
        clock=clock,
        settings=SegmenterSettings(),
    )
    verifier = Verifier(asking[2], images, clock, Calibrations(), VerifierSettings())
    stages: list[tuple[str, Handler]] = [
        (
            "proposer",
            StageHandler(topics.IMAGES_SUBMITTED, topics.IMAGES_PROPOSED, proposer.propose, images, THREADS),
        ),
        (
            "segmenter",
            StageHandler(topics.IMAGES_PROPOSED, topics.IMAGES_SEGMENTED, segmenter.segment, images, THREADS),
        ),
        (
            "verifier",
            StageHandler(topics.IMAGES_SEGMENTED, topics.IMAGES_VERIFIED, verifier.verify, images, THREADS),
        ),
    ]
    records = _records([_submitted(picture, run_) for picture in pictures])
    everything = list(records)
    rates: dict[str, float] = {}
    overhead: dict[str, float] = {}
    for (name, handler), asked in zip(stages, asking, strict=True):
        started = time.monotonic()
        records = _in_batches(handler, records)
        seconds = time.monotonic() - started
        rates[name] = len(pictures) / seconds
        overhead[name] = max(0.0, 1 - asked.seconds / (seconds * min(THREADS, len(pictures))))
        everything += records

    routing = Routing(TaskView(state), images, blobs, clock, MiningSettings())
    started = time.monotonic()
    routed = _records([message for record in records for message in _routed(routing, record)])
    for record in routed:
        mining_workers.apply(routing, record)
    rates["mining"] = len(pictures) / (time.monotonic() - started)

    recording = Recording(JobView(state), blobs, CancelledJobs(state))
    created = _records([_created(pictures, run_)])
    started = time.monotonic()
    for record in [*created, *everything, *routed]:
        dataset_workers.apply(recording, record)
    rates["dataset"] = len(pictures) / (time.monotonic() - started)
    return Alone(rates, overhead, tuple(asked.recorded for asked in asking))


def _submitted(picture: Picture, run_: records_pb2.Run) -> Message:
    digest = hashlib.sha256(picture.content).hexdigest()
    with Image.open(io.BytesIO(picture.content)) as opened:
        width, height = opened.size
    image = records_pb2.Image(
        id=digest,
        tenant=TENANT,
        name=picture.name,
        media_type="image/png",
        width=width,
        height=height,
        inline=picture.content,
    )
    return _message(topics.IMAGES_SUBMITTED, records_pb2.ImageSubmitted(image=image, run=run_), digest)


def _created(pictures: Sequence[Picture], run_: records_pb2.Run) -> Message:
    listed = [
        records_pb2.JobImage(image_id=hashlib.sha256(picture.content).hexdigest(), name=picture.name)
        for picture in pictures
    ]
    event = records_pb2.JobEvent(
        job_id=run_.job_id,
        tenant=TENANT,
        at=run_.submitted_at,
        created=records_pb2.JobCreated(spec=run_.spec, images=listed),
    )
    return _message(topics.JOBS_EVENTS, event, run_.job_id)


def _message(topic: str, record: records_pb2.ImageSubmitted | records_pb2.JobEvent, key: str) -> Message:
    return topics.encode(topic, record, key=key, tenant=TENANT, job_id="bench")


def _records(messages: Sequence[Message]) -> list[Record]:
    """The messages as they would be read: one partition, offsets from 0."""
    now = int(time.time() * 1000)
    return [
        Record(
            topic=message.topic,
            key=message.key,
            value=message.value,
            headers=message.headers,
            partition=0,
            offset=offset,
            timestamp_ms=now,
        )
        for offset, message in enumerate(messages)
    ]


def _in_batches(handler: Handler, records: Sequence[Record]) -> list[Record]:
    """The handler's outputs. Raises `ValueError` for a record that it cannot work."""
    messages: list[Message] = []
    for start in range(0, len(records), BATCH):
        for outcome in handler(records[start : start + BATCH]):
            if not isinstance(outcome, Done):
                raise ValueError(f"a scene cannot be worked: {outcome.reason}")
            messages += outcome.outputs
    return _records(messages)


def _routed(routing: Routing, record: Record) -> tuple[Message, ...]:
    return routing.route(records_pb2.ImageVerified.FromString(record.value), record.timestamp_ms)
