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
SERVICES = ("proposer", "segmenter", "verifier", "mining", "dataset")
OPTIONS = JobOptions(stage="automatic", hard_negatives=3)
PIPELINE = (topics.IMAGES_SUBMITTED, topics.IMAGES_PROPOSED, topics.IMAGES_SEGMENTED, topics.IMAGES_VERIFIED)


def finished(job: Job) -> int:
    return sum(job.counts.get(state, 0) for state in ("in_review", "complete", "failed"))


def strikes(stack: LocalStack) -> list[Callable[[], object]]:
    """kill -9 of each service, and a restart of Triton; each returns once there is a new process."""

    def kill(name: str) -> Callable[[], None]:
        def strike() -> None:
            before = stack.pid(f"{name}-0")
            assert stack.kill(name) == [before]
            eventually(lambda: stack.pid(f"{name}-0") not in (0, before), timeout=60)

        return strike

    made: list[Callable[[], object]] = [kill(name) for name in SERVICES]
    made.insert(2, lambda: stack.restart("triton"))
    return made


def await_finished(client: Client, job_id: str, due: int) -> None:
    eventually(lambda: finished(client.job(job_id)) >= due, timeout=60 + 5 * IMAGES, interval=0.2)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = write_dataset(IMAGES, tmp_path_factory.mktemp("scenes"), seed=70_000_000) / "images"
    return sorted(folder.iterdir())


@pytest.mark.timeout(60 + 6 * IMAGES)
@pytest.mark.parametrize("killing", [False, True], ids=["undisturbed", "killed"])
def test_every_image_has_exactly_one_result(
    stack: LocalStack, client: Client, scenes: list[Path], *, killing: bool
) -> None:
    started = time.monotonic()
    blows = strikes(stack)
    jobs: dict[str, int] = {}
    for number, strike in enumerate(blows):
        # Each strike falls on a pipeline that is full from end to end, however fast it is: the next job comes
        # when half of the one before it is through.
        for job_id in list(jobs)[-1:]:
            await_finished(client, job_id, jobs[job_id] // 2)
        images = scenes[number * IMAGES // len(blows) : (number + 1) * IMAGES // len(blows)]
        job = client.submit(images, OPTIONS)
        assert (job.images, job.refused) == (len(images), [])
        jobs[job.id] = len(images)
        if killing:
            assert finished(client.job(job.id)) < len(images)
            strike()

    for job_id, count in jobs.items():
        done = client.wait(job_id, timeout=60 + 5 * IMAGES)
        assert done.failures == []
        assert finished(done) == count
    print(f"{sum(jobs.values())} images, killing={killing}: {time.monotonic() - started:.0f} s")

    bootstrap = stack.spec.kafka_bootstrap
    for job_id, count in jobs.items():
        once = Counter(dict.fromkeys((image.image_id for image in client.job_images(job_id)), 1))
        assert len(once) == count
        assert committed_results(bootstrap, job_id) == once
        assert committed_per_topic(bootstrap, PIPELINE, job_id) == dict.fromkeys(PIPELINE, once)
        assert exported_images(client, job_id) == once
