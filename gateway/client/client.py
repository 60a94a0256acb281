"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from gateway.client.api import Api
from gateway.client.blocking import Blocking
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


class Client:
    """One gateway, as Python. Threads may share it. Every call raises subclasses of `ClientError`."""

    def __init__(
        self,
        settings: ClientSettings | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings`: the environment's unless given; `transport`, `pause`, `now`: for tests and proxies."""
        self.settings = settings or ClientSettings()
        self._http = httpx.Client(
            base_url=self.settings.url,
            headers=headers(self.settings),
            timeout=timeout(self.settings),
            transport=transport,
        )
        self._api = Api(self.settings, now=now)
        performer = Blocking(self._http, self.settings, pause)
        self._run, self._iterate = performer.run, performer.iterate

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def submit(
        self,
        sources: Source | Iterable[Source],
        options: JobOptions | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """A job of a folder, files, zips, bytes (`Upload`) or addresses that the gateway fetches.

        Files are streamed. The gateway has every image in its log when this returns. Safe to repeat with the
        same `idempotency_key`; without one, each call makes one job, however often it is tried on the wire.
        """
        return self._run(self._api.submit(sources, options or JobOptions(), idempotency_key))

    def job(self, job_id: str) -> Job:
        """The job now."""
        return self._run(self._api.job(job_id))

    def jobs(self, *, page_size: int = 50) -> Iterator[Job]:
        """All jobs, newest first; pages are fetched as they are needed."""
        return self._iterate(self._api.jobs(page_size))

    def job_images(
        self, job_id: str, *, state: ImageState | None = None, page_size: int = 200
    ) -> Iterator[JobImage]:
        """The job's images in order of id, all or those in one state."""
        return self._iterate(self._api.job_images(job_id, state, page_size))

    def cancel(self, job_id: str) -> Job:
        """Ends the job: images that have no result yet get none."""
        return self._run(self._api.cancel(job_id))

    def report(self, job_id: str) -> Report:
        """Quality, throughput and human cost."""
        return self._run(self._api.report(job_id))

    def watch(self, job_id: str, *, timeout: float | None = None) -> Iterator[Job]:
        """The job now and after each change; ends when the models are done with it or it is cancelled.

        Outlives cut connections and restarts of the gateway. Raises `WaitExpired` after `timeout` seconds.
        """
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
    ) -> Iterator[GalleryItem]:
        """The job's pairs that fit every filter, also those that wait; by phrase, then image."""
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

    def wait(self, job_id: str, *, timeout: float | None = None) -> Job:
        """The job when the models are done with it (it may then wait for people) or it is cancelled."""
        *_, last = self.watch(job_id, timeout=timeout)
        return last

    def image(self, image_id: str) -> Image:
        """Size, name and jobs of a picture."""
        return self._run(self._api.image(image_id))

    def content(self, image_id: str) -> bytes:
        """The upright picture that annotations refer to, encoded as `Image.media_type` says."""
        return self._run(self._api.content(image_id))

    def annotations(self, image_id: str, *, job_id: str | None = None, waiting: bool = False) -> Annotations:
        """Annotations of record, of that job or of the newest that has any. See `mask_array`.

        `waiting`: also pairs that wait for people; their verdict is `review` or `reject`.
        """
        return self._run(self._api.annotations(image_id, job_id, waiting))

    def overlay(self, image_id: str, *, job_id: str | None = None, waiting: bool = False) -> bytes:
        """A PNG of the picture with its masks; `waiting`: also those that wait for people."""
        return self._run(self._api.overlay(image_id, job_id, waiting))

    def segment(
        self,
        image_id: str,
        *,
        points: Sequence[PromptPoint] = (),
        boxes: Sequence[tuple[float, float, float, float]] = (),
        mask: PromptMask | None = None,
    ) -> Segmented:
        """The mask of one instance from clicks, at most one box and the mask so far.

        Several boxes alone are several instances, and give a mask each.
        """
        return self._run(self._api.segment(image_id, points, boxes, mask))

    def hard_negatives(
        self, image_id: str, *, phrases: Sequence[str] = (), limit: int = 10
    ) -> list[HardNegative]:
        """Phrases that look right for the image and are most probably absent; `phrases`: what is present."""
        return self._run(self._api.hard_negatives(image_id, phrases, limit))

    def lease_reviews(
        self,
        *,
        types: Sequence[TaskType] = (),
        job_id: str | None = None,
        phrase: str | None = None,
        most: int = 1,
    ) -> list[LeasedTask]:
        """The most urgent tasks that fit, held for this key's person; none when there is no work."""
        return self._run(self._api.lease_reviews(types, job_id, phrase, most))

    def take_review(self, task_id: str) -> LeasedTask:
        """Holds this very task, e.g. again after its lease has ended; the draft can then be sent.

        Raises `Conflict` while somebody else holds it, `AlreadyDecided`, and `Forbidden`.
        """
        return self._run(self._api.take_review(task_id))

    def undo_review(self, task_id: str, decision_id: str, *, undo_id: str | None = None) -> Reopened:
        """Takes this key's own decision back; the log has it when this returns, and the task is held again.

        `decision_id` is `Decided.id`. Safe to repeat with the same `undo_id`; without one, each call is one
        undo, however often it is tried on the wire. Raises `Conflict` with the reason when it is too late.
        """
        return self._run(self._api.undo_review(task_id, decision_id, undo_id))

    def renew_review(self, held: LeasedTask) -> Lease:
        """Holds a task longer. Raises `LeaseLost`."""
        return self._run(self._api.renew_review(held))

    def release_review(self, held: LeasedTask) -> None:
        """Gives a task back for everyone. Raises `LeaseLost`."""
        self._run(self._api.release_review(held))

    def skip_review(self, held: LeasedTask) -> None:
        """Leaves a task to others. Raises `LeaseLost`."""
        self._run(self._api.skip_review(held))

    def decide_review(
        self,
        held: LeasedTask,
        kind: DecisionKind,
        *,
        pairs: Sequence[DecidedPair] = (),
        active_seconds: float,
        comment: str = "",
        decision_id: str | None = None,
    ) -> Decided:
        """Stores a decision; the log has it when this returns. See `edited_pair` and `drawn_mask`.

        Safe to repeat with the same `decision_id`; without one, each call is one decision, however often it
        is tried on the wire. Raises `LeaseLost` and `AlreadyDecided`.
        """
        return self._run(self._api.decide_review(held, kind, pairs, active_seconds, comment, decision_id))

    def queues(self, *, job_id: str | None = None) -> Queues:
        """How much work waits for people, by type and reason."""
        return self._run(self._api.queues(job_id))

    def phrases(self, prefix: str = "", *, limit: int = 20) -> list[PhraseSuggestion]:
        """Phrases of which a word begins so: the tenant's, most used first, then the ontology's."""
        return self._run(self._api.phrases(prefix, limit))

    def statistics(self, *, job_id: str | None = None, hours: float | None = None) -> Statistics:
        """Figures of the work, of all time or the last hours, of all jobs or one."""
        return self._run(self._api.statistics(job_id, hours))

    def create_export(self, export_format: ExportFormat = "saco", job_ids: Sequence[str] = ()) -> Export:
        """Writes a dataset of these jobs (none: of all)."""
        return self._run(self._api.create_export(export_format, job_ids))

    def export(self, export_id: str) -> Export:
        """One export."""
        return self._run(self._api.export(export_id))

    def exports(self) -> list[Export]:
        """All exports, newest first."""
        return self._run(self._api.exports())

    def download(self, export: Export | str, to: Path | str) -> Path:
        """Writes the export to a file, or into a folder; its path. Whole and right, or not there at all."""
        return self._run(self._api.download(export, Path(to)))

    def export_content(self, export: Export) -> bytes:
        """The export in memory, checked."""
        return self._run(self._api.export_content(export))

    def lag(self) -> list[PartitionLag]:
        """How far each consumer group is behind."""
        return self._run(self._api.lag())

    def dead_letters(self, *, topic: str | None = None, job_id: str | None = None) -> list[DeadLetter]:
        """Records that could not be worked: all, those read from one topic, those of one job."""
        return self._run(self._api.dead_letters(topic, job_id))

    def replay(self, *, topic: str | None = None, ids: Sequence[str] = ()) -> int:
        """Puts dead letters back on their topics (none named: all); how many."""
        return self._run(self._api.replay(topic, ids))

    def models(self) -> list[Model]:
        """The models that serve."""
        return self._run(self._api.models())

    def me(self) -> Me:
        """Name, tenant and roles of this client's key."""
        return self._run(self._api.me())

    def keys(self) -> list[Key]:
        """API keys of the tenant."""
        return self._run(self._api.keys())

    def create_key(self, name: str, roles: Sequence[Role], *, tenant: str | None = None) -> NewKey:
        """A new API key; its secret is in this answer only."""
        return self._run(self._api.create_key(name, roles, tenant))

    def revoke_key(self, key_id: str) -> None:
        """The key is refused from now on."""
        self._run(self._api.revoke_key(key_id))

    def ready(self) -> Readiness:
        """Raises `Overloaded` while the gateway is not ready."""
        return self._run(self._api.ready())
