"""The job view: exact in any order and repetition of records; ends of jobs told once; rebuild equal."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import count

import pytest
import redis
from google.protobuf.message import Message as Proto
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.dataset import workers
from services.dataset.handlers import Answering, Recording
from services.dataset.settings import DatasetSettings
from services.dataset.view import PREFIX, JobView
from services.kit.blobs.store import connect
from services.kit.bus.dlq import letter
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.outcomes import Done, Poison
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
from services.kit.clock import ManualClock
from services.kit.state.cancelled import CancelledJobs
from services.kit.state.embedded import embedded
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2
from tests.support import runs
from tests.support.views import dump

START_MS = runs.SUBMITTED_AT * 1000
STAGE_2 = concepts_pb2.STAGE_SEMI_AUTOMATIC
STAGE_3 = concepts_pb2.STAGE_AUTOMATIC


@dataclass
class Log:
    """Records as a broker would number them: one partition a topic, one second apart."""

    records: list[Record] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    seconds: count[int] = field(default_factory=lambda: count(1))

    def write(
        self, topic: str, value: Proto, *, key: str, job_id: str = "job-1", tenant: str = "acme"
    ) -> Record:
        return self.append(
            Message(
                topic=topic,
                key=key,
                value=value.SerializeToString(deterministic=True),
                headers={"tenant": tenant, "job_id": job_id},
            )
        )

    def append(self, message: Message) -> Record:
        record = Record(
            topic=message.topic,
            key=message.key,
            value=message.value,
            headers=message.headers,
            partition=0,
            offset=self.ends[message.topic],
            timestamp_ms=START_MS + 1000 * next(self.seconds),
        )
        self.ends[message.topic] += 1
        self.records.append(record)
        return record


def created(
    names: list[str], *, job_id: str = "job-1", stage: concepts_pb2.Stage.ValueType = STAGE_3
) -> records_pb2.JobEvent:
    return records_pb2.JobEvent(
        job_id=job_id,
        tenant="acme",
        at=Timestamp(seconds=runs.SUBMITTED_AT),
        created=records_pb2.JobCreated(
            spec=runs.run(stage=stage).spec,
            images=[records_pb2.JobImage(image_id=runs.image_id(name), name=name) for name in names],
            name="a job",
        ),
    )


def cancelled(job_id: str = "job-1") -> records_pb2.JobEvent:
    return records_pb2.JobEvent(
        job_id=job_id,
        tenant="acme",
        at=Timestamp(seconds=runs.SUBMITTED_AT + 5),
        cancelled=records_pb2.JobCancelled(cancelled_by="key-1"),
    )


class Scene:
    """A job of four images, each with another fate, as a log."""

    names = ("accepted.png", "reviewed.png", "failed.png", "open.png")

    def __init__(self, *, stage: concepts_pb2.Stage.ValueType = STAGE_3, open_task: bool = True) -> None:
        self.log = Log()
        self.run = runs.run(stage=stage)
        names = list(self.names if open_task else self.names[:3])
        self.log.write(JOBS_EVENTS, created(names, stage=stage), key="job-1")
        for name in names:
            self.step(
                IMAGES_SUBMITTED, records_pb2.ImageSubmitted(image=runs.image(name), run=self.run), name
            )
            self.step(IMAGES_PROPOSED, records_pb2.ImageProposed(image=runs.image(name), run=self.run), name)
        self.dead_letter(next(r for r in self.log.records if r.topic == IMAGES_PROPOSED and self.is_of(r, 2)))
        for name in names:
            if name == "failed.png":
                continue
            self.step(
                IMAGES_SEGMENTED, records_pb2.ImageSegmented(image=runs.image(name), run=self.run), name
            )
            pairs = [
                runs.pair("dog", score=0.95),
                runs.negative("wolf"),
                runs.pair("cat", concepts_pb2.VERDICT_REVIEW, score=0.8),
            ]
            self.step(IMAGES_VERIFIED, runs.verified(pairs, of=self.run, name=name), name)
            asked = 0 if name == "accepted.png" else 1
            if stage == concepts_pb2.STAGE_AUTOMATIC:
                self.accept(name, [runs.pair("dog"), runs.negative("wolf")], opened=asked)
        for name in names[1:]:
            if name != "failed.png":
                self.request(name)
        self.decide("reviewed.png", records_pb2.DECISION_KIND_EDIT, [runs.pair("cat")])

    def is_of(self, record: Record, number: int) -> bool:
        return record.key == runs.image_id(self.names[number])

    def step(self, topic: str, value: Proto, name: str) -> None:
        self.log.write(topic, value, key=runs.image_id(name))

    def dead_letter(self, record: Record) -> None:
        poison = Poison("InvalidInput", "the picture is broken")
        self.log.append(letter(record, poison, group="segmenter", attempts=3))

    def accept(self, name: str, pairs: list[concepts_pb2.Pair], *, opened: int = 0, task: str = "") -> None:
        record = records_pb2.AnnotationsAccepted(
            image=runs.image(name), run=self.run, pairs=pairs, tasks_opened=opened, task_id=task
        )
        self.step(ANNOTATIONS_ACCEPTED, record, name)

    def task(self, name: str) -> records_pb2.ReviewTask:
        return records_pb2.ReviewTask(
            id=f"task-{name}",
            type=records_pb2.TASK_TYPE_REVIEW,
            image=runs.image(name),
            run=self.run,
            pair=runs.pair("cat", concepts_pb2.VERDICT_REVIEW),
        )

    def request(self, name: str) -> None:
        self.step(REVIEW_REQUESTED, records_pb2.ReviewRequested(task=self.task(name)), name)

    def decide(
        self, name: str, kind: records_pb2.DecisionKind.ValueType, pairs: list[concepts_pb2.Pair]
    ) -> None:
        task = self.task(name)
        self.step(REVIEW_COMPLETED, runs.completed(task, runs.decision(task, kind)), name)
        self.step(REVIEW_COMPLETED, runs.completed(task, runs.decision(task, id="late")), name)
        self.accept(name, pairs, task=task.id)


class Service:
    """The dataset service over embedded adapters, fed by hand."""

    def __init__(self, name: str = "view", *, state: redis.Redis | None = None) -> None:
        self.state = state if state is not None else embedded()
        self.blobs = connect(f"memory://{name}")
        self.view = JobView(self.state)
        self.recording = Recording(self.view, self.blobs, CancelledJobs(self.state))
        self.answering = Answering(self.view, self.blobs, ManualClock(), DatasetSettings())

    def take(self, record: Record) -> list[records_pb2.JobEvent]:
        """What the worker would write for the record."""
        outcome = workers._outcome(self.recording, record)
        assert isinstance(outcome, Done)
        return [records_pb2.JobEvent.FromString(message.value) for message in outcome.outputs]

    def job(self, job_id: str = "job-1") -> dataset_pb2.Job:
        return self.answering.job("acme", job_id)

    def dump(self) -> dict[str, object]:
        """The view without what only this moment knows: who told the end of a job, and the change counter."""
        found = dump(self.state, PREFIX)
        for key in list(found):
            if ":changes:" in key:
                del found[key]
            elif ":job:" in key:
                found[key] = {f: v for f, v in found[key].items() if not f.startswith(b"finished")}
        return found


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


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(seed=st.integers(0, 2**32), stage=st.sampled_from([STAGE_2, STAGE_3]), stop=st.booleans())
def test_any_order_and_any_repetition_gives_the_same_view(
    seed: int, stage: concepts_pb2.Stage.ValueType, stop: bool
) -> None:
    scene = Scene(stage=stage)
    if stop:
        scene.log.write(JOBS_EVENTS, cancelled(), key="job-1")
    in_order, shuffled = Service("order"), Service("shuffled")
    for record in scene.log.records:
        in_order.take(record)
    chance = random.Random(seed)
    records = [*scene.log.records, *chance.sample(scene.log.records, len(scene.log.records) // 2)]
    chance.shuffle(records)
    for record in records:
        shuffled.take(record)
    assert shuffled.dump() == in_order.dump()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), open_task=st.booleans())
def test_the_end_of_a_job_is_told_once_whatever_is_aborted(seed: int, open_task: bool) -> None:
    """Partitions go forward independently; a record's transaction may be aborted, then it comes again."""
    scene, service, chance = Scene(open_task=open_task), Service("told"), random.Random(seed)
    queues: dict[str, list[Record]] = {}
    for record in scene.log.records:
        queues.setdefault(record.topic, []).append(record)
    committed: Counter[str] = Counter()
    while queues:
        topic = chance.choice(sorted(queues))
        told = service.take(queues[topic][0])
        if chance.random() < 0.4:
            continue  # not committed: the record is delivered again, at some time
        committed.update(event.finished.status for event in told)
        queues[topic].pop(0)
        if not queues[topic]:
            del queues[topic]
    last = "waiting_for_people" if open_task else "complete"
    assert committed[last] == 1
    assert all(n == 1 for n in committed.values())


