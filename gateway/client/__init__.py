"""The Python client of Tercet.

    from gateway.client import Client, JobOptions

    with Client() as tercet:                       # TERCET_URL; TERCET_API_KEY or the nearest .tercet/api-key
        job = tercet.submit("./harbour", JobOptions(stage="automatic"))
        for job in tercet.watch(job.id):           # server-sent events; survives cuts and restarts
            print(job.counts)
        for image in tercet.job_images(job.id):    # pages are fetched as they are needed
            found = tercet.annotations(image.image_id, job_id=job.id)
            masks = [mask_arrays(pair) for pair in found.pairs]       # bool [instances, height, width]
        tercet.download(tercet.create_export("saco", [job.id]), "harbour.json")   # checksum verified

People's work goes through the same client, with an annotator's key:

    for held in tercet.lease_reviews(job_id=job.id, most=10):     # yours until `held.expires_at`
        done = tercet.decide_review(held, "accept", active_seconds=1.4)  # or "reject", or "edit" with pairs
    held = tercet.undo_review(done.task_id, done.id)              # yours again, with `earlier`

`AsyncClient` has the same calls to `await` (`async for` where `Client` iterates). Answers are the models of
`gateway.schemas`. Requests that are safe to repeat are repeated on cut connections, 429 and 503, as
Retry-After asks; a submission carries an Idempotency-Key, so that a repeat makes no second job. Failures are
subclasses of `ClientError`; an `ApiError` has the gateway's problem with status, code, title, detail and
request id.
"""

from __future__ import annotations

from gateway.client.async_client import AsyncClient
from gateway.client.body import Upload
from gateway.client.client import Client
from gateway.client.errors import (
    AlreadyDecided,
    ApiError,
    ClientError,
    Conflict,
    CorruptDownload,
    Forbidden,
    InvalidRequest,
    LeaseLost,
    NotFound,
    NothingToSubmit,
    Overloaded,
    ServerFailure,
    TooLarge,
    Unauthenticated,
    Unexpected,
    Unreachable,
    UnreadableSource,
    UnsupportedMedia,
    UnusableKey,
    WaitExpired,
)
from gateway.client.masks import mask_array, mask_arrays
from gateway.client.reviews import drawn_mask, edited_pair
from gateway.client.settings import ClientSettings
from gateway.schemas import DecidedPair, DrawnMask, ImageSource, JobOptions, Thresholds

__all__ = [
    "AlreadyDecided",
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "ClientSettings",
    "Conflict",
    "CorruptDownload",
    "DecidedPair",
    "DrawnMask",
    "Forbidden",
    "ImageSource",
    "InvalidRequest",
    "JobOptions",
    "LeaseLost",
    "NotFound",
    "NothingToSubmit",
    "Overloaded",
    "ServerFailure",
    "Thresholds",
    "TooLarge",
    "Unauthenticated",
    "Unexpected",
    "Unreachable",
    "UnreadableSource",
    "UnsupportedMedia",
    "UnusableKey",
    "Upload",
    "WaitExpired",
    "drawn_mask",
    "edited_pair",
    "mask_array",
    "mask_arrays",
]
