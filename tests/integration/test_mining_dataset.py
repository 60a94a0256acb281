"""Mining and dataset together, two replicas of each, by their doors: embedded, and on Kafka and Redis."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis
from google.protobuf.timestamp_pb2 import Timestamp

from services.core.errors import Conflict, LeaseLost, NotFound
from services.dataset.bootstrap import build as build_dataset
from services.dataset.settings import DatasetSettings
from services.dataset.view import PREFIX as DATASET_PREFIX
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.kafka import KafkaBus
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.ports import Bus, Message
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    IMAGES_PROPOSED,
    IMAGES_SEGMENTED,
    IMAGES_SUBMITTED,
    IMAGES_VERIFIED,
    JOBS_EVENTS,
    REVIEW_COMPLETED,
    encode,
)
from services.kit.clock import SystemClock
from services.kit.inference.embedded import EmbeddedInference
from services.kit.rpc.client import connect
from services.kit.running import RunningService, start, stop_all
from services.kit.service import Adapters
from services.kit.settings import KitSettings
from services.kit.state.embedded import embedded
from services.kit.state.redis import connect as connect_redis
from services.mining import workers
from services.mining.bootstrap import build as build_mining
from services.mining.settings import MiningSettings
from services.mining.view import PREFIX as MINING_PREFIX
from tercet.v1 import (
    concepts_pb2,
    dataset_pb2,
    dataset_pb2_grpc,
    mining_pb2,
    mining_pb2_grpc,
    records_pb2,
)
from tests.support import runs
from tests.support.dataset_logs import Log, Scene, stage_2_job
from tests.support.hand_fed_dataset import Service
from tests.support.mining_desks import Desk, history, publish, run_view_worker, take, undo
from tests.support.polling import eventually
from tests.support.views import dump

REVIEW = concepts_pb2.VERDICT_REVIEW
ACCEPT, EDIT = records_pb2.DECISION_KIND_ACCEPT, records_pb2.DECISION_KIND_EDIT
REPLICAS = 2


@dataclass
class Parts:
    """Both services, running, and how to reach them."""

    adapters: Adapters
    settings: KitSettings
    mining: mining_pb2_grpc.MiningServiceStub
    dataset: dataset_pb2_grpc.DatasetServiceStub
    running: list[RunningService]
    tenant: str

    def submit(
        self, job_id: str, run: records_pb2.Run, images: Mapping[str, Sequence[concepts_pb2.Pair]]
    ) -> None:
        """A job whose images the stages have worked already."""
        event = records_pb2.JobEvent(
            job_id=job_id,
            tenant=self.tenant,
            at=Timestamp(seconds=runs.SUBMITTED_AT),
            created=records_pb2.JobCreated(
                spec=run.spec,
                images=[records_pb2.JobImage(image_id=runs.image_id(name), name=name) for name in images],
            ),
        )
        messages = [encode(JOBS_EVENTS, event, key=job_id, tenant=self.tenant, job_id=job_id)]
        for name, pairs in images.items():
            image = runs.image(name, tenant=self.tenant)
            for topic, record in (
                (IMAGES_SUBMITTED, records_pb2.ImageSubmitted(image=image, run=run)),
                (IMAGES_PROPOSED, records_pb2.ImageProposed(image=image, run=run)),
                (IMAGES_SEGMENTED, records_pb2.ImageSegmented(image=image, run=run, pairs=pairs)),
                (IMAGES_VERIFIED, runs.verified(pairs, of=run, name=name, tenant=self.tenant)),
            ):
                messages.append(encode(topic, record, key=image.id, tenant=self.tenant, job_id=job_id))
        self.adapters.bus.publish(messages)

    def job(self, job_id: str) -> dataset_pb2.Job | None:
        try:
            return self.dataset.GetJob(dataset_pb2.GetJobRequest(tenant=self.tenant, job_id=job_id))
        except NotFound:
            return None

    def reaches(self, job_id: str, status: dataset_pb2.JobStatus.ValueType) -> dataset_pb2.Job:
        def there() -> dataset_pb2.Job | None:
            job = self.job(job_id)
            return job if job is not None and job.status == status else None

        job = eventually(there, timeout=90)
        assert job is not None
        return job

    def lease(
        self,
        annotator: str,
        job_id: str,
        most: int = 5,
        types: Sequence[records_pb2.TaskType.ValueType] = (),
    ) -> list[mining_pb2.LeasedTask]:
        request = mining_pb2.LeaseTaskRequest(
            tenant=self.tenant, annotator=annotator, job_id=job_id, max_tasks=most, types=types
        )
        return list(self.mining.LeaseTask(request).tasks)

    def decide(
        self,
        leased: mining_pb2.LeasedTask,
        annotator: str,
        pairs: Sequence[concepts_pb2.Pair] = (),
    ) -> str:
        """The id of the decision: the pairs, or the one of an image, or that the task's pair is right."""
        whole_image = leased.task.type in (records_pb2.TASK_TYPE_ANNOTATE, records_pb2.TASK_TYPE_ADJUDICATE)
        decision = runs.decision(
            leased.task,
            EDIT if whole_image or pairs else ACCEPT,
            id=uuid.uuid4().hex,
            annotator=annotator,
            pairs=pairs or ([runs.pair("dog")] if whole_image else ()),
        )
        decision.ClearField("decided_at")  # mining says when
        self.mining.SubmitReview(
            mining_pb2.SubmitReviewRequest(tenant=self.tenant, lease_id=leased.lease_id, decision=decision)
        )
        return decision.id

    def accepted(self, job_id: str) -> list[records_pb2.AnnotationsAccepted]:
        found = (
            records_pb2.AnnotationsAccepted.FromString(record.value)
            for record in self.adapters.bus.read([ANNOTATIONS_ACCEPTED])
        )
        return [one for one in found if one.run.job_id == job_id]

    def completed(self, job_id: str) -> list[records_pb2.ReviewCompleted]:
        found = (
            records_pb2.ReviewCompleted.FromString(record.value)
            for record in self.adapters.bus.read([REVIEW_COMPLETED])
        )
        return [one for one in found if one.task.run.job_id == job_id]

    def told(self, job_id: str) -> Counter[str]:
        """How often each end of the job is in the log."""
        events = (
            records_pb2.JobEvent.FromString(record.value) for record in self.adapters.bus.read([JOBS_EVENTS])
        )
        return Counter(e.finished.status for e in events if e.job_id == job_id and e.HasField("finished"))

    def undo(
        self, leased: mining_pb2.LeasedTask, annotator: str, decision_id: str
    ) -> mining_pb2.UndoReviewResponse:
        request = mining_pb2.UndoReviewRequest(
            tenant=self.tenant,
            annotator=annotator,
            task_id=leased.task.id,
            id=uuid.uuid4().hex,
            decision_id=decision_id,
        )
        answer = self.mining.UndoReview(request)
        again = self.mining.UndoReview(request)  # as when the answer was lost
        assert (again.task.lease_id, again.earlier) == (answer.task.lease_id, answer.earlier)
        return answer

    def export(self, job_id: str) -> dataset_pb2.Export:
        return self.dataset.CreateExport(
            dataset_pb2.CreateExportRequest(
                tenant=self.tenant, job_ids=[job_id], format=dataset_pb2.EXPORT_FORMAT_SACO
            )
        )

    def caught_up(self) -> None:
        """Every record is worked. Other tests share the broker; their groups may have ended behind."""
        ours = {"mining", "mining-view", "dataset"}
        eventually(
            lambda: all(lag.records == 0 for lag in self.adapters.bus.lag() if lag.group in ours), timeout=60
        )

    def rebuild(self) -> None:
        """Both services stopped, their views forgotten and made again from the log."""
        stop_all(self.running, 20.0)
        self.running.clear()
        for prefix in (MINING_PREFIX, DATASET_PREFIX):
            for key in self.adapters.redis.scan_iter(match=f"{prefix}*"):
                self.adapters.redis.delete(key)
        for service in (
            build_mining(self.adapters, MiningSettings()),
            build_dataset(self.adapters, DatasetSettings()),
        ):
            assert service.rebuild is not None
            service.rebuild()


