"""Counting results where they are on record: in the committed log and in the dataset's export."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from gateway.client import Client
from services.kit.bus import topics
from services.kit.bus.kafka_offsets import await_leaders
from tercet.v1 import records_pb2


def committed_results(bootstrap: str, job_id: str) -> Counter[str]:
    """How many committed model results each image of the job has, by a read_committed consumer of its own."""
    results: Counter[str] = Counter()
    for value in _committed(bootstrap, topics.ANNOTATIONS_ACCEPTED):
        accepted = records_pb2.AnnotationsAccepted.FromString(value)
        if accepted.run.job_id == job_id and not accepted.task_id:
            results[accepted.image.id] += 1
    return results


def committed_per_topic(bootstrap: str, names: Iterable[str], job_id: str) -> dict[str, Counter[str]]:
    """For each topic, how many committed records each image of the job has."""
    counted: dict[str, Counter[str]] = {}
    for name in names:
        counted[name] = Counter()
        for value in _committed(bootstrap, name):
            record = topics.SCHEMAS[name].FromString(value)
            if record.run.job_id == job_id:  # type: ignore[attr-defined]  # every image record has a run
                counted[name][record.image.id] += 1  # type: ignore[attr-defined]
    return counted


def exported_images(client: Client, job_id: str) -> Counter[str]:
    """How often each image is listed by the job's COCO export."""
    export = client.create_export("coco", [job_id])
    document = json.loads(client.export_content(export))
    return Counter(str(image["tercet"]["image_id"]) for image in document["images"])


def _committed(bootstrap: str, topic: str) -> Iterable[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_bytes=64 * 1024 * 1024,
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await_leaders(consumer)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        consumer.seek_to_beginning(*partitions)
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for records in consumer.poll(timeout_ms=1000).values():
                yield from (record.value for record in records if record.value is not None)
    finally:
        consumer.close()
