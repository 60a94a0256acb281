"""The proposer's one composition root."""

from __future__ import annotations

from functools import partial

from services.core import phrases
from services.core.ontology import Ontology
from services.kit.blobs.images import ImageStore
from services.kit.service import Adapters, Service
from services.proposer.grpc import ProposerServicer
from services.proposer.handlers import CONCEPT_PROPOSER, SAM, Proposer
from services.proposer.settings import ProposerSettings
from services.proposer.worker import GROUP, worker
from tercet.v1 import proposer_pb2, proposer_pb2_grpc


def build(adapters: Adapters, settings: ProposerSettings) -> Service:
    """The service, not yet running."""
    proposer = Proposer(
        inference=adapters.inference,
        images=ImageStore(adapters.blobs),
        ontology=Ontology.load(settings.ontology),
        clock=adapters.clock,
        settings=settings,
    )
    return Service(
        name=GROUP,
        grpc_service=proposer_pb2.DESCRIPTOR.services_by_name["ProposerService"].full_name,
        register=partial(proposer_pb2_grpc.add_ProposerServiceServicer_to_server, ProposerServicer(proposer)),
        workers=[worker(proposer, adapters, settings)],
        models=(CONCEPT_PROPOSER, SAM),
        warm_up=phrases.warm_up,
    )
