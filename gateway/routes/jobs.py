"""Jobs: submitted, listed, watched, cancelled, reported on. An image's way through Tercet begins here."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from google.protobuf.timestamp_pb2 import Timestamp

from gateway import views
from gateway.routes.documentation import problems
from gateway.schemas import (
    FINAL_STATUSES,
    ImageState,
    Job,
    JobImagePage,
    JobPage,
    JobRequest,
    Report,
)
from gateway.security import AnyKey, Submitter
from gateway.state import GatewayState, state_of
from services.core.errors import Conflict, NotFound, TercetError
from services.kit import tracing
from services.kit.bus.topics import JOBS_EVENTS, encode
from services.kit.logging import get_logger
from tercet.v1 import dataset_pb2, records_pb2

_LOG = get_logger(__name__)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

SUBMISSION: Final = ("POST", "/v1/jobs")
"""The one request whose body may be large; it has limits of its own."""

JobId = Annotated[
    str, Path(description="Job id.", max_length=100, examples=["job_3k7q2vx5n4m6h2cz8t1w9ray5d"])
]
PageToken = Annotated[str, Query(description="`next_page_token` of the page before.", max_length=1000)]
_RECONNECT_MS: Final = 2000
_CANCEL_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.05

_SUBMISSION: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "Images as files, as addresses, or in a zip; one kind in one request.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "JPEG, PNG, WebP, BMP, TIFF, GIF or AVIF files, or zips of them.",
                        },
                        "job": {
                            "allOf": [{"$ref": "#/components/schemas/JobOptions"}],
                            "description": "The options as JSON. Or give each as a form field of its own; "
                            "`accept_above` and `reject_below` stand for the thresholds.",
                        },
                    },
                },
                "encoding": {"job": {"contentType": "application/json"}},
            },
            "application/json": {
                "schema": {"$ref": "#/components/schemas/JobRequest"},
                "examples": {
                    "addresses": {"value": JobRequest.model_config["json_schema_extra"]["examples"][0]}  # type: ignore[index]
                },
            },
            "application/zip": {
                "schema": {"type": "string", "format": "binary"},
            },
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "A value of your own for this job, e.g. a UUID: a retry makes no second job.",
            "schema": {"type": "string", "maxLength": 254},
            "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
        },
    ],
}


@router.post(
    "",
    status_code=202,
    response_model=Job,
    summary="Submit a job",
    responses={
        202: {
            "description": "Committed: every image taken will get a result or a reason.",
            "headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}},
        },
        **problems(400, 409, 413, 415, 422),
    },
    openapi_extra=_SUBMISSION,
)
async def submit_job(request: Request, response: Response, key: Submitter) -> Job:
    """Submit images. The answer comes once the job and all its images are safe.

    Images that cannot be used are left out and listed in `refused` with the reason; a job that loses every
    image is refused itself. An image that is in the job twice is taken once. With a zip as the body,
    options are query parameters.
    """
    event = await state_of(request).submissions.submit(request, key)
    response.headers["Location"] = f"/v1/jobs/{event.job_id}"
    return views.job(views.created_job(event))


@router.get("", summary="List jobs", responses=problems(400, 422))
def list_jobs(
    request: Request,
    key: AnyKey,
    page_size: Annotated[int, Query(ge=1, le=1000, description="Jobs on a page.")] = 50,
    page_token: PageToken = "",
) -> JobPage:
    """The tenant's jobs, newest first."""
    found = state_of(request).dataset.ListJobs(
        dataset_pb2.ListJobsRequest(tenant=key.tenant, page_size=page_size, page_token=page_token)
    )
    return JobPage(
        items=[views.job(job) for job in found.jobs], next_page_token=found.next_page_token or None
    )


@router.get("/{job_id}", summary="Show a job", responses=problems(404))
def get_job(request: Request, key: AnyKey, job_id: JobId) -> Job:
    """How far the job is: images by state, failures with reasons, rate and estimated time."""
    return views.job(_job(state_of(request), key.tenant, job_id))