@pytest.fixture(params=["embedded", "stack"])
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Parts]:
    settings = KitSettings()
    with ExitStack() as stack:
        buses: list[Bus]
        state: redis.Redis
        if request.param == "embedded":
            buses, state = [EmbeddedBus()] * REPLICAS, embedded()
        else:
            bootstrap = request.getfixturevalue("kafka_bootstrap")
            state = connect_redis(request.getfixturevalue("redis_url"))
            buses = [
                KafkaBus(bootstrap, settings=KafkaSettings(instance=f"test-{n}"), clock=SystemClock())
                for n in range(REPLICAS)
            ]
        for bus in {id(bus): bus for bus in buses}.values():
            stack.callback(bus.close)
        stack.callback(state.close)
        common = Adapters(
            bus=buses[0],
            redis=state,
            blobs=connect_blobs(f"file://{tmp_path}/blobs"),
            inference=EmbeddedInference({}, settings=settings),
            clock=SystemClock(),
        )
        running: list[RunningService] = []
        stack.callback(lambda: stop_all(running, 20.0))
        addresses: dict[str, str] = {}
        for number, bus in enumerate(buses):
            adapters = replace(common, bus=bus)
            for service in (
                build_mining(adapters, MiningSettings()),
                build_dataset(adapters, DatasetSettings()),
            ):
                addresses[service.name] = f"unix:{tmp_path}/{service.name}-{number}"
                running.append(start(service, adapters, addresses[service.name], settings=settings))
        mining = stack.enter_context(connect(addresses["mining"], settings=settings))
        dataset = stack.enter_context(connect(addresses["dataset"], settings=settings))
        yield Parts(
            adapters=common,
            settings=settings,
            mining=mining_pb2_grpc.MiningServiceStub(mining),
            dataset=dataset_pb2_grpc.DatasetServiceStub(dataset),
            running=running,
            tenant=f"tenant-{uuid.uuid4().hex[:8]}",
        )


