"""What the dataset service does: takes in the log, and answers for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from services.core.errors import InvalidInput, NotFound, Overloaded
from services.dataset import domain, exports, figures, pairs
from services.dataset.places import annotation_key, verdicts_key
from services.dataset.settings import DatasetSettings
from services.dataset.view import JobView
from services.kit.blobs.images import ImageStore
from services.kit.blobs.ports import Blobs
from services.kit.bus.topics import MAX_RECORD_BYTES
from services.kit.clock import Clock
from services.kit.provenance import timestamp
from services.kit.state.cancelled import CancelledJobs
from tercet.v1 import dataset_pb2, records_pb2

log = structlog.get_logger(__name__)

MAX_PAGE: Final = 1000
_ENDED: Final = frozenset(
    {
        dataset_pb2.JOB_STATUS_COMPLETE,
        dataset_pb2.JOB_STATUS_CANCELLED,
        dataset_pb2.JOB_STATUS_WAITING_FOR_PEOPLE,
    }
)


class Recording:
    """The worker's half: the log into the view and the object store. Everything may come again."""

    def __init__(self, view: JobView, blobs: Blobs, cancelled: CancelledJobs) -> None:
        self._view = view
        self._blobs = blobs
        self._cancelled = cancelled

    def job(self, event: records_pb2.JobEvent) -> None:
        """A job's beginning or end."""
        match event.WhichOneof("event"):
            case "created":
                self._view.create(event)
            case "cancelled":
                self._cancelled.add(event.job_id)
                self._view.cancel(event)
            case "finished":
                self._view.finished(event)

    def submitted(self, record: records_pb2.ImageSubmitted) -> None:
        """An image has come in."""
        record.image.CopyFrom(ImageStore.without_content(record.image))
        self._view.picture(record)
        self.step("images.submitted", record.image, record.run)

    def step(self, topic: str, image: records_pb2.Image, run: records_pb2.Run) -> None:
        """An image has come as far as the topic."""
        self._view.learn(domain.of_step(topic, image, run))

    def verified(
        self, record: records_pb2.ImageVerified, offset: int, timestamp_ms: int, *, again: bool
    ) -> None:
        """The models have judged an image; what they say of pairs that wait for people is kept."""
        image, job_id = record.image, record.run.job_id
        said = pairs.of_verified(record, offset)
        if said is not None:
            key = verdicts_key(image.tenant, job_id, image.id)
            if not (again and self._blobs.exists(key)):
                kept = records_pb2.ImageVerified(
                    image=ImageStore.without_content(image), run=record.run, pairs=record.pairs
                )
                self._blobs.put(key, kept.SerializeToString(deterministic=True))
            self._view.pairs.say(said)
        counted = figures.of_verified(record, offset, timestamp_ms)
        self._view.figures.count(image.tenant, job_id, counted)
        self._view.learn(domain.of_verified(record, timestamp_ms))

    def requested(self, record: records_pb2.ReviewRequested) -> None:
        """People have a task."""
        self._view.learn(domain.of_requested(record))

    def completed(self, record: records_pb2.ReviewCompleted, offset: int) -> None:
        """A person has decided, or taken a decision back."""
        job_id = record.task.run.job_id
        self._view.pairs.say(pairs.of_completed(record, offset))
        if record.decision.kind == records_pb2.DECISION_KIND_UNDO:
            self._view.figures.take_back(record.tenant, job_id, figures.entry_name(record))
        else:
            self._view.figures.count(record.tenant, job_id, [figures.of_completed(record, offset)])
        self._view.decided(record, offset)

    def accepted(
        self, record: records_pb2.AnnotationsAccepted, offset: int, timestamp_ms: int, *, again: bool
    ) -> None:
        """Annotations of record: kept in the object store, and only then known to the view.

        `again`: at a rebuild, which writes only what is not there.
        """
        image, job_id = record.image, record.run.job_id
        key = annotation_key(image.tenant, job_id, image.id, domain.record_name(record))
        if not record.withdrawn and not (again and self._blobs.exists(key)):
            self._blobs.put(key, record.SerializeToString(deterministic=True))
        self._view.pairs.say(pairs.of_accepted(record, offset))
        self._view.learn(domain.of_accepted(record, offset, timestamp_ms))

    def failed(self, learnt: domain.Learnt) -> None:
        """An image has gone to a dead-letter queue."""
        self._view.learn(learnt)

    def claim(self, tenant: str, job_id: str, cause: str, timestamp_ms: int) -> records_pb2.JobEvent | None:
        """The end of a job's work, when the record at hand is the one to tell it."""
        return self._view.claim(tenant, job_id, cause, timestamp_ms)


