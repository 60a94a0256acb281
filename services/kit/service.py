"""What a service is made of: the adapters that it is given, and the two doors that it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import redis

from services.kit.blobs.ports import Blobs
from services.kit.bus.ports import Bus
from services.kit.bus.worker import Worker
from services.kit.clock import Clock
from services.kit.inference.ports import Inference


@dataclass(frozen=True, slots=True)
class Adapters:
    """The ports, connected: the real ones on the stack, the embedded ones in one process."""

    bus: Bus
    redis: redis.Redis
    blobs: Blobs
    inference: Inference
    clock: Clock


@dataclass(frozen=True, slots=True)
class Service:
    """A service, built and not yet running. `services.kit.process.run` or `services.embedded` starts it.

    `name` is the proto service's short name, e.g. `proposer`; `register` adds the servicer to a gRPC server;
    `grpc_service` is its full name for the health service; `workers` are the Kafka doors, each run in a
    thread; `models` are the models that must be ready before the service says SERVING; `rebuild` clears the
    service's Redis view and makes it again from the log (None for a service without one); `warm_up` loads
    what the first calls would wait for, in a thread of its own, while the service starts.
    """

    name: str
    grpc_service: str
    register: Callable[[grpc.Server], None]
    workers: Sequence[Worker]
    models: Sequence[str] = ()
    rebuild: Callable[[], None] | None = None
    warm_up: Callable[[], None] | None = None
