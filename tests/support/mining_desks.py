"""Mining over embedded adapters, without threads: people at work, and the log run into the view by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import redis

from services.kit.blobs.images import ImageStore
from services.kit.blobs.store import connect
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.ports import Message, Record
from services.kit.bus.topics import REVIEW_COMPLETED
from services.kit.clock import ManualClock
from services.kit.state.embedded import embedded
from services.mining import workers
from services.mining.domain.routing import route
from services.mining.domain.tasks import timestamp
from services.mining.handlers import Routing
from services.mining.priority import Weights
from services.mining.reviewing import Reviewing
from services.mining.settings import MiningSettings
from services.mining.view import TaskView
from tercet.v1 import concepts_pb2, mining_pb2, records_pb2
from tests.support import runs

REVIEW = concepts_pb2.VERDICT_REVIEW
ACCEPT, EDIT = records_pb2.DECISION_KIND_ACCEPT, records_pb2.DECISION_KIND_EDIT
UNDO = records_pb2.DECISION_KIND_UNDO
SETTINGS = MiningSettings()
AT_MS = 1_700_000_000_000
BLOBS = connect("memory://desk")


@dataclass
class Desk:
    """Mining with embedded adapters."""

    bus: EmbeddedBus = field(default_factory=EmbeddedBus)
    state: redis.Redis = field(default_factory=embedded)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.view = TaskView(self.state)
        self.routing = Routing(self.view, ImageStore(BLOBS), BLOBS, self.clock, SETTINGS)
        self.reviewing = Reviewing(self.view, self.bus, self.clock, SETTINGS)

    def open(
        self, *pairs: concepts_pb2.Pair, name: str = "one.png", of: records_pb2.Run | None = None
    ) -> None:
        """Tasks for the pairs of an image, in the view."""
        verified = runs.verified(pairs, name=name, of=of)
        for task in route(verified, timestamp(AT_MS), {}, Weights()).tasks:
            self.view.add(task)

    def lease(
        self,
        annotator: str = "ann",
        *,
        tenant: str = "acme",
        types: Sequence[records_pb2.TaskType.ValueType] = (),
        job_id: str = "",
        phrase: str = "",
        max_tasks: int = 1,
    ) -> list[mining_pb2.LeasedTask]:
        request = mining_pb2.LeaseTaskRequest(
            tenant=tenant,
            annotator=annotator,
            types=types,
            job_id=job_id,
            phrase=phrase,
            max_tasks=max_tasks,
        )
        return list(self.reviewing.lease(request).tasks)

    def submit(
        self,
        leased: mining_pb2.LeasedTask,
        kind: records_pb2.DecisionKind.ValueType = ACCEPT,
        *,
        id: str = "d-1",  # noqa: A002 - the field's name
        annotator: str = "ann",
        pairs: Sequence[concepts_pb2.Pair] = (),
        tenant: str = "acme",
    ) -> mining_pb2.SubmitReviewResponse:
        decision = runs.decision(leased.task, kind, id=id, annotator=annotator, pairs=pairs)
        return self.reviewing.submit(
            mining_pb2.SubmitReviewRequest(tenant=tenant, lease_id=leased.lease_id, decision=decision)
        )

    def completed(self) -> list[records_pb2.ReviewCompleted]:
        return [records_pb2.ReviewCompleted.FromString(r.value) for r in self.bus.read([REVIEW_COMPLETED])]

    def depths(self, job_id: str = "") -> dict[str, int]:
        return self.view.depths("acme", job_id, now=self.clock.now())


class FailingBus(EmbeddedBus):
    """A bus whose next publish fails."""

    error: Exception | None = None

    def publish(self, messages: Sequence[Message]) -> None:
        if self.error is not None:
            raise self.error
        super().publish(messages)


def phrases(leased: Sequence[mining_pb2.LeasedTask]) -> list[str]:
    return [one.task.pair.phrase for one in leased]


def run_view_worker(desk: Desk) -> None:
    """Everything in the log into the view, with what follows from it, as often as anything follows."""
    consumer = desk.bus.subscribe(group=workers.VIEW_GROUP, topics=workers.VIEW_TOPICS)
    while records := consumer.poll(max_records=16, timeout=0.0):
        outputs = [message for record in records for message in workers.apply(desk.routing, record)]
        consumer.commit(records, outputs)
    consumer.close()


def publish(
    desk: Desk, *pairs: concepts_pb2.Pair, of: records_pb2.Run | None = None, name: str = "one.png"
) -> None:
    """The image's tasks, in the log and in the view."""
    desk.bus.publish(desk.routing.route(runs.verified(pairs, of=of, name=name), AT_MS))
    run_view_worker(desk)


def undo(
    desk: Desk,
    task_id: str,
    *,
    id: str = "u-1",  # noqa: A002 - the field's name
    decision_id: str = "d-1",
    annotator: str = "ann",
    tenant: str = "acme",
) -> mining_pb2.UndoReviewResponse:
    return desk.reviewing.undo(
        mining_pb2.UndoReviewRequest(
            tenant=tenant, task_id=task_id, id=id, decision_id=decision_id, annotator=annotator
        )
    )


def take(desk: Desk, task_id: str, annotator: str = "ann", **more: object) -> mining_pb2.LeasedTask:
    request = mining_pb2.TakeTaskRequest(tenant="acme", task_id=task_id, annotator=annotator, **more)  # type: ignore[arg-type]
    return desk.reviewing.take(request).task


def record_of(completed: records_pb2.ReviewCompleted, offset: int) -> Record:
    """A decision or an undo as the log holds it at the offset."""
    return Record(
        topic=REVIEW_COMPLETED,
        key=completed.task.image.id,
        value=completed.SerializeToString(deterministic=True),
        partition=2,
        offset=offset,
        timestamp_ms=AT_MS + offset,
    )


def history(desk: Desk, rate: float = 1.0) -> list[Record]:
    """A decision, its undo, another decision, and records that do not count in between."""
    desk.open(runs.pair("cat", REVIEW), of=runs.run(exhaustivity_rate=rate))
    (mine,) = desk.lease()
    task, again = mine.task, records_pb2.ReviewTask()
    again.CopyFrom(task)
    again.round = 1
    first = runs.decision(task, id="d-1")
    second = runs.decision(again, EDIT, id="d-2", pairs=[runs.pair("cat"), runs.pair("kite")])

    def taken_back(by: str, of: records_pb2.ReviewDecision, undo_id: str) -> records_pb2.ReviewCompleted:
        made = runs.completed(task, runs.decision(task, UNDO, id=undo_id, annotator=by))
        made.undone.CopyFrom(of)
        return made

    events = [
        taken_back("ann", first, "early"),
        runs.completed(task, first),
        runs.completed(task, runs.decision(task, id="late", annotator="bob")),
        taken_back("bob", first, "of another"),
        taken_back("ann", first, "u-1"),
        runs.completed(task, first),  # written twice, its outcome was unknown
        taken_back("ann", first, "u-1"),
        runs.completed(again, second),
        runs.completed(again, runs.decision(again, id="late again")),
    ]
    return [record_of(one, 10 + 3 * number) for number, one in enumerate(events)]