def test_an_aborted_end_is_told_again_with_the_same_words() -> None:
    service, scene = Service(), Scene(open_task=False)
    *before, last = scene.log.records
    for record in before:
        service.take(record)
    first = service.take(last)
    assert [event.finished.status for event in first] == ["complete"]
    assert service.take(last) == first
    assert service.take(before[-1]) == []
    service.take(scene.log.write(JOBS_EVENTS, first[0], key="job-1"))
    assert service.job().finished_at == first[0].at
    assert service.take(last) == []  # the log has it


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


def test_the_view_rebuilt_from_the_log_is_equal_to_the_last_byte() -> None:
    service, scene, bus = Service("rebuild"), Scene(), EmbeddedBus()
    for record in scene.log.records:
        bus.publish([record])
    consumer = bus.subscribe(group=workers.GROUP, topics=workers.TOPICS)
    while records := consumer.poll(max_records=16, timeout=0.0):
        outcomes = [workers._outcome(service.recording, record) for record in records]
        outputs = [message for one in outcomes if isinstance(one, Done) for message in one.outputs]
        consumer.commit(records, outputs)
    before = {key: value for key, value in dump(service.state, PREFIX).items() if ":changes:" not in key}
    told = [
        event.finished.status
        for record in bus.read([JOBS_EVENTS])
        if (event := records_pb2.JobEvent.FromString(record.value)).HasField("finished")
    ]
    assert told == ["waiting_for_people"]
    service.state.flushall()
    for _ in range(2):
        workers.rebuild(bus, service.state, service.recording)
        again = {key: value for key, value in dump(service.state, PREFIX).items() if ":changes:" not in key}
        assert again == before
    bus.close()


