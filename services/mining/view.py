"""The tasks in Redis: a view of the log, and the leases on it. Each change is one Lua script: atomic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from services.mining.priority import PhraseHistory
from services.mining.scripts import Counted, Standing, fields, load, named, serialised
from tercet.v1 import concepts_pb2, mining_pb2, records_pb2

PREFIX = "tercet:mining:"
CANCEL_STEP = 500
"""Waiting tasks of a cancelled job that one script call takes out: Redis serves nobody else meanwhile."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A held task."""

    task: records_pb2.ReviewTask
    lease_id: str


class TaskView:
    """Tasks, their queues, leases and decisions. Thread-safe; times are seconds since the epoch."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        prelude = load("prelude")
        names = (
            "add",
            "decide",
            "withdraw",
            "lease",
            "take",
            "renew",
            "begin",
            "undo",
            "release",
            "cancel",
            "depths",
        )
        self._scripts = {name: client.register_script(prelude + load(name)) for name in names}

    # -- from the log

    def add(self, task: records_pb2.ReviewTask) -> None:
        """A requested task; one that is known stays as it is."""
        self._call("add", task.image.tenant, task.id, "record", serialised(task), *fields(task))

    def decide(
        self,
        completed: records_pb2.ReviewCompleted,
        position: str,
        *,
        now: float,
        keep_until: float,
        follow: Sequence[str] = (),
        added: Sequence[str] = (),
    ) -> Counted:
        """A decision or an undo at a position ("<partition>/<offset>") of the log. The same again: the same.

        The task and the decision are kept until `keep_until`. `follow`: the tasks that follow from an undone
        decision. `added`: the phrases that it gave the image.
        """
        arguments = named(
            completed, position=position, now=now, keep_until=keep_until, follow=follow, added=added
        )
        return self._decide(completed, arguments)

    def withdraw(self, tenant: str, task_ids: Sequence[str]) -> None:
        """Tasks that follow from an undone decision: nobody needs to decide them."""
        if task_ids:
            self._call("withdraw", tenant, *task_ids)

    def open_adjudication(self, task: records_pb2.ReviewTask, rounds: str) -> None:
        """The disagreement of the gold copies' rounds went to a lead."""
        self._redis.hset(_gold_key(task), f"opened:{rounds}", "1")

    def has_adjudication(self, task: records_pb2.ReviewTask, rounds: str) -> bool:
        """Whether the disagreement of the gold copies' rounds went to a lead."""
        return bool(self._redis.hexists(_gold_key(task), f"opened:{rounds}"))

    def gold_rounds(self, task: records_pb2.ReviewTask) -> str:
        """The rounds of the image's three gold copies, where all are decided; else empty."""
        found = self._redis.hmget(_gold_key(task), ["0", "1", "2"])
        return b",".join(cast("list[bytes]", found)).decode() if all(one is not None for one in found) else ""

    def knows(self, tenant: str, task_id: str) -> bool:
        """Whether the log has the task."""
        return bool(self._redis.hexists(f"{_prefix(tenant)}task:{task_id}", "type"))

    def note(self, task: records_pb2.ReviewTask, comment: mining_pb2.Comment | None) -> None:
        """What was written with the decision of the task's round; taken back, it replaces the first."""
        if comment is not None:
            content = comment.SerializeToString(deterministic=True)
            self._redis.hset(_comments_key(task), f"{task.id}/{task.round}", content)

    def cancel(self, tenant: str, job_id: str) -> None:
        """No task of the job is offered any more."""
        while self._call("cancel", tenant, job_id, CANCEL_STEP) == CANCEL_STEP:
            pass

    def count_accepted(self, accepted: records_pb2.AnnotationsAccepted) -> None:
        """Phrases of accepted positives, by distinct images (a HyperLogLog: a repeat counts once)."""
        tenant, image_id = accepted.image.tenant, accepted.image.id
        pipeline = self._redis.pipeline(transaction=False)
        for pair in accepted.pairs:
            positive = pair.polarity == concepts_pb2.POLARITY_POSITIVE
            if positive and pair.verdict != concepts_pb2.VERDICT_REJECT:
                pipeline.pfadd(f"{_prefix(tenant)}accepted:{pair.phrase}", image_id)
        pipeline.execute()

    # -- for the router

    def histories(self, tenant: str, phrases: Iterable[str]) -> Mapping[str, PhraseHistory]:
        """What the tenant has of each phrase."""
        wanted = list(dict.fromkeys(phrases))
        pipeline = self._redis.pipeline(transaction=False)
        for phrase in wanted:
            pipeline.pfcount(f"{_prefix(tenant)}accepted:{phrase}")
            pipeline.hmget(f"{_prefix(tenant)}handled:{phrase}", ["decided", "corrected"])
        answers = pipeline.execute()
        return {
            phrase: PhraseHistory(
                accepted=int(answers[2 * at]),
                decided=int(answers[2 * at + 1][0] or 0),
                corrected=int(answers[2 * at + 1][1] or 0),
            )
            for at, phrase in enumerate(wanted)
        }

    # -- for people

    def lease(
        self,
        tenant: str,
        annotator: str,
        *,
        types: Sequence[int],
        job_id: str,
        phrase: str,
        lease_ids: Sequence[str],
        now: float,
        expires: float,
        scan: int,
    ) -> list[Lease]:
        """Up to one task for each lease id, most urgent first, those of one image together."""
        scope = "&".join(
            part for part in (f"job={job_id}" if job_id else "", f"phrase={phrase}" if phrase else "") if part
        )
        answer = self._call(
            "lease",
            tenant,
            now,
            expires,
            annotator,
            scope or "all",
            job_id,
            phrase,
            scan,
            len(types),
            *types,
            *lease_ids,
        )
        pairs = cast("list[bytes]", answer)
        found: list[Lease] = []
        for task_id, lease_id in zip(pairs[::2], pairs[1::2], strict=True):
            task = self.task(tenant, task_id.decode())
            if task is not None:
                found.append(Lease(task, lease_id.decode()))
        return found

    def take(
        self,
        tenant: str,
        task_id: str,
        annotator: str,
        *,
        types: Sequence[int],
        lease_id: str,
        now: float,
        expires: float,
    ) -> tuple[Standing, str]:
        """Hold one task that is asked for by name, or hold it longer; with the lease's id when `ok`."""
        answer = self._call("take", tenant, now, task_id, annotator, lease_id, expires, *types)
        standing, held = (part.decode() for part in cast("list[bytes]", answer))
        return cast("Standing", standing), held

    def added(self, task: records_pb2.ReviewTask) -> set[str]:
        """Phrases that people have added to the image in tasks on its other pairs."""
        key = f"{_prefix(task.image.tenant)}added:{task.run.job_id}:{task.image.id}"
        return {phrase.decode() for phrase in cast("list[bytes]", self._redis.hkeys(key))}

    def comments(self, task: records_pb2.ReviewTask) -> list[mining_pb2.Comment]:
        """All that was written about the task's image, in any job; `comments.shown` says who may see it."""
        found = cast("list[bytes]", self._redis.hvals(_comments_key(task)))
        return [mining_pb2.Comment.FromString(one) for one in found]

    def task(self, tenant: str, task_id: str) -> records_pb2.ReviewTask | None:
        """A task that is not decided yet, or whose decision can still be undone."""
        record = self._redis.hget(f"{_prefix(tenant)}task:{task_id}", "record")
        return None if record is None else records_pb2.ReviewTask.FromString(cast("bytes", record))

    def renew(
        self, tenant: str, task_id: str, lease_id: str, *, annotator: str, now: float, expires: float
    ) -> Standing:
        """Hold a task longer; with an annotator only for its holder."""
        return self._standing("renew", tenant, now, task_id, lease_id, annotator, expires)

    def begin(
        self,
        tenant: str,
        task_id: str,
        lease_id: str,
        *,
        annotator: str,
        decision_id: str,
        digest: str,
        now: float,
        held_until: float,
    ) -> Standing:
        """Before a decision is written: nobody else gets the task until `held_until`."""
        return self._standing(
            "begin", tenant, now, task_id, lease_id, annotator, decision_id, digest, held_until
        )

    def mark(
        self,
        completed: records_pb2.ReviewCompleted,
        *,
        now: float,
        keep_until: float,
        lease_id: str = "",
        expires: float = 0.0,
    ) -> bool:
        """A decision or an undo that is in the log; it is shown until the order is known.

        After an undo its annotator holds the task under the lease. False: another came first.
        """
        arguments = named(completed, position="", now=now, keep_until=keep_until)
        return self._decide(completed, [*arguments, "lease", lease_id, "expires", expires]).counts

    def abandon(self, tenant: str, task_id: str, decision_id: str, digest: str) -> None:
        """A decision that was not written: the next attempt may be another."""
        self._settle(tenant, task_id, f"{decision_id}\n{digest}")

    def begin_undo(
        self,
        tenant: str,
        task_id: str,
        annotator: str,
        *,
        undo_id: str,
        decision_id: str,
        lease_id: str,
        now: float,
        held_until: float,
        follow: Sequence[str],
    ) -> Standing:
        """Before an undo is written: nobody gets the tasks that follow from the decision until then."""
        return self._standing(
            "undo", tenant, now, task_id, annotator, undo_id, decision_id, lease_id, held_until, *follow
        )

    def abandon_undo(self, tenant: str, task_id: str, undo_id: str, follow: Sequence[str]) -> None:
        """An undo that was not written."""
        self._settle(tenant, task_id, f"u:{undo_id}")
        for one in follow:
            self._redis.hdel(f"{_prefix(tenant)}task:{one}", "blocked")

    def decided(
        self, tenant: str, task_id: str
    ) -> tuple[records_pb2.ReviewTask, records_pb2.ReviewDecision] | None:
        """A decided task and its decision while it can be undone."""
        return self._with_decision(tenant, task_id, "standing")

    def reopened(
        self, tenant: str, task_id: str
    ) -> tuple[records_pb2.ReviewTask, records_pb2.ReviewDecision] | None:
        """A task that an undo has opened, and what had been decided; until it is decided again."""
        return self._with_decision(tenant, task_id, "undone")

    def release(
        self, tenant: str, task_id: str, lease_id: str, *, annotator: str = "", now: float, skip: bool
    ) -> Standing:
        """Give a task back; with `skip` its holder is not offered it again."""
        return self._standing("release", tenant, now, task_id, lease_id, annotator, int(skip))

    def depths(self, tenant: str, job_id: str, *, now: float) -> dict[str, int]:
        """Numbers by `<type>:<state>` and `reason:<kind>`."""
        scope = f"job={job_id}" if job_id else "all"
        answer = cast("list[bytes]", self._call("depths", tenant, now, scope))
        return {field.decode(): int(n) for field, n in zip(answer[::2], answer[1::2], strict=True)}

    def _decide(
        self, completed: records_pb2.ReviewCompleted, arguments: Sequence[str | bytes | float]
    ) -> Counted:
        task = completed.task
        answer = self._call(
            "decide", completed.tenant, task.id, len(arguments) // 2, *arguments, *fields(task)
        )
        word, _, rounds = cast("bytes", answer).decode().partition("|")
        return Counted(word in ("first", "undone"), rounds)

    def _settle(self, tenant: str, task_id: str, pending: str) -> None:
        key = f"{_prefix(tenant)}task:{task_id}"
        if self._redis.hget(key, "pending") == pending.encode():
            self._redis.hdel(key, "pending", "pending_until", "pending_lease")

    def _with_decision(
        self, tenant: str, task_id: str, field: str
    ) -> tuple[records_pb2.ReviewTask, records_pb2.ReviewDecision] | None:
        key = f"{_prefix(tenant)}task:{task_id}"
        record, decision = cast("list[bytes | None]", self._redis.hmget(key, ["record", field]))
        if record is None or decision is None:
            return None
        return records_pb2.ReviewTask.FromString(record), records_pb2.ReviewDecision.FromString(decision)

    def _standing(self, script: str, tenant: str, *args: str | bytes | float) -> Standing:
        return cast("Standing", cast("bytes", self._call(script, tenant, *args)).decode())

    def _call(self, script: str, tenant: str, *args: str | bytes | float) -> object:
        return self._scripts[script](keys=[_prefix(tenant)], args=list(args))


def _prefix(tenant: str) -> str:
    return f"{PREFIX}{{{tenant}}}:"


def _comments_key(task: records_pb2.ReviewTask) -> str:
    return f"{_prefix(task.image.tenant)}comments:{task.image.id}"


def _gold_key(task: records_pb2.ReviewTask) -> str:
    return f"{_prefix(task.image.tenant)}gold:{task.run.job_id}:{task.image.id}"
