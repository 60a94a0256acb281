"""The tasks in Redis: a view of the log, and the leases on it. Each change is one Lua script: atomic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal, cast

import redis

from services.mining.domain import corrected
from services.mining.priority import PhraseHistory
from tercet.v1 import concepts_pb2, records_pb2

PREFIX = "tercet:mining:"
CANCEL_STEP = 500
"""Waiting tasks of a cancelled job that one script call takes out: Redis serves nobody else meanwhile."""

Standing = Literal[
    "ok", "unknown", "waiting", "leased", "decided", "cancelled", "repeated", "reused", "holder", "busy"
]
"""What a script says of a lease: `ok`, or the task's state, or what else is in the way."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A held task."""

    task: records_pb2.ReviewTask
    lease_id: str


class TaskView:
    """Tasks, their queues, leases and decisions. Thread-safe; times are seconds since the epoch."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        prelude = _script("prelude")
        names = ("add", "decide", "lease", "renew", "begin", "release", "cancel", "depths")
        self._scripts = {name: client.register_script(prelude + _script(name)) for name in names}

    # -- from the log

    def add(self, task: records_pb2.ReviewTask) -> None:
        """A requested task; one that is known stays as it is."""
        self._call("add", task.image.tenant, task.id, "record", _bytes(task), *_fields(task))

    def decide(self, completed: records_pb2.ReviewCompleted, offset: str) -> bool:
        """A decision at an offset of the log; whether it is the task's first. The same again: the same."""
        return self._decide(completed, offset)

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

    def task(self, tenant: str, task_id: str) -> records_pb2.ReviewTask | None:
        """A task that is not decided yet."""
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

    def mark(self, completed: records_pb2.ReviewCompleted) -> bool:
        """A decision that is in the log; it stands until the order is known. False: another came first."""
        return self._decide(completed, "")

    def withdraw(self, tenant: str, task_id: str, decision_id: str, digest: str) -> None:
        """A decision that was not written: the next attempt may be another."""
        key = f"{_prefix(tenant)}task:{task_id}"
        if self._redis.hget(key, "pending") == f"{decision_id}\n{digest}".encode():
            self._redis.hdel(key, "pending", "pending_until")

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

    def _decide(self, completed: records_pb2.ReviewCompleted, offset: str) -> bool:
        task, decision = completed.task, completed.decision
        answer = self._call(
            "decide",
            completed.tenant,
            task.id,
            decision.id,
            decision.annotator,
            offset,
            int(corrected(task, decision)),
            decision.request_digest,
            *_fields(task),
        )
        return answer == b"first"

    def _standing(self, script: str, tenant: str, *args: str | bytes | float) -> Standing:
        return cast("Standing", cast("bytes", self._call(script, tenant, *args)).decode())

    def _call(self, script: str, tenant: str, *args: str | bytes | float) -> object:
        return self._scripts[script](keys=[_prefix(tenant)], args=list(args))


def _prefix(tenant: str) -> str:
    return f"{PREFIX}{{{tenant}}}:"


def _script(name: str) -> str:
    return resources.files("services.mining").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def _bytes(task: records_pb2.ReviewTask) -> bytes:
    return task.SerializeToString(deterministic=True)


def _fields(task: records_pb2.ReviewTask) -> list[str | bytes | float]:
    """What the scripts know of a task."""
    gold = (
        task.run.spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL
        and task.run.spec.tier == concepts_pb2.TIER_GOLD
    )
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
        int(gold),
        "excluded",
        "".join(f"\n{annotator}" for annotator in task.excluded_annotators) + "\n",
    ]