# -- undo


def completed_image(log: Log, run: records_pb2.Run, name: str, *, withdrawn: bool) -> None:
    """The decision of a task in its first round and, where it is withdrawn, of the second one."""
    for number, gone in ((0, False), (0, True), (1, False)) if withdrawn else ((0, False),):
        accepted = records_pb2.AnnotationsAccepted(
            image=runs.image(name),
            run=run,
            pairs=[] if gone else [runs.pair("dog", masks=[runs.mask(1 + number)]), runs.negative("wolf")],
            task_id=f"task-{name}",
            tasks_opened=0,
            round=number,
            withdrawn=gone,
        )
        log.write(ANNOTATIONS_ACCEPTED, accepted, key=accepted.image.id)


def stage_2_job(*, withdrawn: bool) -> Log:
    """A job of two images with one pair each; the decision on the first is undone and made again."""
    log, run = Log(), runs.run(stage=STAGE_2)
    log.write(JOBS_EVENTS, created(["a", "b"], stage=STAGE_2), key="job-1")
    for name in ("a", "b"):
        key = runs.image_id(name)
        log.write(IMAGES_SUBMITTED, records_pb2.ImageSubmitted(image=runs.image(name), run=run), key=key)
        log.write(IMAGES_VERIFIED, runs.verified([runs.pair("dog")], of=run, name=name), key=key)
        task = records_pb2.ReviewTask(id=f"task-{name}", image=runs.image(name), run=run)
        log.write(REVIEW_REQUESTED, records_pb2.ReviewRequested(task=task), key=key)
        undone = withdrawn and name == "a"
        first = runs.decision(task, records_pb2.DECISION_KIND_REJECT)
        log.write(REVIEW_COMPLETED, runs.completed(task, first), key=key)
        if undone:
            undo = runs.completed(task, runs.decision(task, records_pb2.DECISION_KIND_UNDO, id="u"))
            undo.undone.CopyFrom(first)
            log.write(REVIEW_COMPLETED, undo, key=key)
            task.round = 1
            log.write(REVIEW_COMPLETED, runs.completed(task, runs.decision(task, id="d-2")), key=key)
        completed_image(log, run, name, withdrawn=undone)
    return log


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


