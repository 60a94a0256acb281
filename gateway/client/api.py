"""Every call of the REST API, once, as a flow; `Client` and `AsyncClient` perform them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from gateway.client.body import MultipartBody
from gateway.client.downloads import save, verified
from gateway.client.errors import Unexpected
from gateway.client.flow import Emit, Flow, Items, Request, compute
from gateway.client.following import Following
from gateway.client.retry import Retrying
from gateway.client.settings import ClientSettings
from gateway.client.sources import Source, Sources, gather
from gateway.schemas import (
    Annotations,
    DeadLetter,
    DeadLetterList,
    Decided,
    DecidedPair,
    DecisionKind,
    DecisionRequest,
    Export,
    ExportFormat,
    ExportList,
    ExportRequest,
    GalleryItem,
    GalleryPage,
    HardNegative,
    HardNegativeList,
    HardNegativesRequest,
    Image,
    ImageState,
    Job,
    JobImage,
    JobImagePage,
    JobOptions,
    JobPage,
    Key,
    KeyList,
    KeyRequest,
    Lag,
    Lease,
    LeasedTask,
    LeasedTaskList,
    LeaseProof,
    LeaseRequest,
    Me,
    Model,
    ModelList,
    NewKey,
    PartitionLag,
    PhraseSuggestion,
    PhraseSuggestions,
    PromptMask,
    PromptPoint,
    Queues,
    Readiness,
    Reopened,
    Replayed,
    ReplayRequest,
    Report,
    Role,
    Segmented,
    SegmentRequest,
    Statistics,
    TaskType,
    UndoRequest,
)

ModelT = TypeVar("ModelT", bound=BaseModel)
ItemT = TypeVar("ItemT")

SUBMIT_TIMEOUT = 600.0
"""Seconds for the answer to a submission: the gateway reads and checks every image before it."""


class Api:
    """Builds the flows of one gateway."""

    def __init__(self, settings: ClientSettings, *, now: Callable[[], float] = time.monotonic) -> None:
        self._retrying = Retrying(settings.url, settings.attempts, settings.backoff, settings.longest_pause)
        self._following = Following(self._retrying, settings, self.job, now)

    # --- jobs

    def submit(
        self, sources: Source | Iterable[Source], options: JobOptions, idempotency_key: str | None
    ) -> Flow[Job]:
        """One job of all sources. One key for all tries of this call, so that a retry makes no second job."""
        gathered = yield from compute(lambda: gather(sources))
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        request = _submission(gathered, options, headers)
        return (yield from self._model(Job, request))

    def job(self, job_id: str) -> Flow[Job]:
        return self._model(Job, _get("/v1/jobs", job_id))

    def jobs(self, page_size: int) -> Items[Job]:
        return Items(self._pages(JobPage, _get("/v1/jobs"), page_size, {}))

    def job_images(self, job_id: str, state: ImageState | None, page_size: int) -> Items[JobImage]:
        only = {"state": state} if state else {}
        return Items(self._pages(JobImagePage, _get("/v1/jobs", job_id, "images"), page_size, only))

    def cancel(self, job_id: str) -> Flow[Job]:
        return self._model(Job, _post("/v1/jobs", job_id, "cancel"))

    def report(self, job_id: str) -> Flow[Report]:
        return self._model(Report, _get("/v1/jobs", job_id, "report"))

    def pairs(self, job_id: str, filters: Mapping[str, str | float | None]) -> Items[GalleryItem]:
        return Items(self._pairs(job_id, {name: str(v) for name, v in filters.items() if v is not None}))

    def watch(self, job_id: str, timeout: float | None) -> Items[Job]:
        return Items(self._following.watch(job_id, timeout))

    # --- images

    def image(self, image_id: str) -> Flow[Image]:
        return self._model(Image, _get("/v1/images", image_id))

    def content(self, image_id: str) -> Flow[bytes]:
        return self._bytes(_get("/v1/images", image_id, "content"))

    def annotations(self, image_id: str, job_id: str | None, waiting: bool) -> Flow[Annotations]:
        params = {**_of_job(job_id), **({"waiting": "true"} if waiting else {})}
        return self._model(Annotations, _get("/v1/images", image_id, "annotations", params=params))

    def overlay(self, image_id: str, job_id: str | None, waiting: bool) -> Flow[bytes]:
        params = {**_of_job(job_id), **({"waiting": "true"} if waiting else {})}
        return self._bytes(_get("/v1/images", image_id, "overlay.png", params=params))

    # --- people's work

    def segment(
        self,
        image_id: str,
        points: Sequence[PromptPoint],
        boxes: Sequence[tuple[float, float, float, float]],
        mask: PromptMask | None,
    ) -> Flow[Segmented]:
        body = SegmentRequest(boxes=list(boxes), points=list(points), mask=mask)
        return self._model(Segmented, _post("/v1/images", image_id, "segment", body=body))

    def hard_negatives(self, image_id: str, phrases: Sequence[str], limit: int) -> Flow[list[HardNegative]]:
        body = HardNegativesRequest(phrases=list(phrases), limit=limit)
        request = _post("/v1/images", image_id, "hard-negatives", body=body)
        return (yield from self._model(HardNegativeList, request)).items

    def lease_reviews(
        self, types: Sequence[TaskType], job_id: str | None, phrase: str | None, most: int
    ) -> Flow[list[LeasedTask]]:
        body = LeaseRequest(types=list(types), job_id=job_id, phrase=phrase, max_tasks=most)
        # Not repeatable: tasks whose answer was lost stay held until their lease ends, and more would be.
        request = _post("/v1/reviews/lease", body=body, repeatable=False)
        return (yield from self._model(LeasedTaskList, request)).items

    def take_review(self, task_id: str) -> Flow[LeasedTask]:
        # Repeatable, unlike a lease of any task: a task that is held already stays held.
        return self._model(LeasedTask, _post("/v1/reviews", task_id, "lease"))

    def undo_review(self, task_id: str, decision_id: str, undo_id: str | None) -> Flow[Reopened]:
        """One id for all tries of this call, so that a retry is no second undo."""
        body = UndoRequest(id=undo_id or str(uuid.uuid4()), decision_id=decision_id)
        return self._model(Reopened, _post("/v1/reviews", task_id, "undo", body=body))

    def renew_review(self, held: LeasedTask) -> Flow[Lease]:
        return self._model(Lease, _of_task(held, "renew", LeaseProof(lease_id=held.lease_id)))

    def release_review(self, held: LeasedTask) -> Flow[None]:
        yield from self._retrying.call(_of_task(held, "release", LeaseProof(lease_id=held.lease_id)))

    def skip_review(self, held: LeasedTask) -> Flow[None]:
        yield from self._retrying.call(_of_task(held, "skip", LeaseProof(lease_id=held.lease_id)))

    def decide_review(
        self,
        held: LeasedTask,
        kind: DecisionKind,
        pairs: Sequence[DecidedPair],
        active_seconds: float,
        comment: str,
        decision_id: str | None,
    ) -> Flow[Decided]:
        """One id for all tries of this call, so that a retry is no second decision."""
        body = DecisionRequest(
            id=decision_id or str(uuid.uuid4()),
            lease_id=held.lease_id,
            kind=kind,
            pairs=list(pairs),
            active_seconds=active_seconds,
            comment=comment,
        )
        return self._model(Decided, _of_task(held, "decision", body))

    def queues(self, job_id: str | None) -> Flow[Queues]:
        return self._model(Queues, _get("/v1/reviews/queues", params=_of_job(job_id)))

    def phrases(self, prefix: str, limit: int) -> Flow[list[PhraseSuggestion]]:
        request = _get("/v1/phrases", params={"prefix": prefix, "limit": str(limit)})
        return (yield from self._model(PhraseSuggestions, request)).items

    def statistics(self, job_id: str | None, hours: float | None) -> Flow[Statistics]:
        params = {**_of_job(job_id), **({"hours": f"{hours:g}"} if hours is not None else {})}
        return self._model(Statistics, _get("/v1/statistics", params=params))

    # --- exports

    def create_export(self, export_format: ExportFormat, job_ids: Sequence[str]) -> Flow[Export]:
        return self._model(
            Export, _post("/v1/exports", body=ExportRequest(format=export_format, job_ids=list(job_ids)))
        )

    def export(self, export_id: str) -> Flow[Export]:
        return self._model(Export, _get("/v1/exports", export_id))

    def exports(self) -> Flow[list[Export]]:
        return (yield from self._model(ExportList, _get("/v1/exports"))).items

    def download(self, export: Export | str, to: Path) -> Flow[Path]:
        """Streams to a neighbour of the target and renames it only when SHA-256 and size are right."""
        if isinstance(export, str):
            export = yield from self.export(export)
        target = to / f"{export.id}.{export.format}.json" if to.is_dir() else to
        request = _get("/v1/exports", export.id, "content")
        return (yield from save(self._retrying, request, target, export.sha256, export.size))

    def export_content(self, export: Export) -> Flow[bytes]:
        content = yield from self._bytes(_get("/v1/exports", export.id, "content"))
        return verified(content, export.sha256, export.size)

    # --- operations

    def lag(self) -> Flow[list[PartitionLag]]:
        return (yield from self._model(Lag, _get("/v1/lag"))).items

    def dead_letters(self, topic: str | None, job_id: str | None) -> Flow[list[DeadLetter]]:
        params = {**_of_job(job_id), **({"topic": topic} if topic else {})}
        return (yield from self._model(DeadLetterList, _get("/v1/dlq", params=params))).items

    def replay(self, topic: str | None, ids: Sequence[str]) -> Flow[int]:
        body = ReplayRequest(topic=topic, ids=list(ids))
        # Not repeatable: a second replay would put the records on their topics once more.
        request = _post("/v1/dlq/replay", body=body, repeatable=False)
        return (yield from self._model(Replayed, request)).replayed

    def models(self) -> Flow[list[Model]]:
        return (yield from self._model(ModelList, _get("/v1/models"))).items

    def me(self) -> Flow[Me]:
        return self._model(Me, _get("/v1/me"))

    def keys(self) -> Flow[list[Key]]:
        return (yield from self._model(KeyList, _get("/v1/keys"))).items

    def create_key(self, name: str, roles: Sequence[Role], tenant: str | None) -> Flow[NewKey]:
        body = KeyRequest(name=name, roles=list(roles), tenant=tenant)
        return self._model(NewKey, _post("/v1/keys", body=body, repeatable=False))

    def revoke_key(self, key_id: str) -> Flow[None]:
        yield from self._retrying.call(Request("DELETE", _path("/v1/keys", key_id)))

    def ready(self) -> Flow[Readiness]:
        return self._model(Readiness, _get("/readyz"))

    # --- the common part

    def _model(self, model: type[ModelT], request: Request) -> Flow[ModelT]:
        response = yield from self._retrying.call(request)
        return parsed(model, response)

    def _bytes(self, request: Request) -> Flow[bytes]:
        response = yield from self._retrying.call(request)
        return response.content

    def _pairs(self, job_id: str, filters: Mapping[str, str]) -> Flow[None]:
        cursor: str | None = ""
        while cursor is not None:
            turn = {**filters, **({"cursor": cursor} if cursor else {})}
            answer = yield from self._model(GalleryPage, _get("/v1/jobs", job_id, "pairs", params=turn))
            for item in answer.items:
                yield Emit(item)
            cursor = answer.next_cursor

    def _pages(
        self, page: type[JobPage | JobImagePage], request: Request, size: int, params: Mapping[str, str]
    ) -> Flow[None]:
        token: str | None = ""
        while token is not None:
            turn = {**params, "page_size": str(size), **({"page_token": token} if token else {})}
            answer = yield from self._model(page, Request(request.method, request.path, params=turn))
            for item in answer.items:
                yield Emit(item)
            token = answer.next_page_token or None


def parsed(model: type[ModelT], response: httpx.Response) -> ModelT:
    """The answer as a model. Raises `Unexpected`."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise Unexpected(
            f"{response.request.url} did not answer with {model.__name__} ({wrong}). "
            "Is it a Tercet gateway of this version?"
        ) from error


