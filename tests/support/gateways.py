"""A gateway over the embedded adapters, as a client sees it, and images to give it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from gateway import bootstrap
from gateway.fetching import Resolve, resolve_by_system
from gateway.schemas import Role
from gateway.settings import GatewaySettings
from services.core.errors import Unavailable
from services.kit.blobs.store import connect
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.ports import Bus
from services.kit.bus.topics import IMAGES_SUBMITTED, JOBS_EVENTS
from services.kit.clock import Clock, SystemClock
from services.kit.inference.ports import Answer, Tensors
from services.kit.service import Adapters
from services.kit.state.embedded import embedded
from tercet.v1 import concepts_pb2, records_pb2


class NoModels:
    """Inference that serves nothing: the gateway only lists models."""

    def infer(self, model: str, inputs: Tensors) -> Answer:
        raise Unavailable(f"no model {model}")

    def ready(self, model: str) -> bool:
        return False

    def models(self) -> Sequence[concepts_pb2.ModelVersion]:
        return []

    def close(self) -> None:
        return


def adapters(folder: Path, *, bus: Bus | None = None, clock: Clock | None = None) -> Adapters:
    """Everything embedded, blobs below the folder."""
    return Adapters(
        bus=bus if bus is not None else EmbeddedBus(),
        redis=embedded(),
        blobs=connect(f"file://{folder}/blobs"),
        inference=NoModels(),
        clock=clock if clock is not None else SystemClock(),
    )


@dataclass
class Running:
    """A gateway that serves."""

    client: TestClient
    gateway: bootstrap.Gateway
    adapters: Adapters

    def key(self, *roles: Role, tenant: str = "default") -> dict[str, str]:
        """Headers of a new key."""
        _, token = self.gateway.state.keys.create(
            name="test", tenant=tenant, roles=roles or ("admin",), created_by="test"
        )
        return {"Authorization": f"Bearer {token}"}

    def jobs(self) -> list[records_pb2.JobEvent]:
        """Everything on jobs.events."""
        return [
            records_pb2.JobEvent.FromString(record.value) for record in self.adapters.bus.read([JOBS_EVENTS])
        ]

    def images(self) -> list[records_pb2.ImageSubmitted]:
        """Everything on images.submitted."""
        return [
            records_pb2.ImageSubmitted.FromString(record.value)
            for record in self.adapters.bus.read([IMAGES_SUBMITTED])
        ]


@contextmanager
def running(parts: Adapters, *, resolve: Resolve = resolve_by_system, **settings: Any) -> Iterator[Running]:
    """A gateway with the settings, behind a client with an admin's key of tenant `default`."""
    given = {
        "rpc_attempts": 1,
        "rpc_timeout": 5.0,
        "dataset_address": "unix:/nonexistent/dataset.sock",
        **settings,
    }
    gateway = bootstrap.build(parts, GatewaySettings(**given), resolve=resolve)
    try:
        with TestClient(gateway.app, raise_server_exceptions=False) as client:
            found = Running(client, gateway, parts)
            client.headers.update(found.key())
            yield found
    finally:
        gateway.stop()
        gateway.close()


def png(seed: int = 0, width: int = 32, height: int = 24, mode: str = "RGB") -> bytes:
    """A noisy picture; each seed another."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(encoded, format="PNG")
    return encoded.getvalue()


def files(*named: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Images as parts of a form."""
    return [("images", item) for item in named]
