"""The job view: what each record makes of its image and of the job, with rate, failures and cancelling."""

from __future__ import annotations

import pytest

from services.dataset import workers
from services.kit.bus.dlq import letter
from services.kit.bus.outcomes import Poison
from services.kit.bus.ports import Message, Record
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    IMAGES_PROPOSED,
    IMAGES_SEGMENTED,
    IMAGES_SUBMITTED,
    IMAGES_VERIFIED,
    JOBS_EVENTS,
    REVIEW_COMPLETED,
    REVIEW_REQUESTED,
)
from services.kit.state.cancelled import CancelledJobs
from tercet.v1 import dataset_pb2, records_pb2
from tests.support import runs
from tests.support.dataset_logs import STAGE_2, START_MS, Log, Scene, cancelled, created
from tests.support.hand_fed_dataset import Service


def test_a_job_with_every_fate() -> None:
    service, scene = Service(), Scene()
    told = [event for record in scene.log.records for event in service.take(record)]
    job = service.job()
    assert dict(job.counts) == {"complete": 2, "failed": 1, "in_review": 1}
    assert job.status == dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE
    assert (job.images, job.open_tasks) == (4, 1)
    assert (job.accepted_positives, job.accepted_negatives) == (4, 3)
    (failure,) = job.failures
    assert (failure.name, failure.topic, failure.error) == ("failed.png", IMAGES_PROPOSED, "InvalidInput")
    assert (failure.reason, failure.attempts) == ("the picture is broken", 3)
    assert [event.finished.status for event in told] == ["waiting_for_people"]
    assert sum(told[0].finished.counts.values()) == 4
    assert job.finished_at.ToMilliseconds() == told[0].at.ToMilliseconds()


def test_states_follow_the_records() -> None:
    service, scene = Service(), Scene()
    name = runs.image_id("open.png")
    seen: list[str] = []
    for record in scene.log.records:
        service.take(record)
        rows = service.view.rows("acme", "job-1", [name])
        if rows:
            state = dataset_pb2.ImageState.Name(rows[0].state).removeprefix("IMAGE_STATE_").lower()
            if not seen or seen[-1] != state:
                seen.append(state)
    assert seen == ["submitted", "proposed", "segmented", "verified", "in_review"]


def test_cancelled_jobs() -> None:
    service, scene = Service(), Scene()
    middle = len(scene.log.records) // 2
    for record in scene.log.records[:middle]:
        service.take(record)
    service.take(scene.log.write(JOBS_EVENTS, cancelled(), key="job-1"))
    job = service.job()
    assert job.status == dataset_pb2.JOB_STATUS_CANCELLED
    assert job.counts["cancelled"] + job.counts.get("complete", 0) + job.counts["failed"] == 4
    assert job.finished_at.seconds == runs.SUBMITTED_AT + 5
    assert job.open_tasks == 0
    assert "job-1" in CancelledJobs(service.state)


def test_a_replayed_dead_letter_is_a_failure_no_more() -> None:
    service, scene = Service(), Scene()
    for record in scene.log.records:
        service.take(record)
    service.take(
        scene.log.write(
            IMAGES_SEGMENTED,
            records_pb2.ImageSegmented(image=runs.image("failed.png"), run=scene.run),
            key=runs.image_id("failed.png"),
        )
    )
    job = service.job()
    assert "failed" not in job.counts
    assert job.counts["segmented"] == 1
    assert not job.failures
    assert job.status == dataset_pb2.JOB_STATUS_RUNNING


def test_the_trainers_dead_letters_fail_no_image() -> None:
    service, scene = Service(), Scene()
    for record in scene.log.records:
        service.take(record)
    before = service.dump()
    accepted = next(r for r in scene.log.records if r.topic == ANNOTATIONS_ACCEPTED)
    service.take(scene.log.append(letter(accepted, Poison("Internal", "x"), group="trainer", attempts=3)))
    assert service.dump() == before