class Answering:
    """The callers' half. An id of another tenant is answered like one that nobody has."""

    def __init__(self, view: JobView, blobs: Blobs, clock: Clock, settings: DatasetSettings) -> None:
        self._view = view
        self._blobs = blobs
        self._clock = clock
        self._settings = settings
        self._watchers = threading.BoundedSemaphore(settings.dataset_watchers)

    # -- jobs

    def list_jobs(self, request: dataset_pb2.ListJobsRequest) -> dataset_pb2.ListJobsResponse:
        """The tenant's jobs, newest first."""
        size = _page(request.page_size, 50)
        ids = self._view.job_ids(request.tenant, after=request.page_token, size=size + 1)
        response = dataset_pb2.ListJobsResponse()
        room = MAX_RECORD_BYTES
        for number, job_id in enumerate(ids):
            job = self._view.job(request.tenant, job_id)
            room -= 0 if job is None else job.ByteSize()
            if number == size or (room < 0 and response.jobs):  # a page has an end in bytes, too
                response.next_page_token = ids[number - 1]
                break
            if job is not None:
                response.jobs.append(job)
        return response

    def job(self, tenant: str, job_id: str) -> dataset_pb2.Job:
        """One job. Raises `NotFound`."""
        found = self._view.job(tenant, job_id)
        if found is None:
            raise NotFound(f"no job {job_id}")
        return found

    def watch(
        self, tenant: str, job_id: str, ended: threading.Event, active: Callable[[], bool]
    ) -> Iterator[dataset_pb2.Job]:
        """The job now and after each change, until its models are done or the caller has gone."""
        if not self._watchers.acquire(blocking=False):
            raise Overloaded("too many jobs are watched; ask for the job instead", retry_after=2.0)
        try:
            seen = -1
            while active():
                changes = self._view.changes(tenant, job_id)
                if changes != seen:
                    job = self.job(tenant, job_id)
                    yield job
                    if job.status in _ENDED:
                        return
                    seen = changes
                self._clock.wait(ended, self._settings.dataset_watch_seconds)
        finally:
            self._watchers.release()

    def list_images(self, request: dataset_pb2.ListJobImagesRequest) -> dataset_pb2.ListJobImagesResponse:
        """A job's images in order of id."""
        self._require_job(request.tenant, request.job_id)
        size = _page(request.page_size, 100)
        state = domain.state_name(request.state) if request.state else ""
        ids = self._view.image_ids(
            request.tenant, request.job_id, state=state, after=request.page_token, size=size + 1
        )
        return dataset_pb2.ListJobImagesResponse(
            images=self._view.rows(request.tenant, request.job_id, ids[:size]),
            next_page_token=ids[size - 1] if len(ids) > size else "",
        )

    # -- images

    def image(self, tenant: str, image_id: str) -> dataset_pb2.ImageInfo:
        """An image with its jobs. Raises `NotFound`."""
        found = self._view.image(tenant, image_id)
        if found is None:
            raise NotFound(f"no image {image_id}")
        return found

    def annotations(self, request: dataset_pb2.GetAnnotationsRequest) -> dataset_pb2.GetAnnotationsResponse:
        """Annotations of record of an image: in the job named, or in the newest that has any."""
        tenant, image_id = request.tenant, request.image_id
        info = self.image(tenant, image_id)
        if request.job_id:
            self._require_job(tenant, request.job_id)
            if not self._view.holds(tenant, request.job_id, image_id):
                raise NotFound(f"no image {image_id} in job {request.job_id}")
            candidates = [request.job_id]
        else:
            candidates = list(reversed(info.job_ids))
        for job_id in candidates:
            records = self._records(tenant, job_id, image_id)
            found = domain.of_record(records, domain.merged(records))
            if found:
                return dataset_pb2.GetAnnotationsResponse(
                    image=info.image, job_id=job_id, pairs=[one.pair for one in found]
                )
        return dataset_pb2.GetAnnotationsResponse(
            image=info.image, job_id=candidates[0] if candidates else ""
        )

    def _records(self, tenant: str, job_id: str, image_id: str) -> list[records_pb2.AnnotationsAccepted]:
        """A run's annotations of record, in the log's order."""
        return [
            records_pb2.AnnotationsAccepted.FromString(
                self._blobs.get(annotation_key(tenant, job_id, image_id, name))
            )
            for name in self._view.records(tenant, job_id, image_id)
        ]

    # -- exports

    def create_export(self, request: dataset_pb2.CreateExportRequest) -> dataset_pb2.Export:
        """Write an export of the jobs. The same content again is the same export."""
        tenant = request.tenant
        if request.format not in exports.FORMATS:
            raise InvalidInput("an export's format is saco or coco")
        every = list(reversed(self._view.job_ids(tenant, after="", size=0)))
        wanted = set(request.job_ids)
        for job_id in request.job_ids:
            self._require_job(tenant, job_id)
        job_ids = [job_id for job_id in every if not wanted or job_id in wanted]
        made = exports.export(self._annotated(tenant, job_ids), request.format)
        suffix = f"{made.id}.{exports.FORMATS[request.format]}"
        try:
            return self._described(f"{tenant}/exports/{made.id}.pb")
        except NotFound:
            blob = self._blobs.put(f"{tenant}/exports/{suffix}.json", made.content)
        export = dataset_pb2.Export(
            id=made.id,
            format=request.format,
            job_ids=job_ids,
            blob=blob,
            images=made.images,
            pairs=made.pairs,
            masks=made.masks,
            created_at=timestamp(self._clock.now()),
        )
        self._blobs.put(f"{tenant}/exports/{made.id}.pb", export.SerializeToString(deterministic=True))
        return export

    def export(self, tenant: str, export_id: str) -> dataset_pb2.Export:
        """One export. Raises `NotFound`."""
        if not export_id.isalnum() or not export_id.isascii():
            raise NotFound(f"no export {export_id}")
        try:
            return self._described(f"{tenant}/exports/{export_id}.pb")
        except NotFound:
            raise NotFound(f"no export {export_id}") from None

    def list_exports(self, tenant: str) -> dataset_pb2.ListExportsResponse:
        """The tenant's exports, newest first."""
        found = [
            self._described(key) for key in self._blobs.list(f"{tenant}/exports/") if key.endswith(".pb")
        ]
        found.sort(key=lambda one: (-one.created_at.ToMicroseconds(), one.id))
        return dataset_pb2.ListExportsResponse(exports=found)

    def _described(self, key: str) -> dataset_pb2.Export:
        return dataset_pb2.Export.FromString(self._blobs.get(key))

    def _annotated(self, tenant: str, job_ids: Sequence[str]) -> Iterator[exports.AnnotatedImage]:
        """The images with a result in the jobs, oldest job first; an image of several jobs comes once."""
        held: dict[str, list[str]] = {}
        for job_id in job_ids:
            for image_id in self._view.all_image_ids(tenant, job_id):
                held.setdefault(image_id, []).append(job_id)

        def annotated(image_id: str) -> exports.AnnotatedImage | None:
            runs = [self._records(tenant, job_id, image_id) for job_id in held[image_id]]
            if not any(runs):
                return None  # no result yet
            standing = domain.best_of_runs([domain.merged(run) for run in runs])
            return exports.AnnotatedImage(self.image(tenant, image_id).image, standing)

        with ThreadPoolExecutor(self._settings.dataset_export_threads, "export") as pool:
            yield from filter(None, pool.map(annotated, sorted(held)))

    # -- reports

    def report(self, request: dataset_pb2.ReportRequest) -> dataset_pb2.ReportResponse:
        """Quality, throughput and human cost of a job, or of all."""
        tenant = request.tenant
        if request.job_id:
            self._require_job(tenant, request.job_id)
            job_ids = [request.job_id]
        else:
            job_ids = self._view.job_ids(tenant, after="", size=0)
        answer = dataset_pb2.ReportResponse(score_histogram=[0] * domain.BINS)
        active_ms = 0
        for job_id in job_ids:
            for field, number in self._view.sums(tenant, job_id).items():
                kind, _, rest = field.partition(":")
                match kind:
                    case "verdict":
                        answer.pairs_by_verdict[rest] += number
                    case "bin":
                        answer.score_histogram[int(rest)] += number
                    case "decisions":
                        answer.decisions += number
                    case "corrections":
                        answer.corrections += number
                    case "active_ms":
                        active_ms += number
        answer.active_seconds = active_ms / 1000
        return answer

    def _require_job(self, tenant: str, job_id: str) -> None:
        if not self._view.known(tenant, job_id):
            raise NotFound(f"no job {job_id}")


def _page(asked: int, default: int) -> int:
    if not 0 <= asked <= MAX_PAGE:
        raise InvalidInput(f"page_size is between 1 and {MAX_PAGE}")
    return asked or default
