"""The asynchronous client: `Client`, call for call."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import httpx

from gateway.client.api import Api
from gateway.client.concurrent import Concurrent
from gateway.client.connection import headers, timeout
from gateway.client.settings import ClientSettings
from gateway.client.sources import Source
from gateway.schemas import (
    Annotations,
    DeadLetter,
    Decided,
    DecidedPair,
    DecisionKind,
    Export,
    ExportFormat,
    GalleryItem,
    HardNegative,
    Image,
    ImageState,
    Job,
    JobImage,
    JobOptions,
    Key,
    Lease,
    LeasedTask,
    Me,
    Model,
    NewKey,
    PartitionLag,
    PhraseSuggestion,
    Polarity,
    PromptMask,
    PromptPoint,
    Queues,
    Readiness,
    Reopened,
    Report,
    Role,
    Segmented,
    Statistics,
    TaskType,
    Verdict,
)


class AsyncClient:
    """One gateway, for asyncio and trio. What each call does, `Client` says."""

    def __init__(
        self,
        settings: ClientSettings | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings`: the environment's unless given; `transport`, `pause`, `now`: for tests and proxies."""
        self.settings = settings or ClientSettings()
        self._http = httpx.AsyncClient(
            base_url=self.settings.url,
            headers=headers(self.settings),
            timeout=timeout(self.settings),
            transport=transport,
        )
        self._api = Api(self.settings, now=now)
        performer = Concurrent(self._http, self.settings, pause)
        self._run, self._iterate = performer.run, performer.iterate

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def submit(
        self,
        sources: Source | Iterable[Source],
        options: JobOptions | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        return await self._run(self._api.submit(sources, options or JobOptions(), idempotency_key))

    async def job(self, job_id: str) -> Job:
        return await self._run(self._api.job(job_id))

    def jobs(self, *, page_size: int = 50) -> AsyncIterator[Job]:
        return self._iterate(self._api.jobs(page_size))

    def job_images(
        self, job_id: str, *, state: ImageState | None = None, page_size: int = 200
    ) -> AsyncIterator[JobImage]:
        return self._iterate(self._api.job_images(job_id, state, page_size))

    async def cancel(self, job_id: str) -> Job:
        return await self._run(self._api.cancel(job_id))

    async def report(self, job_id: str) -> Report:
        return await self._run(self._api.report(job_id))

    def watch(self, job_id: str, *, timeout: float | None = None) -> AsyncIterator[Job]:
        return self._iterate(self._api.watch(job_id, timeout))

    def pairs(
        self,
        job_id: str,
        *,
        phrase: str | None = None,
        polarity: Polarity | None = None,
        verdict: Verdict | None = None,
        min_score: float | None = None,
        max_score: float | None = None,
        model: str | None = None,
        annotator: str | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[GalleryItem]:
        filters = {
            "phrase": phrase,
            "polarity": polarity,
            "verdict": verdict,
            "min_score": min_score,
            "max_score": max_score,
            "model": model,
            "annotator": annotator,
            "limit": page_size,
        }
        return self._iterate(self._api.pairs(job_id, filters))

    async def wait(self, job_id: str, *, timeout: float | None = None) -> Job:  # noqa: ASYNC109 (as `Client`)
        async for job in self.watch(job_id, timeout=timeout):
            last = job
        return last

    async def image(self, image_id: str) -> Image:
        return await self._run(self._api.image(image_id))

    async def content(self, image_id: str) -> bytes:
        return await self._run(self._api.content(image_id))

    async def annotations(
        self, image_id: str, *, job_id: str | None = None, waiting: bool = False
    ) -> Annotations:
        return await self._run(self._api.annotations(image_id, job_id, waiting))

    async def overlay(self, image_id: str, *, job_id: str | None = None, waiting: bool = False) -> bytes:
        return await self._run(self._api.overlay(image_id, job_id, waiting))

    async def segment(
        self,
        image_id: str,
        *,
        points: Sequence[PromptPoint] = (),
        boxes: Sequence[tuple[float, float, float, float]] = (),
        mask: PromptMask | None = None,
    ) -> Segmented:
        return await self._run(self._api.segment(image_id, points, boxes, mask))

    async def hard_negatives(
        self, image_id: str, *, phrases: Sequence[str] = (), limit: int = 10
    ) -> list[HardNegative]:
        return await self._run(self._api.hard_negatives(image_id, phrases, limit))

    async def lease_reviews(
        self,
        *,
        types: Sequence[TaskType] = (),
        job_id: str | None = None,
        phrase: str | None = None,
        most: int = 1,
    ) -> list[LeasedTask]:
        return await self._run(self._api.lease_reviews(types, job_id, phrase, most))

    async def take_review(self, task_id: str) -> LeasedTask:
        return await self._run(self._api.take_review(task_id))

    async def undo_review(self, task_id: str, decision_id: str, *, undo_id: str | None = None) -> Reopened:
        return await self._run(self._api.undo_review(task_id, decision_id, undo_id))

    async def renew_review(self, held: LeasedTask) -> Lease:
        return await self._run(self._api.renew_review(held))

    async def release_review(self, held: LeasedTask) -> None:
        await self._run(self._api.release_review(held))

    async def skip_review(self, held: LeasedTask) -> None:
        await self._run(self._api.skip_review(held))

    async def decide_review(
        self,
        held: LeasedTask,
        kind: DecisionKind,
        *,
        pairs: Sequence[DecidedPair] = (),
        active_seconds: float,
        comment: str = "",
        decision_id: str | None = None,
    ) -> Decided:
        return await self._run(
            self._api.decide_review(held, kind, pairs, active_seconds, comment, decision_id)
        )

    async def queues(self, *, job_id: str | None = None) -> Queues:
        return await self._run(self._api.queues(job_id))

    async def phrases(self, prefix: str = "", *, limit: int = 20) -> list[PhraseSuggestion]:
        return await self._run(self._api.phrases(prefix, limit))

    async def statistics(self, *, job_id: str | None = None, hours: float | None = None) -> Statistics:
        return await self._run(self._api.statistics(job_id, hours))

    async def create_export(
        self, export_format: ExportFormat = "saco", job_ids: Sequence[str] = ()
    ) -> Export:
        return await self._run(self._api.create_export(export_format, job_ids))

    async def export(self, export_id: str) -> Export:
        return await self._run(self._api.export(export_id))

    async def exports(self) -> list[Export]:
        return await self._run(self._api.exports())

    async def download(self, export: Export | str, to: Path | str) -> Path:
        return await self._run(self._api.download(export, Path(to)))

    async def export_content(self, export: Export) -> bytes:
        return await self._run(self._api.export_content(export))

    async def lag(self) -> list[PartitionLag]:
        return await self._run(self._api.lag())

    async def dead_letters(self, *, topic: str | None = None, job_id: str | None = None) -> list[DeadLetter]:
        return await self._run(self._api.dead_letters(topic, job_id))

    async def replay(self, *, topic: str | None = None, ids: Sequence[str] = ()) -> int:
        return await self._run(self._api.replay(topic, ids))

    async def models(self) -> list[Model]:
        return await self._run(self._api.models())

    async def me(self) -> Me:
        return await self._run(self._api.me())

    async def keys(self) -> list[Key]:
        return await self._run(self._api.keys())

    async def create_key(self, name: str, roles: Sequence[Role], *, tenant: str | None = None) -> NewKey:
        return await self._run(self._api.create_key(name, roles, tenant))

    async def revoke_key(self, key_id: str) -> None:
        await self._run(self._api.revoke_key(key_id))

    async def ready(self) -> Readiness:
        return await self._run(self._api.ready())
