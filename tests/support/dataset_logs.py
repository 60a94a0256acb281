"""Jobs as the records of a log, with every fate that an image and a decision can have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count

from google.protobuf.message import Message as Proto
from google.protobuf.timestamp_pb2 import Timestamp

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
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs

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
