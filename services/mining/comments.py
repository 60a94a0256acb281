"""What people write with their decisions, for whoever has the pair next. Pure.

A comment belongs to an image and to the phrases that its task and its decision named; one on a whole image
belongs to every phrase. It is shown across jobs, for a pair is an image and a phrase. Gold is apart: who
works on a gold image works alone, so that nobody but the lead who adjudicates it, in its own job, sees what
was written there, and who annotates or checks it sees nothing that anyone wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.mining.domain.tasks import WHOLE_IMAGE, is_gold
from tercet.v1 import mining_pb2, records_pb2

MOST_SHOWN: Final = 50
"""Of a pair's comments the latest are shown."""


def of_decision(
    task: records_pb2.ReviewTask, decision: records_pb2.ReviewDecision, *, taken_back: bool = False
) -> mining_pb2.Comment | None:
    """The comment of a decision, or of one that was undone; None where nothing was written."""
    text = decision.comment.strip()
    if not text:
        return None
    named = [] if task.type in WHOLE_IMAGE else [task.pair.phrase, *(pair.phrase for pair in decision.pairs)]
    return mining_pb2.Comment(
        annotator=decision.annotator,
        written_at=decision.decided_at,
        text=text,
        kind=decision.kind,
        taken_back=taken_back,
        task_type=task.type,
        job_id=task.run.job_id,
        phrases=dict.fromkeys(named),
        gold=is_gold(task.run.spec),
    )


def shown(task: records_pb2.ReviewTask, comments: Iterable[mining_pb2.Comment]) -> list[mining_pb2.Comment]:
    """Of an image's comments those that are about the task and that its holder may see, oldest first."""
    found = [comment for comment in comments if _may_see(task, comment) and _is_about(task, comment)]
    found.sort(key=lambda comment: (comment.written_at.ToNanoseconds(), comment.annotator, comment.text))
    return found[-MOST_SHOWN:]


def _may_see(task: records_pb2.ReviewTask, comment: mining_pb2.Comment) -> bool:
    if comment.gold:
        return task.type == records_pb2.TASK_TYPE_ADJUDICATE and comment.job_id == task.run.job_id
    return task.type == records_pb2.TASK_TYPE_ADJUDICATE or not is_gold(task.run.spec)


def _is_about(task: records_pb2.ReviewTask, comment: mining_pb2.Comment) -> bool:
    return task.type in WHOLE_IMAGE or not comment.phrases or task.pair.phrase in comment.phrases
