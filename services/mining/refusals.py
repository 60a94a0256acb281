"""Why a person cannot have what was asked for: a script's answer as the error that says so."""

from __future__ import annotations

from services.core.errors import AlreadyDecided, Conflict, Forbidden, LeaseLost, NotFound
from services.mining.scripts import Standing


def require_held(standing: Standing, task_id: str) -> None:
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
            "withdrawn": "the decision that the task followed from was taken back; it needs none any more",
            "holder": "the task is held by someone else",
        }[standing]
    )


def require_free(standing: Standing, task_id: str) -> None:
    """Raises what a person needs to hear unless the task is theirs now."""
    if standing == "ok":
        return
    if standing == "unknown":
        raise NotFound(f"no task {task_id}")
    if standing == "decided":
        raise AlreadyDecided("the task has been decided already; take the next one")
    if standing in ("type", "own", "alone"):
        raise Forbidden(
            {
                "type": "tasks of this type are for leads",
                "own": "this task checks your own work; somebody else has to do it",
                "alone": "of a gold image each person annotates one copy, alone, before seeing the others",
            }[standing]
        )
    raise Conflict(
        {
            "leased": "somebody else holds the task now; it may be free again later",
            "cancelled": "the job was cancelled; its tasks need no decision any more",
            "withdrawn": "the decision that the task followed from was taken back; it needs none any more",
        }[standing]
    )


def require_undo(standing: Standing, task_id: str, seconds: float) -> None:
    """Raises why the decision cannot be undone."""
    if standing == "ok":
        return
    if standing == "unknown":
        raise NotFound(f"no task {task_id}")
    raise Conflict(
        {
            "reused": "the id stands for another undo; make a new id for each undo",
            "decided": "the decision was undone, and the task has been decided again since",
            "leased": "the decision was undone, and somebody else holds the task now",
            "cancelled": "the job was cancelled; nothing in it is decided any more",
            "withdrawn": "the decision that the task followed from was taken back itself",
            "open": "there is no decision on the task to undo",
            "undone": "the decision has been undone already; take the task again",
            "foreign": "only who made the decision that stands can undo it",
            "another": "the decision is not the one that stands on the task",
            "late": f"a decision can be undone for {seconds / 60:g} minutes; this one is older",
            "seen": "you have seen what others made of this gold image; your own copy stays as it is",
            "built": "other people's decisions build on this one; it stays",
            "building": "somebody works on a task that follows from this decision; it stays",
            "busy": "another undo of this decision is being stored; wait for its answer",
        }[standing]
    )
