"""The proposer's one composition root."""

from __future__ import annotations

from functools import partial

from services.core import phrases
from services.core.ontology import Ontology
from services.kit.blobs.images import ImageStore
from services.kit.bus.stage import StageHandler
from services.kit.bus.topics import IMAGES_PROPOSED, IMAGES_SUBMITTED
from services.kit.service import Adapters, Service
from services.proposer.grpc import ProposerServicer
from services.proposer.handlers import CONCEPT_GROUNDER, CONCEPT_PROPOSER, SAM, Proposer
from services.proposer.settings import ProposerSettings
from services.proposer.sweep import Sweep
from tercet.v1 import proposer_pb2, proposer_pb2_grpc


def build(adapters: Adapters, settings: ProposerSettings) -> Service:
    """The service, not yet running."""
    images = ImageStore(adapters.blobs)
    proposer = Proposer(
        inference=adapters.inference,
        images=images,
        ontology=Ontology.load(settings.ontology),
        sweep=Sweep.load(settings.sweep),
        clock=adapters.clock,
        settings=settings,
    )
    stage = StageHandler(
        IMAGES_SUBMITTED, IMAGES_PROPOSED, proposer.propose, images, settings.proposer_threads
    )
    return Service(
        name="proposer",
        grpc_service=proposer_pb2.DESCRIPTOR.services_by_name["ProposerService"].full_name,
        register=partial(proposer_pb2_grpc.add_ProposerServiceServicer_to_server, ProposerServicer(proposer)),
        workers=[stage.worker("proposer", adapters)],
        models=(CONCEPT_PROPOSER, CONCEPT_GROUNDER, SAM),
        warm_up=phrases.warm_up,
    )