def test_garbage_stops_nothing() -> None:
    service, log = Service(), Log()
    garbage = [
        log.append(Message(topic=topic, key="k", value=b"\xff\xff\xff"))
        for topic in (IMAGES_SUBMITTED, REVIEW_COMPLETED, f"{IMAGES_SUBMITTED}.dlq")
    ]
    for record in garbage:
        assert service.take(record) == []
    owned = log.append(Message(topic=ANNOTATIONS_ACCEPTED, key="k", value=b"\xff\xff\xff"))
    assert isinstance(workers._outcome(service.recording, owned), Poison)
    empty = log.append(Message(topic=JOBS_EVENTS, key="k", value=b""))
    assert isinstance(workers._outcome(service.recording, empty), Poison)


def test_stage_2_waits_for_every_pair_and_an_image_without_pairs_is_complete() -> None:
    service, log = Service(), Log()
    run = runs.run(stage=STAGE_2)
    log.write(JOBS_EVENTS, created(["a", "b"], stage=STAGE_2), key="job-1")
    log.write(IMAGES_VERIFIED, runs.verified([], of=run, name="a"), key=runs.image_id("a"))
    pairs = [runs.pair("dog"), runs.negative("wolf")]
    log.write(IMAGES_VERIFIED, runs.verified(pairs, of=run, name="b"), key=runs.image_id("b"))
    for record in log.records:
        assert service.take(record) == []
    assert dict(service.job().counts) == {"complete": 1, "verified": 1}
    task = records_pb2.ReviewTask(id="t", image=runs.image("b"), run=run)
    told = service.take(
        log.write(REVIEW_REQUESTED, records_pb2.ReviewRequested(task=task), key=task.image.id)
    )
    assert [event.finished.status for event in told] == ["waiting_for_people"]
    assert service.job().open_tasks == 2
    for task_id, opened in (("t", 1), ("u", 0), ("v", 0)):
        accepted = records_pb2.AnnotationsAccepted(
            image=runs.image("b"), run=run, task_id=task_id, tasks_opened=opened
        )
        told = service.take(log.write(ANNOTATIONS_ACCEPTED, accepted, key=task.image.id))
    assert [event.finished.status for event in told] == ["complete"]
    assert service.job().status == dataset_pb2.JOB_STATUS_COMPLETE


def test_a_job_without_images_is_complete_at_once() -> None:
    service, log = Service(), Log()
    told = service.take(log.write(JOBS_EVENTS, created([]), key="job-1"))
    assert [event.finished.status for event in told] == ["complete"]


@pytest.mark.parametrize(
    ("seconds", "expected"), [([0], 1.0), ([0, 0, 1, 1], 2.0), ([0, *range(100, 160)], 1.0)]
)
def test_rate_is_over_the_last_minute_of_activity(seconds: list[int], expected: float) -> None:
    service = Service()
    names = [f"{n}.png" for n in range(200)]
    log = Log()
    service.take(log.write(JOBS_EVENTS, created(names), key="job-1"))
    for number, second in enumerate(seconds):
        record = records_pb2.AnnotationsAccepted(image=runs.image(names[number]), run=runs.run())
        written = log.write(ANNOTATIONS_ACCEPTED, record, key=runs.image_id(names[number]))
        service.take(
            Record(
                topic=written.topic,
                key=written.key,
                value=written.value,
                headers=written.headers,
                partition=0,
                offset=written.offset,
                timestamp_ms=START_MS + second * 1000,
            )
        )
    job = service.job()
    assert job.rate == pytest.approx(expected)
    assert job.eta_seconds == pytest.approx((200 - len(seconds)) / expected)


def test_eta_is_unknown_before_the_first_result() -> None:
    service = Service()
    service.take(Log().write(JOBS_EVENTS, created(["a"]), key="job-1"))
    assert service.job().eta_seconds == -1.0