def work_off(parts: Parts, job_id: str, people: Sequence[str] = ("ann", "bob", "eve")) -> int:
    """People decide whatever they are given until the job is complete; how many decisions it took."""
    decisions = 0

    def complete() -> bool:
        nonlocal decisions
        for person in people:
            for leased in parts.lease(person, job_id):
                parts.decide(leased, person)
                decisions += 1
        job = parts.job(job_id)
        return job is not None and job.status == dataset_pb2.JOB_STATUS_COMPLETE

    eventually(complete, timeout=90)
    return decisions


def test_stage_3_from_verified_images_to_an_export_and_a_view_that_can_be_made_again(parts: Parts) -> None:
    job_id = f"job-{uuid.uuid4().hex[:8]}"
    run = runs.run(job_id, audit_rate=0.5, exhaustivity_rate=0.5)
    pairs = [runs.pair("dog"), runs.pair("cat", REVIEW, score=0.8), runs.negative("wolf")]
    images = {f"{n}.png": pairs if n % 2 else pairs[:1] for n in range(20)}
    parts.submit(job_id, run, images)
    watched = list(
        parts.dataset.WatchJob(dataset_pb2.WatchJobRequest(tenant=parts.tenant, job_id=job_id))
        if eventually(lambda: parts.job(job_id), timeout=90)
        else ()
    )
    assert watched[-1].status == dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE
    assert sum(watched[-1].counts.values()) == 20
    results = Counter(one.image.id for one in parts.accepted(job_id) if not one.task_id)
    assert results == {runs.image_id(name): 1 for name in images}
    open_tasks = watched[-1].open_tasks
    assert open_tasks >= 10

    decisions = work_off(parts, job_id)
    job = parts.reaches(job_id, dataset_pb2.JOB_STATUS_COMPLETE)
    assert decisions >= open_tasks
    assert dict(job.counts) == {"complete": 20}
    assert (job.open_tasks, job.accepted_positives, job.accepted_negatives) == (0, 30, 10)
    by_task = Counter(one.task_id for one in parts.accepted(job_id) if one.task_id)
    assert (len(by_task), set(by_task.values())) == (decisions, {1})
    eventually(lambda: len(parts.told(job_id)) == 2)
    assert parts.told(job_id) == {"waiting_for_people": 1, "complete": 1}

    export = parts.export(job_id)
    assert (export.images, export.pairs, export.masks) == (20, 40, 30)

    parts.caught_up()
    before = views(parts)
    parts.rebuild()
    assert views(parts) == before


def views(parts: Parts) -> dict[str, object]:
    """Both views, without the change counters and who has only seen others' work (leases may be lost)."""
    both = {
        **dump(parts.adapters.redis, f"{MINING_PREFIX}{{{parts.tenant}}}:"),
        **dump(parts.adapters.redis, f"{DATASET_PREFIX}{{{parts.tenant}}}:"),
    }
    return {key: value for key, value in both.items() if ":changes:" not in key}


def test_gold_annotation_by_three_and_second_persons(parts: Parts) -> None:
    job_id = f"job-{uuid.uuid4().hex[:8]}"
    run = runs.run(job_id, stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD)
    parts.submit(job_id, run, {"one.png": []})
    parts.reaches(job_id, dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE)
    assert work_off(parts, job_id) == 6
    answer = parts.dataset.GetAnnotations(
        dataset_pb2.GetAnnotationsRequest(
            tenant=parts.tenant, image_id=runs.image_id("one.png"), job_id=job_id
        )
    )
    assert [(p.phrase, p.provenance.annotator, p.exhaustive) for p in answer.pairs] == [
        ("dog", person, True) for person in ("ann", "bob", "eve")
    ]


