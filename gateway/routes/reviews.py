"""People's work: tasks are leased, decided, given back. Who works is the key, never the body."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request

from gateway import review_views
from gateway.keys import ApiKey
from gateway.routes.documentation import problems
from gateway.schemas import (
    Decided,
    DecisionRequest,
    Lease,
    LeasedTask,
    LeasedTaskList,
    LeaseProof,
    LeaseRequest,
    Queues,
    Reopened,
    UndoRequest,
)
from gateway.security import AnyKey, needs
from gateway.state import state_of
from gateway.views import time
from services.kit.bus.topics import MAX_RECORD_BYTES
from tercet.v1 import mining_pb2

router = APIRouter(prefix="/v1/reviews", tags=["reviews"])

DECISION_BODIES: Final = (re.compile(r"/v1/reviews/[^/]+/decision"), MAX_RECORD_BYTES)
"""Decisions carry masks: their bodies may be as large as the record that they become."""

Worker = Annotated[ApiKey, needs("annotator", "verifier")]
TaskId = Annotated[
    str, Path(description="Task id.", max_length=100, examples=["5f0c1d9a7b3e4c21a8d6f4e2b1907c35"])
]


@router.post("/lease", summary="Take tasks", responses=problems(400, 422))
def lease_tasks(request: Request, key: Worker, body: LeaseRequest) -> LeasedTaskList:
    """The most urgent tasks that fit and that you may have, held for you; none when there is no work.

    Nobody else gets them until the lease ends. You are never offered an exhaustivity check of your own
    work, a second copy of a gold image, or what you skipped; `adjudicate` goes to leads only.
    """
    found = state_of(request).mining.LeaseTask(
        mining_pb2.LeaseTaskRequest(
            tenant=key.tenant,
            annotator=key.id,
            types=review_views.task_types(review_views.allowed(key, body.types)),
            job_id=body.job_id or "",
            phrase=body.phrase or "",
            max_tasks=body.max_tasks,
        )
    )
    names = _names(request, key, *found.tasks)
    return LeasedTaskList(items=[review_views.leased(held, names) for held in found.tasks])


@router.post("/{task_id}/lease", summary="Take one task", responses=problems(403, 404, 409, 422))
def lease_task(request: Request, key: Worker, task_id: TaskId) -> LeasedTask:
    """This very task, held for you if it is free; if you hold it already, longer.

    So a page whose lease has ended takes its task back and sends what the person had drawn. 409: somebody
    else holds it, or it needs no decision any more; `detail` says which. 403: it is none of yours.
    """
    found = state_of(request).mining.TakeTask(
        mining_pb2.TakeTaskRequest(
            tenant=key.tenant,
            annotator=key.id,
            task_id=task_id,
            types=review_views.task_types(review_views.allowed(key)),
        )
    )
    return review_views.leased(found.task, _names(request, key, found.task))


@router.post("/{task_id}/renew", summary="Hold a task longer", responses=problems(404, 409, 412, 422))
def renew_lease(request: Request, key: Worker, task_id: TaskId, body: LeaseProof) -> Lease:
    """The lease begins anew. Renew well before it ends, as long as the person is at work."""
    found = state_of(request).mining.RenewLease(
        mining_pb2.RenewLeaseRequest(
            tenant=key.tenant, task_id=task_id, lease_id=body.lease_id, annotator=key.id
        )
    )
    return Lease(task_id=task_id, lease_id=body.lease_id, expires_at=time(found.expires_at))


@router.post(
    "/{task_id}/release", status_code=204, summary="Give a task back", responses=problems(404, 409, 412, 422)
)
def release_task(request: Request, key: Worker, task_id: TaskId, body: LeaseProof) -> None:
    """The task is there for everyone again, for you too."""
    state_of(request).mining.ReleaseTask(
        mining_pb2.ReleaseTaskRequest(
            tenant=key.tenant, task_id=task_id, lease_id=body.lease_id, annotator=key.id
        )
    )


@router.post(
    "/{task_id}/skip",
    status_code=204,
    summary="Leave a task to others",
    responses=problems(404, 409, 412, 422),
)
def skip_task(request: Request, key: Worker, task_id: TaskId, body: LeaseProof) -> None:
    """The task is there for the others again; you are not offered it any more."""
    state_of(request).mining.SkipTask(
        mining_pb2.SkipTaskRequest(
            tenant=key.tenant, task_id=task_id, lease_id=body.lease_id, annotator=key.id
        )
    )


@router.post("/{task_id}/decision", summary="Decide a task", responses=problems(400, 404, 409, 412, 413, 422))
def decide_task(request: Request, key: Worker, task_id: TaskId, body: DecisionRequest) -> Decided:
    """Store a decision. The answer comes once the log has it.

    The same decision again, by its id, is answered as the first time. 409: another decision was made, or
    the id stands for another one. 412: the lease has ended, and `detail` says what became of the task;
    keep what the person did and lease again.
    """
    state_of(request).mining.SubmitReview(
        mining_pb2.SubmitReviewRequest(
            tenant=key.tenant,
            lease_id=body.lease_id,
            decision=review_views.decision(task_id, key.id, body),
        )
    )
    return Decided(id=body.id, task_id=task_id, kind=body.kind, annotator=key.id)


@router.post("/{task_id}/undo", summary="Take a decision back", responses=problems(404, 409, 422))
def undo_decision(request: Request, key: Worker, task_id: TaskId, body: UndoRequest) -> Reopened:
    """Your own last decision on the task no longer stands, and you hold the task again.

    The answer comes once the log has it; the same undo again, by its id, is answered as the first time.
    What the decision had accepted leaves the dataset, and a job that was complete is open again. 409: it
    cannot be undone, because it is not your standing decision, its time is over, or other people's work
    builds on it; `detail` says which.
    """
    found = state_of(request).mining.UndoReview(
        mining_pb2.UndoReviewRequest(
            tenant=key.tenant,
            annotator=key.id,
            task_id=task_id,
            id=body.id,
            decision_id=body.decision_id,
        )
    )
    return review_views.reopened(found, _names(request, key, found.task))


@router.get("/queues", summary="Show the queues", responses=problems(422))
def get_queues(
    request: Request,
    key: AnyKey,
    job_id: Annotated[str, Query(description="Only of this job.", max_length=100)] = "",
) -> Queues:
    """How much work waits for people, is held and is done, by type; what waits also by reason."""
    found = state_of(request).mining.QueueStats(
        mining_pb2.QueueStatsRequest(tenant=key.tenant, job_id=job_id)
    )
    return review_views.queues(found)


def _names(request: Request, key: ApiKey, *held: mining_pb2.LeasedTask) -> dict[str, str]:
    """The names of the tenant's keys by their ids, where the tasks have comments; else none are needed."""
    if not any(one.comments for one in held):
        return {}
    return {known.id: known.name for known in state_of(request).keys.of_tenant(key.tenant)}
