"""kill -9 of every service and of Triton in mid-run: nothing missing, nothing twice.

TERCET_E2E_IMAGES sets how many images go through (96 by default; the README's figure was made with 1000).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.lifecycle import LocalStack
from gateway.client import Client
from gateway.schemas import Job, JobOptions
from services.kit.bus import topics
from services.scenes import write_dataset
from tests.e2e.counting import committed_per_topic, committed_results, exported_images
from tests.support.polling import eventually

IMAGES = int(os.environ.get("TERCET_E2E_IMAGES", "96"))
PIPELINE = (topics.IMAGES_SUBMITTED, topics.IMAGES_PROPOSED, topics.IMAGES_SEGMENTED, topics.IMAGES_VERIFIED)


def finished(job: Job) -> int:
    return sum(job.counts.get(state, 0) for state in ("in_review", "complete", "failed"))


def await_finished(client: Client, job_id: str, due: int) -> None:
    eventually(lambda: finished(client.job(job_id)) >= due, timeout=60 + 5 * IMAGES, interval=0.2)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(IMAGES, tmp_path_factory.mktemp("scenes"), seed=70_000_000) / "images"


@pytest.mark.timeout(60 + 6 * IMAGES)
@pytest.mark.parametrize("killing", [False, True], ids=["undisturbed", "killed"])
def test_every_image_has_exactly_one_result(
    stack: LocalStack, client: Client, scenes: Path, *, killing: bool
) -> None:
    started = time.monotonic()
    job = client.submit(scenes, JobOptions(stage="automatic", hard_negatives=3))
    assert (job.images, job.refused) == (IMAGES, [])

    def restart_triton() -> None:
        stack.restart("triton")

    def kill(name: str) -> Callable[[], None]:
        def strike() -> None:
            before = stack.pid(f"{name}-0")
            assert stack.kill(name) == [before]
            eventually(lambda: stack.pid(f"{name}-0") not in (0, before), timeout=60)

        return strike

    strikes = [
        kill("proposer"),
        kill("segmenter"),
        restart_triton,
        kill("verifier"),
        kill("mining"),
        kill("dataset"),
    ]
    for number, strike in enumerate(strikes if killing else []):
        # Spread over the run: each strike falls while images are still on their way.
        due = IMAGES * (number + 1) // (len(strikes) + 2)
        await_finished(client, job.id, due)
        assert finished(client.job(job.id)) < IMAGES, "over before the last strike: submit more images"
        strike()

    done = client.wait(job.id, timeout=60 + 5 * IMAGES)
    assert done.failures == []
    assert finished(done) == IMAGES
    print(f"{IMAGES} images, killing={killing}: {time.monotonic() - started:.0f} s")

    once = Counter(dict.fromkeys((image.image_id for image in client.job_images(job.id)), 1))
    assert len(once) == IMAGES
    bootstrap = stack.spec.kafka_bootstrap
    assert committed_results(bootstrap, job.id) == once
    assert committed_per_topic(bootstrap, PIPELINE, job.id) == dict.fromkeys(PIPELINE, once)
    assert exported_images(client, job.id) == once