def test_a_complete_job_is_opened_by_an_undo_and_complete_again(parts: Parts) -> None:
    job_id = f"job-{uuid.uuid4().hex[:8]}"
    run = runs.run(job_id, stage=concepts_pb2.STAGE_SEMI_AUTOMATIC, exhaustivity_rate=1.0)
    parts.submit(job_id, run, {"one.png": [runs.pair("dog", REVIEW)]})
    parts.reaches(job_id, dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE)
    (leased,) = eventually(lambda: parts.lease("ann", job_id))
    wrong = parts.decide(leased, "ann", [runs.pair("dog"), runs.pair("kite")])
    opened = parts.undo(leased, "ann", wrong)
    assert [pair.phrase for pair in opened.earlier.pairs] == ["dog", "kite"]
    assert opened.task.task.round == 1
    eventually(lambda: [one.withdrawn for one in parts.accepted(job_id)] == [False, True], timeout=60)
    decided = parts.decide(opened.task, "ann", [runs.pair("dog"), runs.pair("kite", masks=[runs.mask(9)])])
    work_off(parts, job_id, ["bob"])
    complete = parts.reaches(job_id, dataset_pb2.JOB_STATUS_COMPLETE)
    assert (complete.accepted_positives, complete.open_tasks) == (2, 0)
    with pytest.raises(Conflict, match="build on"):
        parts.undo(opened.task, "ann", decided)

    (check,) = (one for one in parts.completed(job_id) if one.task.pair.phrase == "kite")
    checking = parts.undo(mining_pb2.LeasedTask(task=check.task), "bob", check.decision.id).task
    job = parts.reaches(job_id, dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE)
    assert (dict(job.counts), job.open_tasks) == ({"in_review": 1}, 1)
    parts.decide(checking, "bob")
    parts.reaches(job_id, dataset_pb2.JOB_STATUS_COMPLETE)
    eventually(lambda: parts.told(job_id)["complete"] == 2, timeout=60)
    assert parts.told(job_id) == {"waiting_for_people": 1, "complete": 2}
    report = parts.dataset.Report(dataset_pb2.ReportRequest(tenant=parts.tenant, job_id=job_id))
    assert report.decisions == 3  # the pair and its two checks, however often they were decided

    parts.caught_up()
    export, before = parts.export(job_id), views(parts)
    assert (export.pairs, export.masks) == (2, 2)
    parts.rebuild()
    assert views(parts) == before


def test_gold_versions_that_disagree_are_adjudicated_by_a_lead(parts: Parts) -> None:
    job_id = f"job-{uuid.uuid4().hex[:8]}"
    run = runs.run(job_id, stage=concepts_pb2.STAGE_ASSISTED_MANUAL, tier=concepts_pb2.TIER_GOLD)
    parts.submit(job_id, run, {"one.png": []})
    parts.reaches(job_id, dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE)
    copies = {
        who: eventually(lambda who=who: parts.lease(who, job_id), timeout=60)[0]  # type: ignore[misc]
        for who in ("ann", "bob", "eve")
    }
    made = {
        who: parts.decide(copies[who], who, [runs.pair("dog", masks=[runs.mask(x)])])
        for who, x in (("ann", 1), ("bob", 1), ("eve", 9))
    }
    adjudicate = [records_pb2.TASK_TYPE_ADJUDICATE]
    (task,) = eventually(lambda: parts.lease("lead", job_id, types=adjudicate), timeout=60)
    assert [version.annotator for version in task.task.versions] == [
        who for who, _ in sorted(copies.items(), key=lambda one: one[1].task.copy)
    ]
    assert [round(one.agreement, 4) for one in task.task.agreement.pairs] == [0.3333]
    with pytest.raises(Conflict, match="somebody works"):
        parts.undo(copies["eve"], "eve", made["eve"])
    parts.mining.ReleaseTask(
        mining_pb2.ReleaseTaskRequest(
            tenant=parts.tenant, task_id=task.task.id, lease_id=task.lease_id, annotator="lead"
        )
    )
    # Eve sees her mistake and makes half of it good: another task, for versions that disagree still.
    opened = parts.undo(copies["eve"], "eve", made["eve"])
    parts.decide(opened.task, "eve", [runs.pair("dog", masks=[runs.mask(2, 2)])])
    (again,) = eventually(lambda: parts.lease("lead", job_id, types=adjudicate), timeout=60)
    assert again.task.id != task.task.id
    (agreed,) = again.task.agreement.pairs
    assert 1 / 3 <= agreed.agreement < 0.7
    parts.decide(again, "lead", [runs.pair("dog", masks=[runs.mask(3)])])
    work_off(parts, job_id)
    job = parts.reaches(job_id, dataset_pb2.JOB_STATUS_COMPLETE)
    assert job.open_tasks == 0
    wanted = dataset_pb2.GetAnnotationsRequest(
        tenant=parts.tenant, image_id=runs.image_id("one.png"), job_id=job_id
    )
    (dog,) = parts.dataset.GetAnnotations(wanted).pairs
    assert dog.masks[0].counts == runs.mask(3).counts
    parts.caught_up()
    export, before = parts.export(job_id), views(parts)
    assert (export.pairs, export.masks) == (4, 4)  # all three versions, and the lead's
    parts.rebuild()
    assert views(parts) == before


