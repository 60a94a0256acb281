"""The segmenter's one composition root."""

from __future__ import annotations

from functools import partial

from services.core import phrases
from services.core.ontology import Ontology
from services.kit.blobs.images import ImageStore
from services.kit.bus.stage import StageHandler
from services.kit.bus.topics import IMAGES_PROPOSED, IMAGES_SEGMENTED
from services.kit.service import Adapters, Service
from services.segmenter.contents import RecentContents
from services.segmenter.grpc import SegmenterServicer
from services.segmenter.handlers import Segmenter
from services.segmenter.settings import SegmenterSettings
from services.segmenter.strategies import concept_segmenter
from tercet.v1 import segmenter_pb2, segmenter_pb2_grpc


def build(adapters: Adapters, settings: SegmenterSettings) -> Service:
    """The service, not yet running."""
    images = ImageStore(adapters.blobs)
    segmenter = Segmenter(
        inference=adapters.inference,
        concepts=concept_segmenter(adapters.inference, adapters.clock, settings),
        images=images,
        contents=RecentContents(images, settings.click_cache_bytes),
        ontology=Ontology.load(settings.ontology),
        clock=adapters.clock,
        settings=settings,
    )
    stage = StageHandler(
        IMAGES_PROPOSED, IMAGES_SEGMENTED, segmenter.segment, images, settings.segmenter_threads
    )
    return Service(
        name="segmenter",
        grpc_service=segmenter_pb2.DESCRIPTOR.services_by_name["SegmenterService"].full_name,
        register=partial(
            segmenter_pb2_grpc.add_SegmenterServiceServicer_to_server, SegmenterServicer(segmenter)
        ),
        workers=[stage.worker("segmenter", adapters)],
        models=segmenter.concepts.models,
        warm_up=phrases.warm_up,
    )
