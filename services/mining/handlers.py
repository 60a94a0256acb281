"""What mining does with the log: route verified images, follow up decisions, take back what is undone.

People's half, from a lease to a decision, is in `reviewing`.
"""

from __future__ import annotations

import structlog

from services.kit.blobs.images import ImageStore
from services.kit.blobs.ports import Blobs
from services.kit.bus.ports import Message
from services.kit.bus.topics import ANNOTATIONS_ACCEPTED, REVIEW_REQUESTED, encode
from services.kit.clock import Clock
from services.mining import comments, consensus
from services.mining.domain import decisions, routing, tasks
from services.mining.settings import MiningSettings
from services.mining.view import TaskView
from tercet.v1 import records_pb2

log = structlog.get_logger(__name__)


class Routing:
    """The worker's half: what becomes of verified images and of decisions."""

    def __init__(
        self, view: TaskView, images: ImageStore, blobs: Blobs, clock: Clock, settings: MiningSettings
    ) -> None:
        self._view = view
        self._images = images
        self._blobs = blobs
        self._clock = clock
        self._settings = settings
        self._weights = settings.weights()

    def route(self, verified: records_pb2.ImageVerified, timestamp_ms: int) -> tuple[Message, ...]:
        """Tasks for people, and in stage 3 the models' result of the run."""
        verified.image.CopyFrom(self._images.without_content(verified.image))
        histories = self._view.histories(verified.image.tenant, (pair.phrase for pair in verified.pairs))
        at = tasks.timestamp(timestamp_ms)
        return _messages(routing.route(verified, at, histories, self._weights))

    def requested(self, requested: records_pb2.ReviewRequested) -> None:
        """A task joins the queue."""
        self._view.add(requested.task)

    def completed(
        self, completed: records_pb2.ReviewCompleted, position: str, timestamp_ms: int, *, again: bool = False
    ) -> tuple[Message, ...]:
        """What follows from a decision, when it is the task's first in the log's order; else nothing.

        `again`: at a rebuild, which wants only the view.
        """
        task, decision = completed.task, completed.decision
        found = self._view.decide(
            completed,
            position,
            now=self._clock.now(),
            keep_until=tasks.seconds(decision.decided_at) + self._settings.mining_undo_seconds,
            added=decisions.added_phrases(task, decision),
        )
        if not found.counts:
            log.info("later decision ignored", task_id=task.id, decision_id=decision.id)
            return ()
        self._view.note(task, comments.of_decision(task, decision))
        if tasks.is_gold_copy(task):
            self._keep_version(completed, again=again)
        if again:
            if found.gold_rounds:
                self._remember_adjudication(task, found.gold_rounds)
            return ()
        at = tasks.timestamp(timestamp_ms)
        routed = decisions.consequences(completed, at, self._weights)
        if found.gold_rounds:
            routed = consensus.completed(
                routed,
                self._versions(task, found.gold_rounds),
                found.gold_rounds,
                at,
                self._weights,
                agree_at_least=self._settings.mining_agreement_at_least,
            )
            if any(one.type == records_pb2.TASK_TYPE_ADJUDICATE for one in routed.tasks):
                self._view.open_adjudication(task, found.gold_rounds)
        return _messages(routed)

    def undone(
        self, undo: records_pb2.ReviewCompleted, position: str, timestamp_ms: int, *, again: bool = False
    ) -> tuple[Message, ...]:
        """What follows from an undo: the decision's record and its checks are withdrawn."""
        task = undo.task
        checks = decisions.follow_ups(task, undo.undone, self._weights)
        found = self._view.decide(
            undo,
            position,
            now=self._clock.now(),
            keep_until=0.0,
            follow=checks,
            added=decisions.added_phrases(task, undo.undone),
        )
        if not found.counts:
            log.info("undo ignored", task_id=task.id, undo_id=undo.decision.id, decision_id=undo.undone.id)
            return ()
        self._view.note(task, comments.of_decision(task, undo.undone, taken_back=True))
        adjudication = bool(found.gold_rounds) and self._view.has_adjudication(task, found.gold_rounds)
        gone = list(checks)
        if adjudication:
            gone.append(consensus.adjudication_id(task.run.job_id, task.image.id, found.gold_rounds))
        self._view.withdraw(undo.tenant, gone)
        if again:
            return ()
        at = tasks.timestamp(timestamp_ms)
        record, _ = decisions.taken_back(undo, at, self._weights, adjudication=adjudication)
        return _messages(routing.Routed(record))

    def accepted(self, accepted: records_pb2.AnnotationsAccepted) -> None:
        """Accepted phrases are counted: rare ones are more urgent."""
        self._view.count_accepted(accepted)

    def cancelled(self, event: records_pb2.JobEvent) -> None:
        """A cancelled job's tasks leave the queue."""
        if event.HasField("cancelled"):
            self._view.cancel(event.tenant, event.job_id)

    def _keep_version(self, completed: records_pb2.ReviewCompleted, *, again: bool) -> None:
        """One of the three versions of a gold image, for when they are compared."""
        task = completed.task
        key = _version_key(task, task.copy, str(task.round))
        if not again or not self._blobs.exists(key):
            self._blobs.put(key, completed.SerializeToString(deterministic=True))

    def _versions(self, task: records_pb2.ReviewTask, rounds: str) -> list[records_pb2.ReviewCompleted]:
        return [
            records_pb2.ReviewCompleted.FromString(self._blobs.get(_version_key(task, copy, number)))
            for copy, number in enumerate(rounds.split(","))
        ]

    def _remember_adjudication(self, task: records_pb2.ReviewTask, rounds: str) -> None:
        # Whether there was one is the log's to say: what counts as agreement is a setting.
        wanted = consensus.adjudication_id(task.run.job_id, task.image.id, rounds)
        if self._view.knows(task.image.tenant, wanted):
            self._view.open_adjudication(task, rounds)


def _version_key(task: records_pb2.ReviewTask, copy: int, number: str) -> str:
    """Where one of the three versions of a gold image is kept, by its copy and the copy's round."""
    return f"{task.image.tenant}/gold/{task.run.job_id}/{task.image.id}/{copy}.{number}.pb"


def _messages(routed: routing.Routed) -> tuple[Message, ...]:
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
