"""The gRPC door of mining: requests in, answers out. What they mean is in `reviewing`."""

from __future__ import annotations

import grpc

from services.mining.reviewing import Reviewing
from tercet.v1 import mining_pb2, mining_pb2_grpc

GRPC_SERVICE = "tercet.v1.MiningService"


class MiningServicer(mining_pb2_grpc.MiningServiceServicer):
    """Delegates to `Reviewing`; errors become statuses in the server's interceptor."""

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviewing = reviewing

    def LeaseTask(
        self, request: mining_pb2.LeaseTaskRequest, context: grpc.ServicerContext
    ) -> mining_pb2.LeaseTaskResponse:
        return self._reviewing.lease(request)

    def TakeTask(
        self, request: mining_pb2.TakeTaskRequest, context: grpc.ServicerContext
    ) -> mining_pb2.TakeTaskResponse:
        return self._reviewing.take(request)

    def UndoReview(
        self, request: mining_pb2.UndoReviewRequest, context: grpc.ServicerContext
    ) -> mining_pb2.UndoReviewResponse:
        return self._reviewing.undo(request)

    def RenewLease(
        self, request: mining_pb2.RenewLeaseRequest, context: grpc.ServicerContext
    ) -> mining_pb2.RenewLeaseResponse:
        return self._reviewing.renew(request)

    def SubmitReview(
        self, request: mining_pb2.SubmitReviewRequest, context: grpc.ServicerContext
    ) -> mining_pb2.SubmitReviewResponse:
        return self._reviewing.submit(request)

    def SkipTask(
        self, request: mining_pb2.SkipTaskRequest, context: grpc.ServicerContext
    ) -> mining_pb2.SkipTaskResponse:
        _give_back(self._reviewing, request, skip=True)
        return mining_pb2.SkipTaskResponse()

    def ReleaseTask(
        self, request: mining_pb2.ReleaseTaskRequest, context: grpc.ServicerContext
    ) -> mining_pb2.ReleaseTaskResponse:
        _give_back(self._reviewing, request, skip=False)
        return mining_pb2.ReleaseTaskResponse()

    def QueueStats(
        self, request: mining_pb2.QueueStatsRequest, context: grpc.ServicerContext
    ) -> mining_pb2.QueueStatsResponse:
        return self._reviewing.stats(request)


def _give_back(
    reviewing: Reviewing, request: mining_pb2.SkipTaskRequest | mining_pb2.ReleaseTaskRequest, *, skip: bool
) -> None:
    reviewing.give_back(
        request.tenant, request.task_id, request.lease_id, skip=skip, annotator=request.annotator
    )