@router.get("/{job_id}/images", summary="List a job's images", responses=problems(400, 404, 422))
def list_job_images(
    request: Request,
    key: AnyKey,
    job_id: JobId,
    state: Annotated[ImageState | None, Query(description="Only images in this state.")] = None,
    page_size: Annotated[int, Query(ge=1, le=1000, description="Images on a page.")] = 100,
    page_token: PageToken = "",
) -> JobImagePage:
    """The job's images in order of id."""
    found = state_of(request).dataset.ListJobImages(
        dataset_pb2.ListJobImagesRequest(
            tenant=key.tenant,
            job_id=job_id,
            state=views.image_state(state) if state else dataset_pb2.IMAGE_STATE_UNSPECIFIED,
            page_size=page_size,
            page_token=page_token,
        )
    )
    return JobImagePage(
        items=[views.job_image(item) for item in found.images], next_page_token=found.next_page_token or None
    )


@router.get(
    "/{job_id}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events until the job is final: `job` with the job after each change, "
            "`end` with its last state, `error` with a problem; comments as signs of life.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": "event: job\ndata: {…}\nid: 1\n\n",
                }
            },
        },
        **problems(404),
    },
)
async def watch_job(request: Request, key: AnyKey, job_id: JobId) -> StreamingResponse:
    """The job now and after each change. Reconnect freely: the first event is the present state."""
    state = state_of(request)
    state.watch.admit()
    updates = state.watch.updates(key.tenant, job_id, state.draining)
    # Nothing is answered before the first state is known, so that an unknown job is a plain 404.
    first = await anext(updates, None)
    while first is None and not state.draining.is_set():
        first = await anext(updates, None)
    return StreamingResponse(
        _events(first, updates), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _events(first: Job | None, updates: AsyncGenerator[Job | None, None]) -> AsyncIterator[bytes]:
    numbers = itertools.count(1)
    yield format_sse_event(retry=_RECONNECT_MS)
    if first is not None:
        yield _event(first, next(numbers))
    try:
        # A client that leaves while it is written to must give up its watch too.
        async with aclosing(updates):
            async for job in updates:
                yield format_sse_event(comment="alive") if job is None else _event(job, next(numbers))
    except TercetError as error:
        _LOG.warning("event stream ends", reason=str(error))
        yield format_sse_event(event="error", data_str='{"detail": "the stream ends early; connect again"}')


def _event(job: Job, number: int) -> bytes:
    name = "end" if job.status in FINAL_STATUSES else "job"
    return format_sse_event(event=name, data_str=job.model_dump_json(), id=str(number))


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel a job", responses=problems(404, 409))
def cancel_job(request: Request, key: Submitter, job_id: JobId) -> Job:
    """Images without a result get none; results that are there stay. Cancelling again changes nothing.

    The answer shows the job as soon as it is known to be cancelled, or after a few seconds as it is then.
    """
    state = state_of(request)
    job = _job(state, key.tenant, job_id)
    if job.status == dataset_pb2.JOB_STATUS_COMPLETE:
        raise Conflict(f"job {job_id} is complete; there is nothing to cancel")
    if job.status == dataset_pb2.JOB_STATUS_CANCELLED:
        return views.job(job)
    at = Timestamp()
    at.FromMilliseconds(int(state.adapters.clock.now() * 1000))
    event = records_pb2.JobEvent(
        job_id=job_id, tenant=key.tenant, at=at, cancelled=records_pb2.JobCancelled(cancelled_by=key.id)
    )
    about = {"tenant": key.tenant, "job_id": job_id, "traceparent": tracing.traceparent()}
    state.adapters.bus.publish([encode(JOBS_EVENTS, event, key=job_id, **about)])
    _LOG.info("job cancelled", job_id=job_id)
    until = time.monotonic() + _CANCEL_SECONDS
    while job.status != dataset_pb2.JOB_STATUS_CANCELLED and time.monotonic() < until:
        state.draining.wait(_LOOK_SECONDS)
        job = _job(state, key.tenant, job_id)
    return views.job(job)


@router.get("/{job_id}/report", summary="Report on a job", responses=problems(404))
def report_on_job(request: Request, key: AnyKey, job_id: JobId) -> Report:
    """Quality, throughput and human cost of the job."""
    found = state_of(request).dataset.Report(dataset_pb2.ReportRequest(tenant=key.tenant, job_id=job_id))
    return views.report(found)


def _job(state: GatewayState, tenant: str, job_id: str) -> dataset_pb2.Job:
    """The job; one that was accepted a moment ago also before the dataset service has read of it."""
    try:
        return state.dataset.GetJob(dataset_pb2.GetJobRequest(tenant=tenant, job_id=job_id))
    except NotFound:
        event = state.accepted.recall(tenant, job_id)
        if event is None:
            raise
        return views.created_job(event)
