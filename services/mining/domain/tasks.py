"""Tasks for people: their ids, their samples and how one is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from services.mining.priority import Priority
from tercet.v1 import concepts_pb2, records_pb2

WHOLE_IMAGE = (records_pb2.TASK_TYPE_ANNOTATE, records_pb2.TASK_TYPE_ADJUDICATE)
"""Types of tasks that are about an image, not about one pair of it."""
SECOND_LOOK = (records_pb2.TASK_TYPE_AUDIT, records_pb2.TASK_TYPE_EXHAUSTIVITY)
"""Types of tasks about a pair that the dataset holds already."""
GOOD_MASK = (concepts_pb2.MASK_CHOICE_ACCEPT, concepts_pb2.MASK_CHOICE_ACCEPT_AS_TEXT)


def task_id(
    job_id: str,
    image_id: str,
    kind: records_pb2.TaskType.ValueType,
    phrase: str = "",
    copy: int = 0,
    *,
    after: str = "",
) -> str:
    """The id of a task: the same for the same question, however often it is made.

    `after`: what came before that makes it another question, such as an undo.
    """
    parts = (job_id, image_id, records_pb2.TaskType.Name(kind), phrase, str(copy))
    return _digest(*parts, *([after] if after else [])).hex()[:32]


def sampled(job_id: str, image_id: str, phrase: str, purpose: str, rate: float) -> bool:
    """Whether a pair is in the random sample of a purpose: a coin that falls the same way at every replay."""
    drawn = int.from_bytes(_digest(purpose, job_id, image_id, phrase)[:8], "big")
    return drawn < rate * 2.0**64


def pair_task(
    run: records_pb2.Run,
    image: records_pb2.Image,
    kind: records_pb2.TaskType.ValueType,
    pair: concepts_pb2.Pair,
    at: Timestamp,
    priority: Priority,
    why: str,
    *,
    among: Iterable[concepts_pb2.Pair],
    asked_as: str | None = None,
    copy: int = 0,
    after: str = "",
    excluded: Iterable[str] = (),
) -> records_pb2.ReviewTask:
    """A task on a pair of those of the image, `among`, the first of each phrase.

    `asked_as` is the phrase in the task's id, where the pair's was edited since; `after` as in `task_id`.
    """
    asked = pair.phrase if asked_as is None else asked_as
    return records_pb2.ReviewTask(
        id=task_id(run.job_id, image.id, kind, asked, copy, after=after),
        type=kind,
        image=image,
        run=run,
        pair=pair,
        priority=priority.value,
        reasons=[why, *priority.reasons],
        excluded_annotators=list(excluded),
        copy=copy,
        created_at=at,
        siblings=[sibling(other) for other in among if other.phrase != pair.phrase],
    )


def sibling(pair: concepts_pb2.Pair) -> records_pb2.Sibling:
    """The pair without its masks."""
    return records_pb2.Sibling(
        phrase=pair.phrase, polarity=pair.polarity, score=pair.score, verdict=pair.verdict
    )


def is_gold(spec: records_pb2.JobSpec) -> bool:
    """Whether three people annotate each image, alone."""
    return spec.tier == concepts_pb2.TIER_GOLD and spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL


def is_gold_copy(task: records_pb2.ReviewTask) -> bool:
    """Whether the task is one of the three copies of a gold image."""
    return is_gold(task.run.spec) and task.type == records_pb2.TASK_TYPE_ANNOTATE


def next_round(task: records_pb2.ReviewTask) -> records_pb2.ReviewTask:
    """The task as it is after an undo."""
    opened = records_pb2.ReviewTask()
    opened.CopyFrom(task)
    opened.round += 1
    return opened


def pair_copy(pair: concepts_pb2.Pair) -> concepts_pb2.Pair:
    """The pair, to be changed."""
    copied = concepts_pb2.Pair()
    copied.CopyFrom(pair)
    return copied


def timestamp(milliseconds: int) -> Timestamp:
    """A record's time. What is made from a record has this time, so that a replay gives the same."""
    at = Timestamp()
    at.FromMilliseconds(milliseconds)
    return at


def seconds(at: Timestamp) -> float:
    """A record's time in seconds since the epoch."""
    return at.ToMilliseconds() / 1000


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\x1f".join(parts).encode()).digest()
