"""One job through the whole stack: how long it took, what each worker did, when each record came."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.lifecycle import LocalStack
from gateway.client import Client
from gateway.client.body import Upload
from gateway.schemas import Job, JobOptions
from services.kit.bus import topics
from services.kit.bus.kafka import KafkaBus
from services.kit.bus.ports import Record
from tests.bench import machine
from tests.bench.pictures import Picture

OPTIONS = JobOptions(stage="automatic")
STEPS = {
    "proposer": (topics.IMAGES_SUBMITTED, topics.IMAGES_PROPOSED),
    "segmenter": (topics.IMAGES_PROPOSED, topics.IMAGES_SEGMENTED),
    "verifier": (topics.IMAGES_SEGMENTED, topics.IMAGES_VERIFIED),
    "mining": (topics.IMAGES_VERIFIED, topics.ANNOTATIONS_ACCEPTED),
}
"""Each step's topics, in and out, in the order of an image's way."""
GROUPS = (*STEPS, "dataset")
"""Services by the name of their consumer group."""
_READ = (topics.IMAGES_SUBMITTED, *(out for _, out in STEPS.values()))


@dataclass(frozen=True)
class Worked:
    """What a service's worker did during a job, in seconds."""

    batches: int
    batch: float
    commit: float
    model: float
    """Of all model calls together; several are under way at a time."""


@dataclass(frozen=True)
class Pass:
    """One job."""

    job_id: str
    images: int
    submit: float
    """Seconds from the request to 202."""
    seconds: float
    """From 202 until the client is told that all results are there."""
    workers: Mapping[str, Worked]
    calls: Mapping[str, int]
    """Model calls by model."""
    residence: Mapping[str, float]
    """Mean seconds of an image in a step: from the record that it reads to the record that it writes."""
    last_result: float
    """Seconds from 202 to the last result in the log."""
    processors: Mapping[str, float]
    """Share of the machine's processors' time between 202 and the end, by process."""


def run(stack: LocalStack, client: Client, pictures: Sequence[Picture], *, limit: float) -> Pass:
    """Submit the pictures as one job and wait for all results.

    Raises `RuntimeError` when an image did not get one, and what the client raises after `limit` seconds.
    """
    uploads = [Upload(picture.name, picture.content, len(picture.content)) for picture in pictures]
    before = _counters(stack)
    sent = time.monotonic()
    job = client.submit(uploads, OPTIONS)
    taken, taken_at = time.monotonic(), time.time()
    busy_before = machine.busy(stack)
    done = client.wait(job.id, timeout=limit)
    seconds = time.monotonic() - taken
    busy_after = machine.busy(stack)
    if _with_result(done) != len(pictures):
        raise RuntimeError(f"of {len(pictures)} images {_with_result(done)} have a result: {done.failures}")
    after = _counters(stack)
    arrived = _arrivals(stack, job.id)
    return Pass(
        job_id=job.id,
        images=len(pictures),
        submit=taken - sent,
        seconds=seconds,
        workers={name: _worked(name, before[name], after[name]) for name in GROUPS},
        calls=_calls(before, after),
        residence={
            name: sum(arrived[out][image] - arrived[into][image] for image in arrived[out])
            / len(arrived[out])
            for name, (into, out) in STEPS.items()
        },
        last_result=max(arrived[topics.ANNOTATIONS_ACCEPTED].values()) - taken_at,
        processors=machine.shares(busy_before, busy_after),
    )


def specification(stack: LocalStack, job_id: str) -> Record:
    """The first record of images.submitted of the job: what the gateway made of the options."""
    return next(record for record in _job_records(stack, job_id) if record.topic == topics.IMAGES_SUBMITTED)


def _with_result(job: Job) -> int:
    return job.counts.get("in_review", 0) + job.counts.get("complete", 0)


_Counters = dict[tuple[str, str], float]
"""(sample name, label value) -> value."""


def _counters(stack: LocalStack) -> dict[str, _Counters]:
    """The counters of each service's worker and model calls, from its own /metrics."""
    found: dict[str, _Counters] = {}
    for name in GROUPS:
        port = stack.spec.ports.service_metrics(name)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        counters: _Counters = defaultdict(float)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                label = sample.labels.get("group") or sample.labels.get("model") or ""
                if "le" not in sample.labels:
                    counters[sample.name, label] += sample.value
        found[name] = counters
    return found


def _worked(name: str, before: _Counters, after: _Counters) -> Worked:
    def grown(sample: str) -> float:
        return after.get((sample, name), 0.0) - before.get((sample, name), 0.0)

    models = sum(
        value - before.get(key, 0.0)
        for key, value in after.items()
        if key[0] == "tercet_inference_seconds_sum"
    )
    return Worked(
        batches=round(grown("tercet_bus_batch_seconds_count")),
        batch=grown("tercet_bus_batch_seconds_sum"),
        commit=grown("tercet_bus_commit_seconds_sum"),
        model=models,
    )


def _calls(before: Mapping[str, _Counters], after: Mapping[str, _Counters]) -> dict[str, int]:
    calls: dict[str, int] = defaultdict(int)
    for name, counters in after.items():
        for (sample, model), value in counters.items():
            if sample == "tercet_inference_seconds_count":
                calls[model] += round(value - before[name].get((sample, model), 0.0))
    return {model: number for model, number in calls.items() if number}


def _arrivals(stack: LocalStack, job_id: str) -> dict[str, dict[str, float]]:
    """By topic and image id, the Unix time of the image's record: when its producer sent it."""
    arrived: dict[str, dict[str, float]] = {topic: {} for topic in _READ}
    for record in _job_records(stack, job_id):
        arrived[record.topic].setdefault(record.key, record.timestamp_ms / 1000)
    return arrived


def _job_records(stack: LocalStack, job_id: str) -> list[Record]:
    bus = KafkaBus(stack.spec.kafka_bootstrap)
    try:
        return [record for record in bus.read(_READ) if record.headers.get("job_id") == job_id]
    finally:
        bus.close()