def _submission(sources: Sources, options: JobOptions, headers: Mapping[str, str]) -> Request:
    asked = options.model_dump(mode="json", exclude_unset=True)
    if sources.addresses:
        images = [source.model_dump(mode="json", exclude_none=True) for source in sources.addresses]
        return Request(
            "POST", "/v1/jobs", headers=headers, json={**asked, "images": images}, read_timeout=SUBMIT_TIMEOUT
        )
    job = options.model_dump_json(exclude_unset=True)
    body = MultipartBody([("job", job)], [("images", upload) for upload in sources.uploads])
    return Request("POST", "/v1/jobs", headers=headers, body=body, read_timeout=SUBMIT_TIMEOUT)


def _path(*parts: str) -> str:
    """The first part as it is, the others quoted: an id never reaches another path."""
    return "/".join([parts[0], *(quote(part, safe="") for part in parts[1:])])


def _get(*parts: str, params: Mapping[str, str] | None = None) -> Request:
    return Request("GET", _path(*parts), params=params or {})


def _post(*parts: str, body: BaseModel | None = None, repeatable: bool = True) -> Request:
    content: Any = body.model_dump(mode="json") if body is not None else None
    return Request("POST", _path(*parts), json=content, repeatable=repeatable)


def _of_task(held: LeasedTask, action: str, body: BaseModel) -> Request:
    return _post("/v1/reviews", held.task.id, action, body=body)


def _of_job(job_id: str | None) -> dict[str, str]:
    return {"job_id": job_id} if job_id else {}
