"""What mining does, in the order of an image's way: route, lease, decide, follow up."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from services.core import phrases
from services.core.errors import AlreadyDecided, Conflict, InvalidInput, LeaseLost, NotFound, Unavailable
from services.kit.blobs.images import ImageStore
from services.kit.bus.ports import Bus, Message
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    MAX_RECORD_BYTES,
    REVIEW_COMPLETED,
    REVIEW_REQUESTED,
    encode,
)
from services.kit.clock import Clock
from services.kit.tracing import traceparent
from services.mining import domain, submission
from services.mining.settings import MiningSettings
from services.mining.view import Standing, TaskView
from tercet.v1 import mining_pb2, records_pb2

log = structlog.get_logger(__name__)

MAX_LEASED = 100
_TASK_TYPES = tuple(kind for kind in records_pb2.TaskType.values() if kind)


class Routing:
    """The worker's half: what becomes of verified images and of decisions."""

    def __init__(self, view: TaskView, images: ImageStore, settings: MiningSettings) -> None:
        self._view = view
        self._images = images
        self._weights = settings.weights()

    def route(self, verified: records_pb2.ImageVerified, timestamp_ms: int) -> tuple[Message, ...]:
        """Tasks for people, and in stage 3 the models' result of the run."""
        verified.image.CopyFrom(self._images.without_content(verified.image))
        histories = self._view.histories(verified.image.tenant, (pair.phrase for pair in verified.pairs))
        at = domain.timestamp(timestamp_ms)
        return _messages(domain.route(verified, at, histories, self._weights))

    def requested(self, requested: records_pb2.ReviewRequested) -> None:
        """A task joins the queue."""
        self._view.add(requested.task)

    def completed(
        self, completed: records_pb2.ReviewCompleted, offset: str, timestamp_ms: int
    ) -> tuple[Message, ...]:
        """What follows from a decision, when it is the task's first in the log's order; else nothing."""
        if not self._view.decide(completed, offset):
            log.info("later decision ignored", task_id=completed.task.id, decision_id=completed.decision.id)
            return ()
        at = domain.timestamp(timestamp_ms)
        return _messages(domain.consequences(completed, at, self._weights))

    def accepted(self, accepted: records_pb2.AnnotationsAccepted) -> None:
        """Accepted phrases are counted: rare ones are more urgent."""
        self._view.count_accepted(accepted)

    def cancelled(self, event: records_pb2.JobEvent) -> None:
        """A cancelled job's tasks leave the queue."""
        if event.HasField("cancelled"):
            self._view.cancel(event.tenant, event.job_id)


