"""Jobs and images in Redis: a view of the log. Changes are Lua scripts: atomic, idempotent, in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import redis
from google.protobuf.timestamp_pb2 import Timestamp

from services.core.errors import InvalidInput
from services.dataset import domain, scripts
from services.dataset.domain import Learnt
from services.dataset.figures_view import FigureView
from services.dataset.pairs_view import PairView
from services.dataset.scripts import prefix as _prefix
from tercet.v1 import dataset_pb2, records_pb2

PREFIX: Final = scripts.PREFIX
STEP: Final = 200
"""Rows that one script call works: Redis serves nobody else meanwhile."""
MAX_FAILURES: Final = 100

_STATES: Final = tuple(domain.STATES)


class JobView:
    """Jobs, their images' states, and where annotations are. Thread-safe."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self.pairs = PairView(client)
        """Single pairs, and the phrases that they have."""
        self.figures = FigureView(client)
        """What was done, by whom and in how much time."""
        names = (
            "create",
            "list",
            "learn",
            "cancel",
            "resettle",
            "decided",
            "picture",
            "claim",
            "finished",
        )
        self._scripts = scripts.register(client, *names)

    # -- from the log

    def create(self, event: records_pb2.JobEvent) -> None:
        """A job and its images."""
        job = records_pb2.JobEvent()
        job.CopyFrom(event)
        del job.created.images[:]
        images = event.created.images
        content = job.SerializeToString(deterministic=True)
        self._call("create", event.tenant, event.job_id, _seconds(event.at), content, len(images))
        for start in range(0, len(images), STEP):
            args = [part for one in images[start : start + STEP] for part in (one.image_id, one.name)]
            self._call("list", event.tenant, event.job_id, *args)

    def cancel(self, event: records_pb2.JobEvent) -> None:
        """A job was cancelled: its images without a result get none."""
        self._call("cancel", event.tenant, event.job_id, event.at.ToMilliseconds())
        last = b""
        while True:
            last = cast("bytes", self._call("resettle", event.tenant, event.job_id, last, STEP))
            if not last:
                return

    def finished(self, event: records_pb2.JobEvent) -> None:
        """The log has it that the job is done with a status."""
        at = event.at.ToMilliseconds()
        told = event.finished
        self._call("finished", event.tenant, event.job_id, told.status, at, told.undone)

    def learn(self, learnt: Learnt) -> None:
        """Something about an image."""
        args = [part for field in learnt.fields.items() for part in field]
        self._call("learn", learnt.tenant, learnt.job_id, learnt.image_id, *args)

    def picture(self, submitted: records_pb2.ImageSubmitted) -> None:
        """An image of the tenant; of several submissions the first one's name stays."""
        image, run = submitted.image, submitted.run
        at = run.submitted_at
        rank = f"{at.ToMilliseconds():020d}|{run.job_id}"
        content = image.SerializeToString(deterministic=True)
        self._call("picture", image.tenant, image.id, content, rank, run.job_id, _seconds(at))

    def decided(self, completed: records_pb2.ReviewCompleted, offset: int) -> None:
        """A person's decision, for the report."""
        decision, job_id = completed.decision, completed.task.run.job_id
        if decision.kind == records_pb2.DECISION_KIND_UNDO:
            return  # whether it counts is told by the record that withdraws the decision's
        correction = decision.kind != records_pb2.DECISION_KIND_ACCEPT and (
            completed.task.type not in (records_pb2.TASK_TYPE_ANNOTATE, records_pb2.TASK_TYPE_ADJUDICATE)
        )
        self._call(
            "decided",
            completed.tenant,
            job_id,
            domain.round_name(completed.task.id, completed.task.round),
            domain.order(offset),
            max(0, round(decision.active_seconds * 1000)),
            int(correction),
        )

    def claim(self, tenant: str, job_id: str, cause: str, timestamp_ms: int) -> records_pb2.JobEvent | None:
        """The end of the job's work, when it is this record's to tell (see `lua/claim.lua`)."""
        answer = cast("list[bytes]", self._call("claim", tenant, job_id, cause, timestamp_ms))
        if not answer:
            return None
        status, at_ms, counts, undone = (part.decode() for part in answer)
        at = Timestamp()
        at.FromMilliseconds(int(at_ms))
        fields = (part.partition("=") for part in counts.split())
        return records_pb2.JobEvent(
            job_id=job_id,
            tenant=tenant,
            at=at,
            finished=records_pb2.JobFinished(
                status=status, counts={state: int(number) for state, _, number in fields}, undone=int(undone)
            ),
        )

    # -- jobs

    def job(self, tenant: str, job_id: str) -> dataset_pb2.Job | None:
        """The job as it is now; None for an unknown one."""
        prefix = _prefix(tenant)
        # Of one moment: an image that moves between two reads would be counted twice, or not at all.
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hgetall(f"{prefix}job:{job_id}")
        for state in _STATES:
            pipeline.zcard(f"{prefix}state:{job_id}:{state}")
        pipeline.hgetall(f"{prefix}rate:{job_id}")
        pipeline.zrange(f"{prefix}state:{job_id}:failed", 0, MAX_FAILURES - 1)
        fields, *numbers, buckets, failed = pipeline.execute()
        if b"created" not in fields:
            return None
        counts = {state: int(n) for state, n in zip(_STATES, numbers, strict=True) if n}
        return _job(fields, counts, buckets, self._failures(tenant, job_id, failed))

    def known(self, tenant: str, job_id: str) -> bool:
        """Whether the job is the tenant's."""
        return bool(self._redis.hexists(f"{_prefix(tenant)}job:{job_id}", "created"))

    def spec(self, tenant: str, job_id: str) -> records_pb2.JobSpec | None:
        """What the job asks for; None for an unknown one."""
        content = cast("bytes | None", self._redis.hget(f"{_prefix(tenant)}job:{job_id}", "created"))
        return None if content is None else records_pb2.JobEvent.FromString(content).created.spec

    def changes(self, tenant: str, job_id: str) -> int:
        """A number that grows with every change of the job."""
        return int(cast("bytes | None", self._redis.get(f"{_prefix(tenant)}changes:{job_id}")) or 0)

    def job_ids(self, tenant: str, *, after: str, size: int) -> list[str]:
        """Jobs, newest first, `size` of them (0: all) after one. Raises `InvalidInput` when it is unknown."""
        key = f"{_prefix(tenant)}jobs"
        start = 0
        if after:
            rank = cast("int | None", self._redis.zrevrank(key, after))
            if rank is None:
                raise InvalidInput("the page token is not one of ours")
            start = rank + 1
        found = cast("list[bytes]", self._redis.zrevrange(key, start, start + size - 1 if size else -1))
        return [job_id.decode() for job_id in found]

    def sums(self, tenant: str, job_id: str) -> Mapping[str, int]:
        """The job's numbers by field, for reports."""
        found = cast("dict[bytes, bytes]", self._redis.hgetall(f"{_prefix(tenant)}job:{job_id}"))
        wanted = (b"verdict:", b"bin:", b"decisions", b"active_ms", b"corrections")
        return {field.decode(): int(n) for field, n in found.items() if field.startswith(wanted)}

    # -- images

    def image_ids(
        self, tenant: str, job_id: str, *, state: str = "", after: str = "", size: int
    ) -> list[str]:
        """A job's images in order of id, in a state where one is named."""
        prefix = _prefix(tenant)
        key = f"{prefix}state:{job_id}:{state}" if state else f"{prefix}rows:{job_id}"
        found = self._redis.zrangebylex(key, f"({after}" if after else "-", "+", start=0, num=size)
        return [image_id.decode() for image_id in cast("list[bytes]", found)]

    def all_image_ids(self, tenant: str, job_id: str) -> Iterator[str]:
        """A job's images in order of id."""
        after = ""
        while page := self.image_ids(tenant, job_id, after=after, size=1000):
            yield from page
            after = page[-1]

    def rows(self, tenant: str, job_id: str, image_ids: Sequence[str]) -> list[dataset_pb2.JobImageInfo]:
        """The images as the job lists them."""
        pipeline = self._redis.pipeline(transaction=False)
        for image_id in image_ids:
            pipeline.hgetall(f"{_prefix(tenant)}row:{job_id}:{image_id}")
        return [
            _row(image_id, row) for image_id, row in zip(image_ids, pipeline.execute(), strict=True) if row
        ]

    def holds(self, tenant: str, job_id: str, image_id: str) -> bool:
        """Whether the job has the image."""
        return self._redis.zscore(f"{_prefix(tenant)}rows:{job_id}", image_id) is not None

    def image(self, tenant: str, image_id: str) -> dataset_pb2.ImageInfo | None:
        """An image with the jobs that hold it, oldest first; None for an unknown one."""
        prefix = _prefix(tenant)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget(f"{prefix}picture:{image_id}", "image")
        pipeline.zrange(f"{prefix}jobs:{image_id}", 0, -1)
        content, jobs = pipeline.execute()
        if content is None:
            return None
        image = records_pb2.Image.FromString(content)
        return dataset_pb2.ImageInfo(image=image, job_ids=[job_id.decode() for job_id in jobs])

    def records(self, tenant: str, job_id: str, image_id: str) -> list[str]:
        """Names of a run's annotation records that stand, in the log's order."""
        key = f"{_prefix(tenant)}records:{job_id}:{image_id}"
        found = cast("dict[bytes, bytes]", self._redis.hgetall(key))
        standing = {name: at for name, at in found.items() if name[:1] != b"-" and b"-" + name not in found}
        return [name.decode() for name, _ in sorted(standing.items(), key=lambda item: (item[1], item[0]))]

    def agreements(self, tenant: str, job_id: str) -> dict[str, list[float]]:
        """By annotator, the agreement with the two others on each gold image of the job, 0..1."""
        found: dict[str, list[float]] = {}
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(f"{_prefix(tenant)}agreement:{job_id}"))
        for _, text in sorted(stored.items()):
            for one in text.decode().rsplit("|", 1)[1].split(";")[:-1]:
                annotator, _, value = one.rpartition("=")
                found.setdefault(annotator, []).append(float(value))
        return found

    def _failures(
        self, tenant: str, job_id: str, image_ids: Sequence[bytes]
    ) -> list[dataset_pb2.ImageFailure]:
        if not image_ids:
            return []
        return [row.failure for row in self.rows(tenant, job_id, [one.decode() for one in image_ids])]

    def _call(self, script: str, tenant: str, *args: str | bytes | float) -> object:
        return self._scripts[script](keys=[_prefix(tenant)], args=list(args))


