"""The one-process mode is killed with -9 in mid-job, and goes on where it was after a restart."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from deploy.demo.engine import embedded_engine
from gateway.client import Client
from gateway.schemas import JobOptions
from services.kit.bus import topics
from services.kit.bus.embedded import EmbeddedBus
from services.scenes import write_dataset
from tercet.v1 import records_pb2
from tests.support.polling import eventually

IMAGES = 24


def test_a_killed_engine_goes_on_after_a_restart(tmp_path: Path) -> None:
    state, log = tmp_path / "state", tmp_path / "engine.log"
    state.mkdir()
    scenes = write_dataset(IMAGES, tmp_path, seed=73_000_000) / "images"

    with embedded_engine(state, log) as engine, Client(engine.settings) as client:
        job = client.submit(scenes, JobOptions(stage="automatic"))
        assert job.images == IMAGES
        eventually(lambda: on_their_way(client, job.id), timeout=180, interval=0.02)
        engine.process.kill()
        engine.process.wait(timeout=30)
    assert 0 < len(results(state, job.id)) < IMAGES, "the kill was to fall into the job"

    with embedded_engine(state, log) as engine, Client(engine.settings) as client:
        done = client.wait(job.id, timeout=300)
        assert done.failures == []
        assert done.counts.get("in_review", 0) + done.counts.get("complete", 0) == IMAGES
        once = Counter(image.image_id for image in client.job_images(job.id))
        document = json.loads(client.export_content(client.create_export("coco", [job.id])))
        assert Counter(image["tercet"]["image_id"] for image in document["images"]) == once

    assert len(once) == IMAGES
    assert results(state, job.id) == once


def on_their_way(client: Client, job_id: str) -> bool:
    """Some images have their result and some have not."""
    counts = client.job(job_id).counts
    return 0 < counts.get("in_review", 0) + counts.get("complete", 0) < IMAGES


def results(state: Path, job_id: str) -> Counter[str]:
    """How many committed model results each image has, read from the log on disk."""
    found: Counter[str] = Counter()
    bus = EmbeddedBus(state / "log.sqlite")
    try:
        for record in bus.read([topics.ANNOTATIONS_ACCEPTED]):
            accepted = records_pb2.AnnotationsAccepted.FromString(record.value)
            if accepted.run.job_id == job_id and not accepted.task_id:
                found[accepted.image.id] += 1
    finally:
        bus.close()
    return found