def test_a_cancelled_job_ends_and_its_tasks_are_gone(parts: Parts) -> None:
    job_id = f"job-{uuid.uuid4().hex[:8]}"
    run = runs.run(job_id, stage=concepts_pb2.STAGE_SEMI_AUTOMATIC)
    parts.submit(job_id, run, {f"{n}.png": [runs.pair("dog")] for n in range(6)})
    parts.reaches(job_id, dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE)
    (leased,) = eventually(lambda: parts.lease("ann", job_id, most=1))
    event = records_pb2.JobEvent(
        job_id=job_id,
        tenant=parts.tenant,
        at=Timestamp(seconds=runs.SUBMITTED_AT + 9),
        cancelled=records_pb2.JobCancelled(cancelled_by="key-1"),
    )
    message: Message = encode(JOBS_EVENTS, event, key=job_id, tenant=parts.tenant, job_id=job_id)
    parts.adapters.bus.publish([message])
    job = parts.reaches(job_id, dataset_pb2.JOB_STATUS_CANCELLED)
    eventually(lambda: (parts.job(job_id) or job).counts == {"cancelled": 6})
    eventually(lambda: not parts.lease("bob", job_id))
    parts.mining.ReleaseTask(
        mining_pb2.ReleaseTaskRequest(tenant=parts.tenant, task_id=leased.task.id, lease_id=leased.lease_id)
    )
    with pytest.raises(LeaseLost, match="cancelled"):
        parts.decide(leased, "ann")
    assert parts.told(job_id)["complete"] == 0


@pytest.mark.parametrize("log", [Scene().log, stage_2_job(withdrawn=True)], ids=["every fate", "undo"])
def test_the_scripts_do_on_redis_what_they_do_on_fakeredis(redis_url: str, log: Log) -> None:
    state = connect_redis(redis_url)
    state.flushdb()  # what other tests have left
    fake, real = Service("fake"), Service("real", state=state)
    for record in log.records:
        assert real.take(record) == fake.take(record)
    ours = f"{DATASET_PREFIX}{{acme}}:"
    assert {k: v for k, v in real.dump().items() if k.startswith(ours)} == {
        k: v for k, v in fake.dump().items() if k.startswith(ours)
    }
    real.state.close()


def test_minings_scripts_do_on_redis_what_they_do_on_fakeredis(redis_url: str) -> None:
    """Redis' own Lua knows a -0, and takes it for no integer."""
    state = connect_redis(redis_url)
    state.flushdb()
    fake, real = Desk(), Desk(state=state)
    answers = [[workers.apply(desk.routing, one) for one in history(desk)] for desk in (fake, real)]
    assert answers[0] == answers[1]
    for desk in (fake, real):
        publish(desk, runs.pair("fox", REVIEW), name="two.png", of=runs.run("job-2", exhaustivity_rate=1.0))
        (held,) = desk.lease(phrase="fox")
        desk.submit(held)
        run_view_worker(desk)
        opened = undo(desk, held.task.id)
        desk.submit(take(desk, opened.task.task.id), id="d-2")
        run_view_worker(desk)
        desk.lease("bob", max_tasks=9)
        desk.bus.close()
    before = [without_what_differs(dump(desk.state, MINING_PREFIX)) for desk in (fake, real)]
    assert before[0] == before[1]
    state.close()


def without_what_differs(view: dict[str, object]) -> dict[str, object]:
    """Without leases' ids, what holds the time at which a record was written, and fakeredis' counts."""
    view = {key: value for key, value in view.items() if ":accepted:" not in key}
    for key, value in view.items():
        if ":task:" in key and isinstance(value, dict):
            view[key] = {name: one for name, one in value.items() if name not in (b"lease", b"record")}
    return view