def exported(service: Service) -> bytes:
    request = dataset_pb2.CreateExportRequest(tenant="acme", format=dataset_pb2.EXPORT_FORMAT_SACO)
    made = service.answering.create_export(request)
    return service.blobs.fetch(made.blob)


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


def gold_record(
    copy: int, *, withdrawn: bool = False, agreed: bool = False
) -> records_pb2.AnnotationsAccepted:
    people = ("ann", "bob", "eve")
    pair = runs.pair("dog")
    pair.provenance.annotator = people[copy]
    record = records_pb2.AnnotationsAccepted(
        image=runs.image("a"),
        run=runs.run(stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD),
        pairs=[] if withdrawn else [pair],
        task_id=f"copy-{copy}",
        tier=concepts_pb2.TIER_GOLD,
        withdrawn=withdrawn,
    )
    if agreed:
        record.agreement.pairs.add(phrase="dog", agreement=0.25)
        for number, who in enumerate(people):
            record.agreement.annotators.add(annotator=who, agreement=number / 4, task_id=f"copy-{number}")
    return record


def test_all_versions_of_gold_are_exported_and_the_leads_is_of_record() -> None:
    service, log = Service("gold"), Log()
    job = created(["a"], stage=concepts_pb2.STAGE_ASSISTED_MANUAL)
    service.take(log.write(JOBS_EVENTS, job, key="job-1"))
    image, run = runs.image("a"), gold_record(0).run
    service.take(log.write(IMAGES_SUBMITTED, records_pb2.ImageSubmitted(image=image, run=run), key=image.id))
    for copy in range(3):
        service.take(log.write(ANNOTATIONS_ACCEPTED, gold_record(copy, agreed=copy == 2), key=image.id))
    assert service.view.agreements("acme", "job-1") == {"ann": [0.0], "bob": [0.25], "eve": [0.5]}
    wanted = dataset_pb2.GetAnnotationsRequest(tenant="acme", image_id=image.id, job_id="job-1")
    assert len(service.answering.annotations(wanted).pairs) == 3
    lead = gold_record(0)
    lead.task_id, lead.adjudicated = "lead", True
    lead.pairs[0].masks[0].CopyFrom(runs.mask(9))
    service.take(log.write(ANNOTATIONS_ACCEPTED, lead, key=image.id))
    (dog,) = service.answering.annotations(wanted).pairs
    assert dog.masks[0].counts == runs.mask(9).counts
    entries = [entry["tercet"] for entry in json.loads(exported(service))["images"]]
    assert [(one["version"], one["agreement"]) for one in entries] == [
        ("adjudicated", 0.25),
        ("independent", 0.25),
        ("independent", 0.25),
        ("independent", 0.25),
    ]
    service.take(log.write(ANNOTATIONS_ACCEPTED, gold_record(1, withdrawn=True), key=image.id))
    assert service.view.agreements("acme", "job-1") == {}  # of three that no longer stand
    entries = [entry["tercet"] for entry in json.loads(exported(service))["images"]]
    assert not any("agreement" in one for one in entries)