class Reviewing:
    """People's half: leases and decisions."""

    def __init__(
        self,
        view: TaskView,
        bus: Bus,
        clock: Clock,
        settings: MiningSettings,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._view = view
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._new_id = new_id

    def lease(self, request: mining_pb2.LeaseTaskRequest) -> mining_pb2.LeaseTaskResponse:
        """The most urgent tasks that fit, held for the annotator."""
        if not request.annotator:
            raise InvalidInput("a lease needs an annotator")
        if not 0 <= request.max_tasks <= MAX_LEASED:
            raise InvalidInput(f"max_tasks is between 1 and {MAX_LEASED}")
        if any(kind not in _TASK_TYPES for kind in request.types):
            raise InvalidInput("an unknown type of task")
        now = self._clock.now()
        expires = now + self._settings.mining_lease_seconds
        leases = self._view.lease(
            request.tenant,
            request.annotator,
            types=list(dict.fromkeys(request.types)) or _TASK_TYPES,
            job_id=request.job_id,
            phrase=phrases.normalise(request.phrase) if request.phrase else "",
            lease_ids=[self._new_id() for _ in range(request.max_tasks or 1)],
            now=now,
            expires=expires,
            scan=self._settings.mining_lease_scan,
        )
        response = mining_pb2.LeaseTaskResponse()
        room = MAX_RECORD_BYTES
        for lease in leases:
            held = mining_pb2.LeasedTask(task=lease.task, lease_id=lease.lease_id, expires_at=_time(expires))
            room -= held.ByteSize()
            if room < 0 and response.tasks:  # the answer is full: the rest is for the next call, or another
                self._view.release(request.tenant, lease.task.id, lease.lease_id, now=now, skip=False)
            else:
                response.tasks.append(held)
        return response

    def renew(self, request: mining_pb2.RenewLeaseRequest) -> mining_pb2.RenewLeaseResponse:
        """Hold a task longer."""
        now = self._clock.now()
        expires = now + self._settings.mining_lease_seconds
        standing = self._view.renew(
            request.tenant,
            request.task_id,
            request.lease_id,
            annotator=request.annotator,
            now=now,
            expires=expires,
        )
        _require(standing, request.task_id)
        return mining_pb2.RenewLeaseResponse(expires_at=_time(expires))

    def submit(self, request: mining_pb2.SubmitReviewRequest) -> mining_pb2.SubmitReviewResponse:
        """Store a decision: checked, written to the log, and only then marked in the view."""
        sent, tenant = request.decision, request.tenant
        now = self._clock.now()
        digest = submission.digest(sent)
        task = self._view.task(tenant, sent.task_id)
        decision = sent
        if task is not None:
            decision = submission.checked(task, sent, _time(now), self._settings.limits())
        standing = self._view.begin(
            tenant,
            sent.task_id,
            request.lease_id,
            annotator=sent.annotator,
            decision_id=sent.id,
            digest=digest,
            now=now,
            held_until=now + self._settings.mining_store_seconds,
        )
        if standing == "repeated":
            return mining_pb2.SubmitReviewResponse(repeated_submission=True)
        _require(standing, sent.task_id)
        if task is None:
            raise AlreadyDecided("the task was decided just now")
        completed = records_pb2.ReviewCompleted(tenant=tenant, task=task, decision=decision)
        message = encode(
            REVIEW_COMPLETED,
            completed,
            key=task.image.id,
            tenant=tenant,
            job_id=task.run.job_id,
            traceparent=traceparent(),
        )
        try:
            self._bus.publish([message])
        except Unavailable:
            raise  # it may have been written: only this decision may be tried again while the task stays held
        except Exception:
            self._view.withdraw(tenant, task.id, sent.id, digest)
            raise
        if not self._view.mark(completed):
            raise AlreadyDecided("another decision on this task came first")
        return mining_pb2.SubmitReviewResponse()

    def give_back(self, tenant: str, task_id: str, lease_id: str, *, skip: bool, annotator: str = "") -> None:
        """Give a task back to the queue, for the others only when skipped; with an annotator only by them."""
        now = self._clock.now()
        standing = self._view.release(tenant, task_id, lease_id, annotator=annotator, now=now, skip=skip)
        _require(standing, task_id)

    def stats(self, request: mining_pb2.QueueStatsRequest) -> mining_pb2.QueueStatsResponse:
        """Depths of the queues."""
        depths = self._view.depths(request.tenant, request.job_id, now=self._clock.now())
        queues = [
            mining_pb2.QueueDepth(
                type=kind,
                waiting=depths.get(f"{kind}:waiting", 0),
                leased=depths.get(f"{kind}:leased", 0),
                decided=depths.get(f"{kind}:decided", 0),
            )
            for kind in _TASK_TYPES
        ]
        reasons = {
            field.removeprefix("reason:"): n for field, n in depths.items() if field.startswith("reason:")
        }
        return mining_pb2.QueueStatsResponse(
            queues=[queue for queue in queues if queue.waiting or queue.leased or queue.decided],
            waiting_by_reason=reasons,
        )


def _require(standing: Standing, task_id: str) -> None:
    """Raises what a person needs to hear unless the lease is good."""
    if standing == "ok":
        return
    if standing == "unknown":
        raise NotFound(f"no task {task_id}")
    if standing == "decided":
        raise AlreadyDecided("the task has been decided already; take the next one")
    if standing == "reused":
        raise Conflict("the decision's id stands for another decision; make a new id for each decision")
    if standing == "busy":
        raise Conflict("another decision on this task is being stored; wait for its answer")
    raise LeaseLost(
        {
            "waiting": "the lease ended and the task went back to the queue; lease it again",
            "leased": "the lease ended and someone else holds the task now",
            "cancelled": "the job was cancelled; its tasks need no decision any more",
            "holder": "the task is held by someone else",
        }[standing]
    )


def _messages(routed: domain.Routed) -> tuple[Message, ...]:
    """The records of a routing."""
    messages = [
        encode(
            REVIEW_REQUESTED,
            records_pb2.ReviewRequested(task=task),
            key=task.image.id,
            tenant=task.image.tenant,
            job_id=task.run.job_id,
        )
        for task in routed.tasks
    ]
    accepted = routed.accepted
    if accepted is not None:
        messages.append(
            encode(
                ANNOTATIONS_ACCEPTED,
                accepted,
                key=accepted.image.id,
                tenant=accepted.image.tenant,
                job_id=accepted.run.job_id,
            )
        )
    return tuple(messages)


def _time(seconds: float) -> Timestamp:
    return domain.timestamp(round(seconds * 1000))


__all__: Sequence[str] = ("Reviewing", "Routing")
