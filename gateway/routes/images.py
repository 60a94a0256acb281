"""Images, their annotations of record, and the picture of them."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from gateway import thumbnails, views
from gateway.overlay import render
from gateway.routes.documentation import problems
from gateway.schemas import Annotations, Image
from gateway.security import AnyKey
from gateway.state import state_of
from services.core.errors import NotFound
from services.kit.blobs.images import ImageStore
from tercet.v1 import dataset_pb2

router = APIRouter(prefix="/v1/images", tags=["images"])

ImageId = Annotated[
    str,
    Path(
        description="Image id: SHA-256 of the submitted bytes.",
        pattern="^[0-9a-f]{64}$",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
JobId = Annotated[
    str, Query(description="Only of this job. Default: the newest that has any.", max_length=100)
]
Waiting = Annotated[
    bool,
    Query(description="Pairs that wait for people, too; their `verdict` is `review` or `reject`."),
]


class Side(IntEnum):
    """Longest sides of thumbnails in pixels: few, so that few are kept of each image."""

    SMALL = 128
    MIDDLE = 256
    LARGE = 512


# By its id a picture is always the same.
_UNCHANGING = {"Cache-Control": "private, max-age=86400, immutable"}
# Pictures are served as what they are and nothing else, whatever bytes they hold.
_SAFE = {"Content-Security-Policy": "default-src 'none'; sandbox", "Content-Disposition": "inline"}


@router.get("/{image_id}", summary="Show an image", responses=problems(404, 422))
def get_image(request: Request, key: AnyKey, image_id: ImageId) -> Image:
    """The image and the jobs that hold it."""
    found = state_of(request).dataset.GetImage(
        dataset_pb2.GetImageRequest(tenant=key.tenant, image_id=image_id)
    )
    return views.image(found.image, found.job_ids)


@router.get(
    "/{image_id}/content",
    summary="Get the picture",
    response_class=Response,
    responses={
        200: {
            "description": "Upright 8-bit RGB, as the models see it.",
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("image/jpeg", "image/png", "image/webp")
            },
        },
        304: {"description": "The one that you have."},
        **problems(404, 422),
    },
)
def get_content(request: Request, key: AnyKey, image_id: ImageId) -> Response:
    """The picture's bytes: as submitted where they were upright 8-bit RGB, else converted to PNG."""
    etag = f'"{image_id}"'
    state = state_of(request)
    found = state.dataset.GetImage(dataset_pb2.GetImageRequest(tenant=key.tenant, image_id=image_id))
    headers = {"ETag": etag, **_UNCHANGING, **_SAFE}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    content = state.adapters.blobs.get(ImageStore.key(key.tenant, image_id))
    return Response(content, media_type=found.image.media_type, headers=headers)


@router.get(
    "/{image_id}/thumbnail",
    summary="Get a small picture",
    response_class=Response,
    responses={
        200: {
            "description": "JPEG, upright.",
            "content": {thumbnails.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "The one that you have."},
        **problems(404, 422),
    },
)
def get_thumbnail(
    request: Request,
    key: AnyKey,
    image_id: ImageId,
    side: Annotated[Side, Query(description="Longest side in pixels; a smaller picture is not enlarged.")] = (
        Side.MIDDLE
    ),
) -> Response:
    """The picture for a list. It is made when first asked for and never changes."""
    state = state_of(request)
    state.dataset.GetImage(dataset_pb2.GetImageRequest(tenant=key.tenant, image_id=image_id))
    etag = f'"{image_id}-{side.value}"'
    headers = {"ETag": etag, **_UNCHANGING, **_SAFE}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    content = thumbnails.thumbnail(state.adapters.blobs, key.tenant, image_id, side)
    return Response(content, media_type=thumbnails.MEDIA_TYPE, headers=headers)


@router.get("/{image_id}/annotations", summary="Get annotations", responses=problems(404, 422))
def get_annotations(
    request: Request, key: AnyKey, image_id: ImageId, job_id: JobId = "", waiting: Waiting = False
) -> Annotations:
    """The accepted pairs of the image: positives with masks, verified negatives."""
    return views.image_annotations(_annotations(request, key.tenant, image_id, job_id, waiting=waiting))


@router.get(
    "/{image_id}/overlay.png",
    summary="Get the picture with its masks",
    response_class=Response,
    responses={
        200: {
            "description": "PNG: masks with phrases and scores, in colours for every kind of colour vision.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404, 422),
    },
)
def get_overlay(
    request: Request,
    key: AnyKey,
    image_id: ImageId,
    job_id: JobId = "",
    phrase: Annotated[str | None, Query(description="Only this phrase.", max_length=200)] = None,
    waiting: Waiting = False,
) -> Response:
    """The annotations of record drawn on the picture."""
    state = state_of(request)
    found = _annotations(request, key.tenant, image_id, job_id, waiting=waiting)
    if phrase is not None and all(pair.phrase != phrase for pair in found.pairs):
        raise NotFound(f"the image has no annotation of {phrase!r}")
    content = state.adapters.blobs.get(ImageStore.key(key.tenant, image_id))
    drawn = render(content, found.pairs, phrase=phrase, longest_side=state.settings.overlay_side)
    return Response(drawn, media_type="image/png", headers=_SAFE)


def _annotations(
    request: Request, tenant: str, image_id: str, job_id: str, *, waiting: bool
) -> dataset_pb2.GetAnnotationsResponse:
    return state_of(request).dataset.GetAnnotations(
        dataset_pb2.GetAnnotationsRequest(tenant=tenant, image_id=image_id, job_id=job_id, waiting=waiting)
    )
