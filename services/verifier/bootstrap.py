"""The verifier's one composition root."""

from __future__ import annotations

from functools import partial

from services.core import phrases
from services.kit.blobs.images import ImageStore
from services.kit.service import Adapters, Service
from services.verifier.domain import Calibrations
from services.verifier.grpc import VerifierServicer
from services.verifier.handlers import VERIFIER, Verifier
from services.verifier.settings import VerifierSettings
from services.verifier.worker import GROUP, worker
from tercet.v1 import verifier_pb2, verifier_pb2_grpc


def build(adapters: Adapters, settings: VerifierSettings) -> Service:
    """The service, not yet running. Raises `InvalidInput` for a calibration that is none."""
    verifier = Verifier(
        inference=adapters.inference,
        images=ImageStore(adapters.blobs),
        clock=adapters.clock,
        calibrations=Calibrations.of_points(settings.positive_calibration, settings.negative_calibration),
        settings=settings,
    )
    return Service(
        name=GROUP,
        grpc_service=verifier_pb2.DESCRIPTOR.services_by_name["VerifierService"].full_name,
        register=partial(verifier_pb2_grpc.add_VerifierServiceServicer_to_server, VerifierServicer(verifier)),
        workers=[worker(verifier, adapters, settings)],
        models=(VERIFIER,),
        warm_up=phrases.warm_up,
    )
