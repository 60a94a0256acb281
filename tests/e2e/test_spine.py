"""An image's way from REST to the dataset, on the real stack, seen from outside."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from deploy.local.lifecycle import LocalStack
from gateway.client import Client, mask_array
from gateway.schemas import JobOptions
from services.kit.bus import topics
from services.scenes import write_dataset
from tests.e2e.conftest import settings_for
from tests.support.polling import eventually

TOPICS_OF_A_RUN = (
    topics.JOBS_EVENTS,
    topics.IMAGES_SUBMITTED,
    topics.IMAGES_PROPOSED,
    topics.IMAGES_SEGMENTED,
    topics.IMAGES_VERIFIED,
    topics.ANNOTATIONS_ACCEPTED,
)


def test_scenes_become_a_dataset(stack: LocalStack, client: Client, tmp_path: Path) -> None:
    folder = write_dataset(6, tmp_path, seed=71_000_000) / "images"
    job = client.wait(client.submit(folder, JobOptions(stage="automatic")).id, timeout=180)
    assert job.counts.get("in_review", 0) + job.counts.get("complete", 0) == 6, job

    exported = json.loads(client.export_content(client.create_export("saco", [job.id])))
    again = json.loads(client.export_content(client.create_export("saco", [job.id])))
    assert exported == again
    assert {entry["text_input"] for entry in exported["images"]} or job.accepted_positives == 0

    for image in client.job_images(job.id):
        annotations = client.annotations(image.image_id, job_id=job.id)
        for pair in annotations.pairs:
            for mask in pair.masks:
                pixels = mask_array(mask)
                assert (pixels.shape, int(pixels.sum())) == ((256, 256), mask.area)

    for topic in TOPICS_OF_A_RUN:
        assert_kcat_reads(stack.spec.kafka_bootstrap, topic, job.id)


def assert_kcat_reads(bootstrap: str, topic: str, job_id: str) -> None:
    """kcat lists the topic's records: headers and key as designed, and a value that the protos decode."""
    kcat = ["kcat", "-C", "-b", bootstrap, "-t", topic, "-e", "-q", "-X", "isolation.level=read_committed"]
    listed = subprocess.run(
        [*kcat, "-f", "%k|%h|%p|%o|%S\n"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    rows = [row.split(b"|") for row in listed.stdout.splitlines() if job_id.encode() in row]
    assert rows, f"kcat finds no record of the job in {topic}"
    key, headers, partition, offset, size = (field.decode() for field in rows[0])
    named = dict(part.split("=", 1) for part in headers.split(","))
    assert named["schema"] == topics.SCHEMAS[topic].DESCRIPTOR.full_name
    assert (named["tenant"], named["job_id"]) == ("default", job_id)
    assert named["traceparent"].startswith("00-")
    value = subprocess.run(
        [
            "kcat",
            "-C",
            "-b",
            bootstrap,
            "-t",
            topic,
            "-p",
            partition,
            "-o",
            offset,
            "-c",
            "1",
            "-e",
            "-q",
            "-D",
            "",
        ],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert len(value) == int(size)
    record = topics.SCHEMAS[topic]()
    record.ParseFromString(value)
    assert key == (job_id if topic == topics.JOBS_EVENTS else record.image.id)  # type: ignore[attr-defined]


def test_photographs_go_through_and_their_overlays_render(client: Client, photos: Path) -> None:
    job = client.submit(photos, JobOptions(stage="automatic"))
    assert job.images == 3
    done = client.wait(job.id, timeout=300)
    assert done.failures == []
    assert done.counts.get("in_review", 0) + done.counts.get("complete", 0) == 3
    for image in client.job_images(job.id):
        with Image.open(photos / image.name) as original:
            size = original.size
        with Image.open(io.BytesIO(client.overlay(image.image_id, job_id=job.id))) as overlay:
            assert (overlay.format, overlay.size) == ("PNG", size)
            assert np.asarray(overlay.convert("RGB")).std() > 10


def test_two_segmenters_share_the_partitions(stack: LocalStack, client: Client, tmp_path: Path) -> None:
    stack.scale("segmenter", 2)
    try:
        folder = write_dataset(24, tmp_path, seed=72_000_000) / "images"
        # Membership settles in its own time; what is asked is that both then work.
        eventually(lambda: members(client, "segmenter") == 2, timeout=60)
        job = client.wait(client.submit(folder, JobOptions(stage="automatic")).id, timeout=300)
        assert job.counts.get("in_review", 0) + job.counts.get("complete", 0) == 24
        worked = [records_worked(stack, replica) for replica in range(2)]
        assert worked[1] > 0, worked
    finally:
        stack.scale("segmenter", 1)
    eventually(lambda: members(client, "segmenter") == 1, timeout=60)


def members(client: Client, group: str) -> int:
    return max((lag.members for lag in client.lag() if lag.group == group), default=0)


def records_worked(stack: LocalStack, replica: int) -> float:
    """Records that the replica has committed, by its own metrics."""
    port = stack.spec.ports.service_metrics("segmenter", replica)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    rows = [row for row in text.splitlines() if row.startswith("tercet_bus_records_total{")]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


def test_lag_is_exported_for_prometheus(stack: LocalStack, client: Client) -> None:
    url = f"{settings_for(stack).url}/metrics"
    names = ("kafka_consumergroup_lag{", "kafka_consumergroup_lag_sum{", "kafka_consumergroup_lag_seconds{")
    eventually(lambda: names[0] in httpx.get(url, timeout=10).text, timeout=60)
    text = httpx.get(url, timeout=10).text
    for name in names:
        assert f"\n{name}" in text
    groups = {lag.group for lag in client.lag()}
    assert {"proposer", "segmenter", "verifier", "mining", "dataset"} <= groups
