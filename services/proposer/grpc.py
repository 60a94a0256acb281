"""The gRPC door: convert, call, convert back."""

from __future__ import annotations

import grpc

from services.core.errors import InvalidInput
from services.proposer.handlers import Proposer
from tercet.v1 import proposer_pb2, proposer_pb2_grpc


class ProposerServicer(proposer_pb2_grpc.ProposerServiceServicer):
    """`tercet.v1.ProposerService`."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer

    def ProposeRegions(
        self, request: proposer_pb2.ProposeRegionsRequest, context: grpc.ServicerContext
    ) -> proposer_pb2.ProposeRegionsResponse:
        regions = self._proposer.propose_regions(request.image)
        return proposer_pb2.ProposeRegionsResponse(regions=regions)

    def ProposeConcepts(
        self, request: proposer_pb2.ProposeConceptsRequest, context: grpc.ServicerContext
    ) -> proposer_pb2.ProposeConceptsResponse:
        _not_negative("max_phrases", request.max_phrases)
        phrases = self._proposer.propose_concepts(request.image, request.max_phrases)
        return proposer_pb2.ProposeConceptsResponse(phrases=phrases)

    def ProposeHardNegatives(
        self, request: proposer_pb2.ProposeHardNegativesRequest, context: grpc.ServicerContext
    ) -> proposer_pb2.ProposeHardNegativesResponse:
        _not_negative("max_negatives", request.max_negatives)
        negatives = self._proposer.propose_hard_negatives(
            request.image, request.present, request.max_negatives
        )
        return proposer_pb2.ProposeHardNegativesResponse(negatives=negatives)


def _not_negative(name: str, value: int) -> None:
    if value < 0:
        raise InvalidInput(f"{name} is {value}; send 0 or more")
