"""Clicks and boxes to masks, while a person waits."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request

from gateway import views
from gateway.errors import WrongFields
from gateway.routes.documentation import problems
from gateway.routes.images import ImageId
from gateway.schemas import FieldError, Segmented, SegmentRequest
from gateway.security import Annotator
from gateway.state import state_of
from services.core import masks
from services.core.errors import InvalidInput
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2, segmenter_pb2

router = APIRouter(prefix="/v1/images", tags=["images"])

_SLACK = 0.01
"""Pixels that a coordinate may lie outside: browsers scale, and 1023.9999 + 0.0002 is the edge."""


@router.post("/{image_id}/segment", summary="Segment by clicks", responses=problems(404, 422))
def segment(request: Request, key: Annotator, image_id: ImageId, body: SegmentRequest) -> Segmented:
    """One instance from clicks, a box and the mask so far; or a mask for each of several boxes, in order.

    The first answer about an image takes longer than the next ones: its embedding is kept.
    """
    state = state_of(request)
    found = state.dataset.GetImage(dataset_pb2.GetImageRequest(tenant=key.tenant, image_id=image_id))
    wrong = list(_wrong(body, found.image))
    if wrong:
        text = "; ".join(f"{error.field}: {error.detail}" for error in wrong[:5])
        raise WrongFields(f"what was sent does not fit the image: {text}", wrong)
    asked = segmenter_pb2.SegmentPromptsRequest(
        image=found.image,
        points=[segmenter_pb2.Point(x=at.x, y=at.y, positive=at.positive) for at in body.points],
        boxes=[concepts_pb2.Box(x=x, y=y, width=w, height=h) for x, y, w, h in body.boxes],
    )
    if body.mask is not None:
        height, width = body.mask.size
        asked.mask.CopyFrom(concepts_pb2.Mask(counts=body.mask.counts.encode(), height=height, width=width))
    made = state.segmenter.SegmentPrompts(asked).masks
    return Segmented(masks=[views.mask(one) for one in made], model=views.model(made[0].provenance.model))


def _wrong(body: SegmentRequest, image: records_pb2.Image) -> Iterator[FieldError]:
    """What lies outside the image or is not of its size."""
    size = f"the image is {image.width} x {image.height} pixels"
    for at, point in enumerate(body.points):
        if point.x > image.width + _SLACK or point.y > image.height + _SLACK:
            yield FieldError(field=f"points.{at}", detail=f"({point.x:g}, {point.y:g}) is outside: {size}")
    for at, (x, y, width, height) in enumerate(body.boxes):
        if x + width > image.width + _SLACK or y + height > image.height + _SLACK:
            reach = f"it reaches to ({x + width:g}, {y + height:g})"
            yield FieldError(field=f"boxes.{at}", detail=f"{reach}: {size}")
    if body.mask is None:
        return
    if body.mask.size != (image.height, image.width):
        sent = f"{body.mask.size[1]} x {body.mask.size[0]}"
        yield FieldError(field="mask.size", detail=f"the mask is {sent} pixels: {size}")
        return
    try:
        masks.check(body.mask.counts.encode(), image.height, image.width)
    except InvalidInput as error:
        yield FieldError(field="mask.counts", detail=str(error))
