"""Every call of the REST API, once, as a flow; `Client` and `AsyncClient` have and perform them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gateway.client.calls import call, listing
from gateway.client.downloads import save, verified
from gateway.client.flow import Emit, Flow, Items, compute
from gateway.client.following import Following
from gateway.client.people import PeopleCalls
from gateway.client.requests import delete, get, post, submission
from gateway.client.settings import ClientSettings
from gateway.client.sources import Source, gather
from gateway.schemas import (
    Annotations,
    DeadLetter,
    DeadLetterList,
    Export,
    ExportFormat,
    ExportList,
    ExportRequest,
    GalleryItem,
    GalleryPage,
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
    Me,
    Model,
    ModelList,
    NewKey,
    PartitionLag,
    Polarity,
    Readiness,
    Replayed,
    ReplayRequest,
    Report,
    Role,
    Verdict,
)


class Api(PeopleCalls):
    """Every call of the REST API. A `Flow[T]` here is a T of `Client`, and one to await of `AsyncClient`."""

    def __init__(self, settings: ClientSettings, now: Callable[[], float]) -> None:
        super().__init__(settings)
        self._following = Following(self._retrying, settings, now)

    # --- jobs

    @call
    def submit(
        self,
        sources: Source | Iterable[Source],
        options: JobOptions | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Flow[Job]:
        """A job of a folder, files, zips, bytes (`Upload`) or addresses that the gateway fetches.

        Files are streamed. The gateway has every image in its log when this returns. Safe to repeat with the
        same `idempotency_key`; without one, each call makes one job, however often it is tried on the wire.
        """
        gathered = yield from compute(lambda: gather(sources))
        request = submission(gathered, options or JobOptions(), idempotency_key or str(uuid.uuid4()))
        return (yield from self._model(Job, request))

    @call
    def job(self, job_id: str) -> Flow[Job]:
        """The job now."""
        return self._model(Job, get("/v1/jobs", job_id))

    @listing
    def jobs(self, *, page_size: int = 50) -> Items[Job]:
        """All jobs, newest first; pages are fetched as they are needed."""
        return Items(self._pages(JobPage, "page_token", "/v1/jobs", page_size=page_size))

    @listing
    def job_images(
        self, job_id: str, *, state: ImageState | None = None, page_size: int = 200
    ) -> Items[JobImage]:
        """The job's images in order of id, all or those in one state."""
        parts = ("/v1/jobs", job_id, "images")
        return Items(self._pages(JobImagePage, "page_token", *parts, state=state, page_size=page_size))

    @call
    def cancel(self, job_id: str) -> Flow[Job]:
        """Ends the job: images that have no result yet get none."""
        return self._model(Job, post("/v1/jobs", job_id, "cancel"))

    @call
    def report(self, job_id: str) -> Flow[Report]:
        """Quality, throughput and human cost."""
        return self._model(Report, get("/v1/jobs", job_id, "report"))

    @listing
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
    ) -> Items[GalleryItem]:
        """The job's pairs that fit every filter, also those that wait; by phrase, then image."""
        return Items(
            self._pages(
                GalleryPage,
                "cursor",
                "/v1/jobs",
                job_id,
                "pairs",
                phrase=phrase,
                polarity=polarity,
                verdict=verdict,
                min_score=min_score,
                max_score=max_score,
                model=model,
                annotator=annotator,
                limit=page_size,
            )
        )

    @listing
    def watch(self, job_id: str, *, timeout: float | None = None) -> Items[Job]:
        """The job now and after each change; ends when the models are done with it or it is cancelled.

        Outlives cut connections and restarts of the gateway. Raises `WaitExpired` after `timeout` seconds.
        """
        return Items(self._following.watch(job_id, timeout))

    @call
    def wait(self, job_id: str, *, timeout: float | None = None) -> Flow[Job]:
        """The job when the models are done with it (it may then wait for people) or it is cancelled."""
        return self._following.watch(job_id, timeout)

    # --- images

    @call
    def image(self, image_id: str) -> Flow[Image]:
        """Size, name and jobs of a picture."""
        return self._model(Image, get("/v1/images", image_id))

    @call
    def content(self, image_id: str) -> Flow[bytes]:
        """The upright picture that annotations refer to, encoded as `Image.media_type` says."""
        return self._bytes(get("/v1/images", image_id, "content"))

    @call
    def thumbnail(self, image_id: str, *, side: int = 256) -> Flow[bytes]:
        """A JPEG of the picture whose longest side is 128, 256 or 512 pixels."""
        return self._bytes(get("/v1/images", image_id, "thumbnail", side=side))

    @call
    def annotations(
        self, image_id: str, *, job_id: str | None = None, waiting: bool = False
    ) -> Flow[Annotations]:
        """Annotations of record, of that job or of the newest that has any. See `mask_array`.

        `waiting`: also pairs that wait for people; their verdict is `review` or `reject`.
        """
        return self._model(
            Annotations, get("/v1/images", image_id, "annotations", job_id=job_id, waiting=waiting)
        )

    @call
    def overlay(self, image_id: str, *, job_id: str | None = None, waiting: bool = False) -> Flow[bytes]:
        """A PNG of the picture with its masks; `waiting`: also those that wait for people."""
        return self._bytes(get("/v1/images", image_id, "overlay.png", job_id=job_id, waiting=waiting))

    # --- exports

    @call
    def create_export(
        self, export_format: ExportFormat = "saco", job_ids: Sequence[str] = ()
    ) -> Flow[Export]:
        """Writes a dataset of these jobs (none: of all)."""
        return self._model(
            Export, post("/v1/exports", body=ExportRequest(format=export_format, job_ids=list(job_ids)))
        )

    @call
    def export(self, export_id: str) -> Flow[Export]:
        """One export."""
        return self._model(Export, get("/v1/exports", export_id))

    @call
    def exports(self) -> Flow[list[Export]]:
        """All exports, newest first."""
        return (yield from self._model(ExportList, get("/v1/exports"))).items

    @call
    def download(self, export: Export | str, to: Path | str) -> Flow[Path]:
        """Writes the export to a file, or into a folder; its path. Whole and right, or not there at all."""
        if isinstance(export, str):
            export = yield from self._model(Export, get("/v1/exports", export))
        target = Path(to)
        if target.is_dir():
            target /= f"{export.id}.{export.format}.json"
        request = get("/v1/exports", export.id, "content")
        return (yield from save(self._retrying, request, target, export.sha256, export.size))

    @call
    def export_content(self, export: Export) -> Flow[bytes]:
        """The export in memory, checked."""
        content = yield from self._bytes(get("/v1/exports", export.id, "content"))
        return verified(content, export.sha256, export.size)

    # --- operations

    @call
    def lag(self) -> Flow[list[PartitionLag]]:
        """How far each consumer group is behind."""
        return (yield from self._model(Lag, get("/v1/lag"))).items

    @call
    def dead_letters(self, *, topic: str | None = None, job_id: str | None = None) -> Flow[list[DeadLetter]]:
        """Records that could not be worked: all, those read from one topic, those of one job."""
        return (yield from self._model(DeadLetterList, get("/v1/dlq", job_id=job_id, topic=topic))).items

    @call
    def replay(self, *, topic: str | None = None, ids: Sequence[str] = ()) -> Flow[int]:
        """Puts dead letters back on their topics (none named: all); how many."""
        body = ReplayRequest(topic=topic, ids=list(ids))
        # Not repeatable: a second replay would put the records on their topics once more.
        request = post("/v1/dlq/replay", body=body, repeatable=False)
        return (yield from self._model(Replayed, request)).replayed

    @call
    def models(self) -> Flow[list[Model]]:
        """The models that serve."""
        return (yield from self._model(ModelList, get("/v1/models"))).items

    @call
    def me(self) -> Flow[Me]:
        """Name, tenant and roles of this client's key."""
        return self._model(Me, get("/v1/me"))

    @call
    def keys(self) -> Flow[list[Key]]:
        """API keys of the tenant."""
        return (yield from self._model(KeyList, get("/v1/keys"))).items

    @call
    def create_key(self, name: str, roles: Sequence[Role], *, tenant: str | None = None) -> Flow[NewKey]:
        """A new API key; its secret is in this answer only."""
        body = KeyRequest(name=name, roles=list(roles), tenant=tenant)
        return self._model(NewKey, post("/v1/keys", body=body, repeatable=False))

    @call
    def revoke_key(self, key_id: str) -> Flow[None]:
        """The key is refused from now on."""
        return self._done(delete("/v1/keys", key_id))

    @call
    def ready(self) -> Flow[Readiness]:
        """Raises `Overloaded` while the gateway is not ready."""
        return self._model(Readiness, get("/readyz"))

    def _pages(
        self, page: type[JobPage | JobImagePage | GalleryPage], token: str, *parts: str, **params: object
    ) -> Flow[None]:
        """Emits every item; `token` asks for a page, and `next_<token>` in a page for the one after it."""
        following: str | None = None
        while True:
            answer = yield from self._model(page, get(*parts, **params, **{token: following}))
            for item in answer.items:
                yield Emit(item)
            following = getattr(answer, f"next_{token}")
            if not following:
                return
