"""The verifier's one composition root."""

from __future__ import annotations

from functools import partial

from services.core import phrases
from services.kit.blobs.images import ImageStore
from services.kit.bus.stage import StageHandler
from services.kit.bus.topics import IMAGES_SEGMENTED, IMAGES_VERIFIED
from services.kit.service import Adapters, Service
from services.verifier.domain import Calibrations
from services.verifier.grpc import VerifierServicer
from services.verifier.handlers import VERIFIER, Verifier
from services.verifier.settings import VerifierSettings
from tercet.v1 import verifier_pb2, verifier_pb2_grpc


def build(adapters: Adapters, settings: VerifierSettings) -> Service:
    """The service, not yet running. Raises `InvalidInput` for a calibration that is none."""
    images = ImageStore(adapters.blobs)
    verifier = Verifier(
        inference=adapters.inference,
        images=images,
        clock=adapters.clock,
        calibrations=Calibrations.of_points(settings.positive_calibration, settings.negative_calibration),
        settings=settings,
    )
    stage = StageHandler(
        IMAGES_SEGMENTED, IMAGES_VERIFIED, verifier.verify, images, settings.verifier_threads
    )
    return Service(
        name="verifier",
        grpc_service=verifier_pb2.DESCRIPTOR.services_by_name["VerifierService"].full_name,
        register=partial(verifier_pb2_grpc.add_VerifierServiceServicer_to_server, VerifierServicer(verifier)),
        workers=[stage.worker("verifier", adapters)],
        models=(VERIFIER,),
        warm_up=phrases.warm_up,
    )
