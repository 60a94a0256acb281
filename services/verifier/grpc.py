"""The gRPC door: convert, call, convert back."""

from __future__ import annotations

import grpc

from services.verifier.handlers import Verifier
from tercet.v1 import verifier_pb2, verifier_pb2_grpc


class VerifierServicer(verifier_pb2_grpc.VerifierServiceServicer):
    """`tercet.v1.VerifierService`."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def VerifyMasks(
        self, request: verifier_pb2.VerifyMasksRequest, context: grpc.ServicerContext
    ) -> verifier_pb2.VerifyMasksResponse:
        pairs = self._verifier.verify_masks(request.image, request.pairs)
        return verifier_pb2.VerifyMasksResponse(pairs=pairs)

    def VerifyExhaustivity(
        self, request: verifier_pb2.VerifyExhaustivityRequest, context: grpc.ServicerContext
    ) -> verifier_pb2.VerifyExhaustivityResponse:
        pairs = self._verifier.verify_exhaustivity(request.image, request.pairs)
        return verifier_pb2.VerifyExhaustivityResponse(pairs=pairs)

    def VerifyNegatives(
        self, request: verifier_pb2.VerifyNegativesRequest, context: grpc.ServicerContext
    ) -> verifier_pb2.VerifyNegativesResponse:
        verifications = self._verifier.verify_negatives(request.image, request.phrases)
        return verifier_pb2.VerifyNegativesResponse(verifications=verifications)