def _job(
    fields: Mapping[bytes, bytes],
    counts: Mapping[str, int],
    buckets: Mapping[bytes, bytes],
    failures: Sequence[dataset_pb2.ImageFailure],
) -> dataset_pb2.Job:
    event = records_pb2.JobEvent.FromString(fields[b"created"])
    created = event.created
    images = int(fields[b"total"])
    status = domain.status(counts, images, cancelled=b"cancelled" in fields)
    per_second = domain.rate(
        {int(second): int(n) for second, n in buckets.items()},
        int(fields.get(b"first_done", 0)),
        int(fields.get(b"last_done", 0)),
    )
    job = dataset_pb2.Job(
        id=event.job_id,
        tenant=event.tenant,
        name=created.name,
        spec=created.spec,
        status=status,
        submitted_at=event.at,
        images=images,
        counts=counts,
        refused=created.refused,
        failures=failures,
        accepted_positives=int(fields.get(b"accepted_positives", 0)),
        accepted_negatives=int(fields.get(b"accepted_negatives", 0)),
        open_tasks=int(fields.get(b"open", 0)),
        rate=per_second,
        eta_seconds=domain.eta(counts, created.spec.stage, per_second, status),
        webhook_url=created.webhook_url,
    )
    ended = {
        dataset_pb2.JOB_STATUS_CANCELLED: b"cancelled",
        dataset_pb2.JOB_STATUS_COMPLETE: b"finished_at:complete",
        dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE: b"finished_at:waiting_for_people",
    }.get(status)
    if ended is not None and ended in fields:
        job.finished_at.FromMilliseconds(int(fields[ended]))
    return job


def _row(image_id: str, row: Mapping[bytes, bytes]) -> dataset_pb2.JobImageInfo:
    name, state = row.get(b"name", b"").decode(), row[b"state"].decode()
    info = dataset_pb2.JobImageInfo(image_id=image_id, name=name, state=domain.STATES[state])
    if state == "failed":
        info.failure.CopyFrom(
            dataset_pb2.ImageFailure(
                image_id=image_id,
                name=name,
                topic=row[b"topic"].decode(),
                error=row[b"error"].decode(),
                reason=row[b"reason"].decode(),
                attempts=int(row[b"attempts"]),
            )
        )
    return info


def _seconds(at: Timestamp) -> float:
    return at.ToMicroseconds() / 1e6
