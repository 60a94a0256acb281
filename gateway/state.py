"""What the routes work with: built once by `gateway.bootstrap`, found through the request."""

from __future__ import annotations

import threading
from concurrent.futures import Executor
from dataclasses import dataclass, field

from fastapi import Request
from prometheus_client import CollectorRegistry

from gateway.accepted import AcceptedJobs
from gateway.keys import KeyRing
from gateway.limiting import RateLimiter
from gateway.settings import GatewaySettings
from gateway.submission import Submissions
from gateway.suggestions import Suggestions
from gateway.watching import JobWatch
from services.kit.service import Adapters
from tercet.v1 import dataset_pb2_grpc, mining_pb2_grpc, proposer_pb2_grpc, segmenter_pb2_grpc


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The parts of a running gateway."""

    settings: GatewaySettings
    adapters: Adapters
    keys: KeyRing
    limiter: RateLimiter
    submissions: Submissions
    accepted: AcceptedJobs
    dataset: dataset_pb2_grpc.DatasetServiceStub
    mining: mining_pb2_grpc.MiningServiceStub
    segmenter: segmenter_pb2_grpc.SegmenterServiceStub
    proposer: proposer_pb2_grpc.ProposerServiceStub
    suggestions: Suggestions
    watch: JobWatch
    lag_registry: CollectorRegistry
    probes: Executor
    """Asks the parts whether they are there; a part that hangs takes no more than its threads."""
    draining: threading.Event = field(default_factory=threading.Event)
    """Set when the process is told to end: event streams close, `/readyz` says so."""


def state_of(request: Request) -> GatewayState:
    """The gateway that answers the request."""
    state: GatewayState = request.app.state.gateway
    return state
