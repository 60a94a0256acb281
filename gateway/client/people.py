"""The calls of people's work."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from pydantic import BaseModel

from gateway.client.calls import Calls, call
from gateway.client.flow import Flow, Request
from gateway.client.requests import get, post
from gateway.schemas import (
    Decided,
    DecidedPair,
    DecisionKind,
    DecisionRequest,
    HardNegative,
    HardNegativeList,
    HardNegativesRequest,
    Lease,
    LeasedTask,
    LeasedTaskList,
    LeaseProof,
    LeaseRequest,
    PhraseSuggestion,
    PhraseSuggestions,
    PromptMask,
    PromptPoint,
    Queues,
    Reopened,
    Segmented,
    SegmentRequest,
    Statistics,
    TaskType,
    UndoRequest,
)


class PeopleCalls(Calls):
    """The calls with which people work; an annotator's key is enough."""

    @call
    def segment(
        self,
        image_id: str,
        *,
        points: Sequence[PromptPoint] = (),
        boxes: Sequence[tuple[float, float, float, float]] = (),
        mask: PromptMask | None = None,
    ) -> Flow[Segmented]:
        """The mask of one instance from clicks, at most one box and the mask so far.

        Several boxes alone are several instances, and give a mask each.
        """
        body = SegmentRequest(boxes=list(boxes), points=list(points), mask=mask)
        return self._model(Segmented, post("/v1/images", image_id, "segment", body=body))

    @call
    def hard_negatives(
        self, image_id: str, *, phrases: Sequence[str] = (), limit: int = 10
    ) -> Flow[list[HardNegative]]:
        """Phrases that look right for the image and are most probably absent; `phrases`: what is present."""
        body = HardNegativesRequest(phrases=list(phrases), limit=limit)
        request = post("/v1/images", image_id, "hard-negatives", body=body)
        return (yield from self._model(HardNegativeList, request)).items

    @call
    def lease_reviews(
        self,
        *,
        types: Sequence[TaskType] = (),
        job_id: str | None = None,
        phrase: str | None = None,
        most: int = 1,
    ) -> Flow[list[LeasedTask]]:
        """The most urgent tasks that fit, held for this key's person; none when there is no work."""
        body = LeaseRequest(types=list(types), job_id=job_id, phrase=phrase, max_tasks=most)
        # Not repeatable: tasks whose answer was lost stay held until their lease ends, and more would be.
        request = post("/v1/reviews/lease", body=body, repeatable=False)
        return (yield from self._model(LeasedTaskList, request)).items

    @call
    def take_review(self, task_id: str) -> Flow[LeasedTask]:
        """Holds this very task, e.g. again after its lease has ended; the draft can then be sent.

        Raises `Conflict` while somebody else holds it, `AlreadyDecided`, and `Forbidden`.
        """
        # Repeatable, unlike a lease of any task: a task that is held already stays held.
        return self._model(LeasedTask, post("/v1/reviews", task_id, "lease"))

    @call
    def undo_review(self, task_id: str, decision_id: str, *, undo_id: str | None = None) -> Flow[Reopened]:
        """Takes this key's own decision back; the log has it when this returns, and the task is held again.

        `decision_id` is `Decided.id`. Safe to repeat with the same `undo_id`; without one, each call is one
        undo, however often it is tried on the wire. Raises `Conflict` with the reason when it is too late.
        """
        body = UndoRequest(id=undo_id or str(uuid.uuid4()), decision_id=decision_id)
        return self._model(Reopened, post("/v1/reviews", task_id, "undo", body=body))

    @call
    def renew_review(self, held: LeasedTask) -> Flow[Lease]:
        """Holds a task longer. Raises `LeaseLost`."""
        return self._model(Lease, _of_task(held, "renew", LeaseProof(lease_id=held.lease_id)))

    @call
    def release_review(self, held: LeasedTask) -> Flow[None]:
        """Gives a task back for everyone. Raises `LeaseLost`."""
        return self._done(_of_task(held, "release", LeaseProof(lease_id=held.lease_id)))

    @call
    def skip_review(self, held: LeasedTask) -> Flow[None]:
        """Leaves a task to others. Raises `LeaseLost`."""
        return self._done(_of_task(held, "skip", LeaseProof(lease_id=held.lease_id)))

    @call
    def decide_review(
        self,
        held: LeasedTask,
        kind: DecisionKind,
        *,
        pairs: Sequence[DecidedPair] = (),
        active_seconds: float,
        comment: str = "",
        decision_id: str | None = None,
    ) -> Flow[Decided]:
        """Stores a decision; the log has it when this returns. See `edited_pair` and `drawn_mask`.

        Safe to repeat with the same `decision_id`; without one, each call is one decision, however often it
        is tried on the wire. Raises `LeaseLost` and `AlreadyDecided`.
        """
        body = DecisionRequest(
            id=decision_id or str(uuid.uuid4()),
            lease_id=held.lease_id,
            kind=kind,
            pairs=list(pairs),
            active_seconds=active_seconds,
            comment=comment,
        )
        return self._model(Decided, _of_task(held, "decision", body))

    @call
    def queues(self, *, job_id: str | None = None) -> Flow[Queues]:
        """How much work waits for people, by type and reason."""
        return self._model(Queues, get("/v1/reviews/queues", job_id=job_id))

    @call
    def phrases(self, prefix: str = "", *, limit: int = 20) -> Flow[list[PhraseSuggestion]]:
        """Phrases of which a word begins so: the tenant's, most used first, then the ontology's."""
        request = get("/v1/phrases", prefix=prefix, limit=limit)
        return (yield from self._model(PhraseSuggestions, request)).items

    @call
    def statistics(self, *, job_id: str | None = None, hours: float | None = None) -> Flow[Statistics]:
        """Figures of the work, of all time or the last hours, of all jobs or one."""
        return self._model(Statistics, get("/v1/statistics", job_id=job_id, hours=hours))


def _of_task(held: LeasedTask, action: str, body: BaseModel) -> Request:
    return post("/v1/reviews", held.task.id, action, body=body)
