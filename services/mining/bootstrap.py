"""The composition root of mining."""

from __future__ import annotations

import grpc

from services.core import phrases
from services.kit.blobs.images import ImageStore
from services.kit.service import Adapters, Service
from services.kit.state.cancelled import CancelledJobs
from services.mining import workers
from services.mining.grpc import GRPC_SERVICE, MiningServicer
from services.mining.handlers import Routing
from services.mining.reviewing import Reviewing
from services.mining.settings import MiningSettings
from services.mining.view import TaskView
from tercet.v1 import mining_pb2_grpc


def build(adapters: Adapters, settings: MiningSettings) -> Service:
    """Mining over the adapters, not yet running."""
    view = TaskView(adapters.redis)
    routing = Routing(view, ImageStore(adapters.blobs), adapters.blobs, adapters.clock, settings)
    reviewing = Reviewing(view, adapters.bus, adapters.clock, settings)

    def register(server: grpc.Server) -> None:
        mining_pb2_grpc.add_MiningServiceServicer_to_server(MiningServicer(reviewing), server)

    return Service(
        name="mining",
        grpc_service=GRPC_SERVICE,
        register=register,
        workers=(
            workers.router(adapters.bus, routing, adapters.clock, CancelledJobs(adapters.redis).skip),
            workers.viewer(adapters.bus, routing, adapters.clock),
        ),
        rebuild=lambda: workers.rebuild(adapters.bus, adapters.redis, routing),
        warm_up=phrases.warm_up,
    )
