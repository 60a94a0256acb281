"""The Lua scripts of the view: their text, what they are told, what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from services.mining.domain.decisions import corrected
from services.mining.domain.tasks import is_gold, next_round
from tercet.v1 import records_pb2

Standing = Literal[
    "ok",
    "unknown",
    "waiting",
    "leased",
    "decided",
    "cancelled",
    "withdrawn",
    "repeated",
    "reused",
    "holder",
    "busy",
    "type",
    "own",
    "alone",
    "open",
    "undone",
    "foreign",
    "another",
    "late",
    "seen",
    "built",
    "building",
]
"""What a script says of a task: `ok`, or the task's state, or what else is in the way."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a record of `review.completed` does in the log's order.

    `counts`: the task's first decision of its round, or the undo of the decision that stands. `gold_rounds`:
    of a gold copy, the rounds of all three copies ("0,0,1") where the decision completes them, or where they
    were complete before the undo; else empty.
    """

    counts: bool
    gold_rounds: str = ""


def load(name: str) -> str:
    """The text of a Lua script."""
    return resources.files("services.mining").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def serialised(message: records_pb2.ReviewTask | records_pb2.ReviewDecision) -> bytes:
    """The message; the same message, the same bytes."""
    return message.SerializeToString(deterministic=True)


def named(
    completed: records_pb2.ReviewCompleted,
    *,
    position: str,
    now: float,
    keep_until: float,
    follow: Sequence[str] = (),
    added: Sequence[str] = (),
) -> list[str | bytes | float]:
    """What `lua/decide.lua` is told of a record."""
    task, decision = completed.task, completed.decision
    told: list[str | bytes | float] = [
        *("id", decision.id, "annotator", decision.annotator, "round", task.round, "position", position),
        *("now", now, "keep_until", keep_until, "added", "\n".join(added)),
    ]
    if decision.kind == records_pb2.DECISION_KIND_UNDO:
        undone = completed.undone
        return [
            *told,
            *("kind", "undo", "undid", undone.id, "follow", "\n".join(follow)),
            *("record", serialised(next_round(task)), "standing", serialised(undone)),
        ]
    return [
        *told,
        *("kind", "decide", "digest", decision.request_digest, "corrected", int(corrected(task, decision))),
        *("record", serialised(task), "standing", serialised(decision)),
    ]


def fields(task: records_pb2.ReviewTask) -> list[str | bytes | float]:
    """What the scripts know of a task."""
    kinds = dict.fromkeys(reason.split(":")[0] for reason in task.reasons)
    return [
        "type",
        int(task.type),
        "job",
        task.run.job_id,
        "image",
        task.image.id,
        "phrase",
        task.pair.phrase,
        "priority",
        task.priority,
        "reasons",
        "\n".join(kinds),
        "gold",
        int(is_gold(task.run.spec)),
        "copy",
        task.copy,
        "excluded",
        "".join(f"\n{annotator}" for annotator in task.excluded_annotators) + "\n",
    ]
