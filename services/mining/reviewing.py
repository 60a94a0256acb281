"""What people do: lease, decide, undo, give back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from services.core import phrases
from services.core.errors import AlreadyDecided, Conflict, InvalidInput, Unavailable
from services.kit.bus.ports import Bus
from services.kit.bus.topics import MAX_RECORD_BYTES, REVIEW_COMPLETED, encode
from services.kit.clock import Clock
from services.kit.tracing import traceparent
from services.mining import comments, consensus, submission
from services.mining.domain import decisions, tasks
from services.mining.refusals import require_free, require_held, require_undo
from services.mining.settings import MiningSettings
from services.mining.view import TaskView
from tercet.v1 import mining_pb2, records_pb2

MAX_LEASED = 100
_TASK_TYPES = tuple(kind for kind in records_pb2.TaskType.values() if kind)


class Reviewing:
    """People's half: leases, decisions and undos."""

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
            held = self._held(lease.task, lease.lease_id, expires)
            room -= held.ByteSize()
            if room < 0 and response.tasks:  # the answer is full: the rest is for the next call, or another
                self._view.release(request.tenant, lease.task.id, lease.lease_id, now=now, skip=False)
            else:
                response.tasks.append(held)
        return response

    def take(self, request: mining_pb2.TakeTaskRequest) -> mining_pb2.TakeTaskResponse:
        """One task that is asked for by name, held for the annotator."""
        if not request.annotator:
            raise InvalidInput("a lease needs an annotator")
        held = self._take(request.tenant, request.task_id, request.annotator, request.types)
        return mining_pb2.TakeTaskResponse(task=held)

    def _take(
        self, tenant: str, task_id: str, annotator: str, types: Sequence[int] = ()
    ) -> mining_pb2.LeasedTask:
        now = self._clock.now()
        expires = now + self._settings.mining_lease_seconds
        standing, lease_id = self._view.take(
            tenant,
            task_id,
            annotator,
            types=list(types) or _TASK_TYPES,
            lease_id=self._new_id(),
            now=now,
            expires=expires,
        )
        require_free(standing, task_id)
        task = self._view.task(tenant, task_id)
        if task is None:
            raise AlreadyDecided("the task was decided just now")
        return self._held(task, lease_id, expires)

    def _held(self, task: records_pb2.ReviewTask, lease_id: str, expires: float) -> mining_pb2.LeasedTask:
        """The task for its holder, with what was written about it before."""
        return mining_pb2.LeasedTask(
            task=task,
            lease_id=lease_id,
            expires_at=_time(expires),
            comments=comments.shown(task, self._view.comments(task)),
        )

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
        require_held(standing, request.task_id)
        return mining_pb2.RenewLeaseResponse(expires_at=_time(expires))

    def submit(self, request: mining_pb2.SubmitReviewRequest) -> mining_pb2.SubmitReviewResponse:
        """Store a decision: checked, written to the log, and only then marked in the view."""
        sent, tenant = request.decision, request.tenant
        now = self._clock.now()
        digest = submission.digest(sent)
        task = self._view.task(tenant, sent.task_id)
        decision = sent
        if task is not None:
            taken = self._view.added(task) if len(sent.pairs) > 1 else ()
            decision = submission.checked(task, sent, _time(now), self._settings.limits(), taken)
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
        require_held(standing, sent.task_id)
        if task is None:
            raise AlreadyDecided("the task was decided just now")
        completed = records_pb2.ReviewCompleted(tenant=tenant, task=task, decision=decision)
        self._write(completed, lambda: self._view.abandon(tenant, task.id, sent.id, digest))
        keep_until = tasks.seconds(decision.decided_at) + self._settings.mining_undo_seconds
        if not self._view.mark(completed, now=self._clock.now(), keep_until=keep_until):
            raise AlreadyDecided("another decision on this task came first")
        return mining_pb2.SubmitReviewResponse()

    def undo(self, request: mining_pb2.UndoReviewRequest) -> mining_pb2.UndoReviewResponse:
        """Take a decision back: checked, written to the log, and only then shown; the task is held again."""
        tenant, task_id, annotator = request.tenant, request.task_id, request.annotator
        for name, value in (("id", request.id), ("decision_id", request.decision_id)):
            if not value or len(value) > submission.MAX_ID_CHARACTERS:
                raise InvalidInput(f"{name} has 1 to {submission.MAX_ID_CHARACTERS} characters")
        if not annotator:
            raise InvalidInput("an undo needs an annotator")
        now = self._clock.now()
        decided = self._view.decided(tenant, task_id)
        follow = self._follow_ups(*decided) if decided is not None else []
        lease_id = self._new_id()
        standing = self._view.begin_undo(
            tenant,
            task_id,
            annotator,
            undo_id=request.id,
            decision_id=request.decision_id,
            lease_id=lease_id,
            now=now,
            held_until=now + self._settings.mining_store_seconds,
            follow=follow,
        )
        if standing in ("repeated", "waiting"):  # undone by this very undo
            return self._reopened(tenant, task_id, annotator)
        if standing == "ok" and decided is None:
            raise Conflict("the task was decided just now; ask again")
        require_undo(standing, task_id, self._settings.mining_undo_seconds)
        assert decided is not None
        task, earlier = decided
        event = records_pb2.ReviewDecision(
            id=request.id,
            task_id=task_id,
            annotator=annotator,
            decided_at=_time(now),
            kind=records_pb2.DECISION_KIND_UNDO,
        )
        completed = records_pb2.ReviewCompleted(tenant=tenant, task=task, decision=event, undone=earlier)
        self._write(completed, lambda: self._view.abandon_undo(tenant, task_id, request.id, follow))
        now = self._clock.now()
        expires = now + self._settings.mining_lease_seconds
        if not self._view.mark(completed, now=now, keep_until=0.0, lease_id=lease_id, expires=expires):
            raise Conflict("the task has changed meanwhile; load it again")
        return self._reopened(tenant, task_id, annotator)

    def _reopened(self, tenant: str, task_id: str, annotator: str) -> mining_pb2.UndoReviewResponse:
        """The task that an undo has opened, held by its annotator, and what had been decided."""
        held = self._take(tenant, task_id, annotator)
        found = self._view.reopened(tenant, task_id)
        if found is None:
            raise AlreadyDecided("the decision was undone, and the task has been decided again since")
        _, earlier = found
        for one in held.comments:  # the log may not have been read so far yet
            if (one.annotator, one.written_at) == (earlier.annotator, earlier.decided_at):
                one.taken_back = True
        return mining_pb2.UndoReviewResponse(task=held, earlier=earlier)

    def _follow_ups(self, task: records_pb2.ReviewTask, decision: records_pb2.ReviewDecision) -> list[str]:
        """The tasks that others have because of the decision."""
        found = decisions.follow_ups(task, decision, self._settings.weights())
        rounds = self._view.gold_rounds(task) if tasks.is_gold_copy(task) else ""
        if rounds:
            found.append(consensus.adjudication_id(task.run.job_id, task.image.id, rounds))
        return found

    def _write(self, completed: records_pb2.ReviewCompleted, abandon: Callable[[], None]) -> None:
        """Into the log; `abandon` is called where it certainly was not written."""
        task = completed.task
        message = encode(
            REVIEW_COMPLETED,
            completed,
            key=task.image.id,
            tenant=completed.tenant,
            job_id=task.run.job_id,
            traceparent=traceparent(),
        )
        try:
            self._bus.publish([message])
        except Unavailable:
            raise  # it may have been written: only the same may be tried again while the task stays held
        except Exception:
            abandon()
            raise

    def give_back(self, tenant: str, task_id: str, lease_id: str, *, skip: bool, annotator: str = "") -> None:
        """Give a task back to the queue, for the others only when skipped; with an annotator only by them."""
        now = self._clock.now()
        standing = self._view.release(tenant, task_id, lease_id, annotator=annotator, now=now, skip=skip)
        require_held(standing, task_id)

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


def _time(seconds: float) -> Timestamp:
    return tasks.timestamp(round(seconds * 1000))
