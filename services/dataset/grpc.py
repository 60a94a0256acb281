"""The gRPC door of the dataset service: requests in, answers out. What they mean is in `handlers`."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc

from services.dataset.handlers import Answering
from services.dataset.showing import Showing
from tercet.v1 import dataset_pb2, dataset_pb2_grpc

GRPC_SERVICE = "tercet.v1.DatasetService"


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    """Delegates to `Answering` and `Showing`; errors become statuses in the server's interceptor."""

    def __init__(self, answering: Answering, showing: Showing) -> None:
        self._answering = answering
        self._showing = showing

    def ListJobs(
        self, request: dataset_pb2.ListJobsRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.ListJobsResponse:
        return self._answering.list_jobs(request)

    def GetJob(self, request: dataset_pb2.GetJobRequest, context: grpc.ServicerContext) -> dataset_pb2.Job:
        return self._answering.job(request.tenant, request.job_id)

    def WatchJob(
        self, request: dataset_pb2.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[dataset_pb2.Job]:
        ended = threading.Event()
        context.add_callback(ended.set)
        return self._answering.watch(request.tenant, request.job_id, ended, context.is_active)

    def ListJobImages(
        self, request: dataset_pb2.ListJobImagesRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.ListJobImagesResponse:
        return self._answering.list_images(request)

    def GetImage(
        self, request: dataset_pb2.GetImageRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.ImageInfo:
        return self._answering.image(request.tenant, request.image_id)

    def GetAnnotations(
        self, request: dataset_pb2.GetAnnotationsRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.GetAnnotationsResponse:
        found = self._answering.annotations(request)
        if request.waiting and found.job_id:
            waiting = self._showing.waiting(request.tenant, found.job_id, request.image_id)
            found.pairs.extend(waiting)
            found.pairs.sort(key=lambda pair: pair.phrase)
        return found

    def CreateExport(
        self, request: dataset_pb2.CreateExportRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.Export:
        return self._answering.create_export(request)

    def GetExport(
        self, request: dataset_pb2.GetExportRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.Export:
        return self._answering.export(request.tenant, request.export_id)

    def ListExports(
        self, request: dataset_pb2.ListExportsRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.ListExportsResponse:
        return self._answering.list_exports(request.tenant)

    def Report(
        self, request: dataset_pb2.ReportRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.ReportResponse:
        return self._answering.report(request)

    def ListPairs(
        self, request: dataset_pb2.ListPairsRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.ListPairsResponse:
        return self._showing.pairs(request)

    def ListPhrases(
        self, request: dataset_pb2.ListPhrasesRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.ListPhrasesResponse:
        return self._showing.phrases(request)

    def Statistics(
        self, request: dataset_pb2.StatisticsRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.StatisticsResponse:
        return self._showing.statistics(request)
