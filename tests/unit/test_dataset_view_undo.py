"""The job view after undos: numbers, exports and ends of jobs as if the decision had never stood."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.dataset import workers
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.ports import Message, Record
from services.kit.bus.topics import ANNOTATIONS_ACCEPTED, IMAGES_VERIFIED, JOBS_EVENTS, REVIEW_REQUESTED
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2
from tests.support import runs
from tests.support.dataset_logs import STAGE_2, Log, Scene, completed_image, created, stage_2_job
from tests.support.hand_fed_dataset import Service, exported


def test_an_undone_decision_leaves_the_dataset_and_its_image_is_open_again() -> None:
    seen = []
    again = Service("step by step")
    for record in stage_2_job(withdrawn=True).records:
        again.take(record)
        if record.topic == ANNOTATIONS_ACCEPTED:
            job = again.job()
            row = again.view.rows("acme", "job-1", [runs.image_id("a")])[0]
            seen.append((dataset_pb2.ImageState.Name(row.state)[12:], job.accepted_positives, job.open_tasks))
    assert seen == [("COMPLETE", 1, 0), ("IN_REVIEW", 0, 1), ("COMPLETE", 1, 0), ("COMPLETE", 2, 0)]
    report = again.answering.report(dataset_pb2.ReportRequest(tenant="acme", job_id="job-1"))
    assert (report.decisions, report.corrections) == (2, 1)
    assert report.active_seconds == pytest.approx(7.5)  # the time was spent
    answer = again.answering.annotations(
        dataset_pb2.GetAnnotationsRequest(tenant="acme", image_id=runs.image_id("a"), job_id="job-1")
    )
    assert [pair.phrase for pair in answer.pairs] == ["dog", "wolf"]
    assert answer.pairs[0].masks[0].counts == runs.mask(2).counts


def test_what_an_undone_decision_had_replaced_stands_again() -> None:
    service, scene = Service("replaced"), Scene()
    task = scene.task("accepted.png")
    reject = [runs.pair("dog", concepts_pb2.VERDICT_REJECT, masks=[])]
    scene.accept("accepted.png", reject, task=task.id)
    for record in scene.log.records:
        service.take(record)
    before = service.job()
    gone = records_pb2.AnnotationsAccepted(image=task.image, run=scene.run, task_id=task.id, withdrawn=True)
    service.take(scene.log.write(ANNOTATIONS_ACCEPTED, gone, key=task.image.id))
    after = service.job()
    assert after.accepted_positives == before.accepted_positives + 1
    wanted = dataset_pb2.GetAnnotationsRequest(tenant="acme", image_id=task.image.id, job_id="job-1")
    assert [pair.phrase for pair in service.answering.annotations(wanted).pairs] == ["dog", "wolf"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_undos_in_any_order_and_repetition_give_the_same_view_and_export(seed: int) -> None:
    log, chance = stage_2_job(withdrawn=True), random.Random(seed)
    in_order, shuffled = Service("undo order"), Service("undo shuffled")
    for record in log.records:
        in_order.take(record)
    records = [*log.records, *log.records]
    chance.shuffle(records)
    for record in records:
        shuffled.take(record)
    assert shuffled.dump() == in_order.dump()
    assert exported(shuffled) == exported(in_order)


def test_every_record_written_once_more_changes_no_number_and_no_byte() -> None:
    """A writer that does not know whether it wrote writes again: the same records at later offsets."""
    log = stage_2_job(withdrawn=True)
    once, twice = Service("once"), Service("twice")
    for record in list(log.records):
        once.take(record)
        twice.take(record)
    for record in list(log.records):
        again = Message(topic=record.topic, key=record.key, value=record.value, headers=record.headers)
        twice.take(log.append(again))
    assert exported(twice) == exported(once)
    for service in (once, twice):
        job = service.job()
        assert (dict(job.counts), job.accepted_positives, job.accepted_negatives) == ({"complete": 2}, 2, 2)
        report = service.answering.report(dataset_pb2.ReportRequest(tenant="acme"))
        assert report.decisions == 2
        assert report.active_seconds == pytest.approx(7.5)


def test_an_undone_and_repeated_decision_exports_like_one_that_was_made_at_once() -> None:
    services = []
    for withdrawn in (True, False):
        service = Service(f"exported {withdrawn}")
        for record in stage_2_job(withdrawn=withdrawn).records:
            service.take(record)
        services.append(service)
    undone, plain = (dict(one.job().counts) for one in services)
    assert undone == plain
    assert exported(services[0]) != exported(services[1])  # the second decision drew another mask
    assert exported(services[0]).count(b'"text_input"') == exported(services[1]).count(b'"text_input"')


def test_a_job_that_an_undo_has_opened_again_says_once_more_that_it_is_complete() -> None:
    service, log, run = Service("reopened"), Log(), runs.run(stage=STAGE_2)
    told: list[records_pb2.JobEvent] = []

    def take(record: Record) -> list[records_pb2.JobEvent]:
        events = service.take(record)
        assert service.take(record) == events  # its transaction was not committed: the same words again
        told.extend(events)
        for event in events:
            service.take(log.write(JOBS_EVENTS, event, key="job-1"))
        return events

    take(log.write(JOBS_EVENTS, created(["a"], stage=STAGE_2), key="job-1"))
    verified = runs.verified([runs.pair("dog")], of=run, name="a")
    take(log.write(IMAGES_VERIFIED, verified, key=verified.image.id))
    task = records_pb2.ReviewTask(id="task-a", image=runs.image("a"), run=run)
    take(log.write(REVIEW_REQUESTED, records_pb2.ReviewRequested(task=task), key=task.image.id))
    before = len(log.records)
    completed_image(log, run, "a", withdrawn=True)
    for record in log.records[before:]:
        take(record)
    assert [(event.finished.status, event.finished.undone) for event in told] == [
        ("waiting_for_people", 0),
        ("complete", 0),
        ("complete", 1),
    ]
    assert service.job().finished_at == told[-1].at
    bus = EmbeddedBus()
    bus.publish([Message(topic=r.topic, key=r.key, value=r.value, headers=r.headers) for r in log.records])
    workers.rebuild(bus, service.state, service.recording)
    *_, last = bus.read([ANNOTATIONS_ACCEPTED])
    assert service.take(last) == []  # told already, says the log
    bus.close()
