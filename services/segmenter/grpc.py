"""The gRPC door: convert, call, convert back."""

from __future__ import annotations

import grpc

from services.core.errors import InvalidInput
from services.segmenter.handlers import Segmenter
from tercet.v1 import segmenter_pb2, segmenter_pb2_grpc

MAX_POINTS_PER_SIDE = 64


class SegmenterServicer(segmenter_pb2_grpc.SegmenterServiceServicer):
    """`tercet.v1.SegmenterService`."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def SegmentConcepts(
        self, request: segmenter_pb2.SegmentConceptsRequest, context: grpc.ServicerContext
    ) -> segmenter_pb2.SegmentConceptsResponse:
        pairs = self._segmenter.segment_concepts(request.image, request.phrases)
        return segmenter_pb2.SegmentConceptsResponse(pairs=pairs)

    def SegmentPrompts(
        self, request: segmenter_pb2.SegmentPromptsRequest, context: grpc.ServicerContext
    ) -> segmenter_pb2.SegmentPromptsResponse:
        if request.HasField("box") and request.boxes:
            raise InvalidInput("send box or boxes, not both")
        found = self._segmenter.segment_prompts(
            request.image,
            request.points,
            [request.box] if request.HasField("box") else request.boxes,
            request.mask if request.HasField("mask") else None,
        )
        return segmenter_pb2.SegmentPromptsResponse(mask=found[0], masks=found)

    def SegmentEverything(
        self, request: segmenter_pb2.SegmentEverythingRequest, context: grpc.ServicerContext
    ) -> segmenter_pb2.SegmentEverythingResponse:
        if not 0 <= request.points_per_side <= MAX_POINTS_PER_SIDE:
            raise InvalidInput(
                f"points_per_side is {request.points_per_side}; send 0 to {MAX_POINTS_PER_SIDE}"
            )
        found = self._segmenter.segment_everything(request.image, request.points_per_side)
        return segmenter_pb2.SegmentEverythingResponse(masks=found)
