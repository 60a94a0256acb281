"""The composition root of the dataset service."""

from __future__ import annotations

import grpc

from services.dataset import workers
from services.dataset.grpc import GRPC_SERVICE, DatasetServicer
from services.dataset.handlers import Answering, Recording
from services.dataset.settings import DatasetSettings
from services.dataset.showing import Showing
from services.dataset.view import JobView
from services.kit.service import Adapters, Service
from services.kit.state.cancelled import CancelledJobs
from tercet.v1 import dataset_pb2_grpc


def build(adapters: Adapters, settings: DatasetSettings) -> Service:
    """The dataset service over the adapters, not yet running."""
    view = JobView(adapters.redis)
    recording = Recording(view, adapters.blobs, CancelledJobs(adapters.redis))
    answering = Answering(view, adapters.blobs, adapters.clock, settings)
    showing = Showing(view, adapters.blobs, settings)

    def register(server: grpc.Server) -> None:
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetServicer(answering, showing), server)

    return Service(
        name="dataset",
        grpc_service=GRPC_SERVICE,
        register=register,
        workers=(workers.worker(adapters.bus, recording, adapters.clock),),
        rebuild=lambda: workers.rebuild(adapters.bus, adapters.redis, recording),
    )
