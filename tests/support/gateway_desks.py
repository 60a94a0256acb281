"""People at work over REST: the real gateway, mining and dataset services over the embedded adapters.

The models' part is played by writing what the verifier would write for each submitted image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from gateway import bootstrap
from gateway.client import Client, ClientSettings, JobOptions, Upload
from gateway.schemas import Role
from gateway.settings import GatewaySettings
from services.core import masks
from services.dataset.bootstrap import build as build_dataset
from services.dataset.settings import DatasetSettings
from services.kit.bus.topics import (
    ANNOTATIONS_ACCEPTED,
    IMAGES_SUBMITTED,
    IMAGES_VERIFIED,
    REVIEW_COMPLETED,
    encode,
)
from services.kit.clock import SystemClock
from services.kit.running import start
from services.kit.service import Adapters
from services.mining.bootstrap import build as build_mining
from services.mining.settings import MiningSettings
from tercet.v1 import concepts_pb2, records_pb2
from tests.support import runs
from tests.support.gateways import adapters, png
from tests.support.http import serving
from tests.support.polling import eventually

HEIGHT, WIDTH = 24, 32
LEASE_SECONDS = 300.0
UNDO_SECONDS = 600.0
MASKS_A_PAIR = 3


class MovableClock(SystemClock):
    """The machine's clock, set forward by tests; waiting takes the time that it takes."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@dataclass
class Desk:
    """The running parts, and people at work."""

    url: str
    gateway: bootstrap.Gateway
    adapters: Adapters
    clock: MovableClock
    http: httpx.Client
    open: ExitStack

    def person(self, *roles: Role, tenant: str = "default") -> Client:
        """A client of a new person."""
        _, token = self.gateway.state.keys.create(
            name="test", tenant=tenant, roles=roles or ("annotator",), created_by="test"
        )
        return self.open.enter_context(Client(ClientSettings(url=self.url, api_key=token, attempts=1)))

    def submit(self, *pairs: concepts_pb2.Pair, images: int = 1, **options: Any) -> str:
        """A stage 2 job, unless told otherwise, that the models are done with: its id."""
        uploads = [Upload(f"{seed}.png", png(seed), len(png(seed))) for seed in range(images)]
        asked = {"stage": "semi_automatic", "exhaustivity_rate": 0.0, **options}
        job_id = self.person("submitter").submit(uploads, JobOptions(**asked)).id
        regions = [concepts_pb2.Region(box=square(3).box, mask=square(3))]
        messages = []
        for record in self.adapters.bus.read([IMAGES_SUBMITTED]):
            sent = records_pb2.ImageSubmitted.FromString(record.value)
            if sent.run.job_id == job_id:
                done = records_pb2.ImageVerified(image=sent.image, run=sent.run, pairs=pairs)
                if sent.run.spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
                    done.regions.extend(regions)
                messages.append(
                    encode(IMAGES_VERIFIED, done, key=sent.image.id, tenant="default", job_id=job_id)
                )
        assert len(messages) == images
        self.adapters.bus.publish(messages)
        return job_id

    def post(self, who: Client, path: str, body: Any) -> httpx.Response:
        """The answer to a request as a browser makes it."""
        return self.http.post(path, json=body, headers=bearer(who))

    def accepted(self) -> list[records_pb2.AnnotationsAccepted]:
        found = self.adapters.bus.read([ANNOTATIONS_ACCEPTED])
        return [records_pb2.AnnotationsAccepted.FromString(record.value) for record in found]

    def decisions(self) -> list[records_pb2.ReviewDecision]:
        found = self.adapters.bus.read([REVIEW_COMPLETED])
        return [records_pb2.ReviewCompleted.FromString(record.value).decision for record in found]


@contextmanager
def running(folder: Path) -> Iterator[Desk]:
    """The gateway behind a real socket, mining and dataset; stopped at the end."""
    clock = MovableClock()
    parts = adapters(folder, clock=clock)
    at = {name: f"unix:{folder}/{name}.sock" for name in ("mining", "dataset")}
    mining = MiningSettings(
        mining_lease_seconds=LEASE_SECONDS,
        mining_undo_seconds=UNDO_SECONDS,
        mining_masks_a_pair=MASKS_A_PAIR,
    )
    services = [
        start(build_mining(parts, mining), parts, at["mining"], settings=mining),
        start(build_dataset(parts, DatasetSettings()), parts, at["dataset"], settings=DatasetSettings()),
    ]
    settings = GatewaySettings(dataset_address=at["dataset"], mining_address=at["mining"], rpc_attempts=1)
    gateway = bootstrap.build(parts, settings)
    try:
        assert all(service.wait_ready(30) for service in services)
        with ExitStack() as stack:
            url = stack.enter_context(serving(gateway.app))
            http = stack.enter_context(httpx.Client(base_url=url, timeout=30))
            yield Desk(url, gateway, parts, clock, http, stack)
    finally:
        gateway.stop()
        gateway.close()
        for service in services:
            service.stop(10)


def bearer(who: Client) -> dict[str, str]:
    key = who.settings.key()
    return {"Authorization": f"Bearer {key}"}


def square(x: int = 2, side: int = 6) -> concepts_pb2.Mask:
    """A square mask made by a model."""
    pixels = drawn(x, side)
    counts = masks.encode(pixels)
    left, top, width, height = masks.box(counts, HEIGHT, WIDTH)
    return concepts_pb2.Mask(
        counts=counts,
        height=HEIGHT,
        width=WIDTH,
        box=concepts_pb2.Box(x=left, y=top, width=width, height=height),
        area=side * side,
        provenance=concepts_pb2.Provenance(model=concepts_pb2.ModelVersion(name="sam", version="1")),
    )


def drawn(x: int, side: int) -> Any:
    """A square as a person draws it: bool [HEIGHT, WIDTH]."""
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    pixels[2 : 2 + side, x : x + side] = True
    return pixels


def positive(phrase: str, score: float = 0.8) -> concepts_pb2.Pair:
    return runs.pair(phrase, concepts_pb2.VERDICT_REVIEW, score=score, masks=[square()])


def lease(who: Client, count: int = 1, **filters: Any) -> list[Any]:
    """So many tasks, once mining has read of them; one after the other keeps none back for nobody."""
    found: list[Any] = []

    def enough() -> bool:
        found.extend(who.lease_reviews(most=count - len(found), **filters))
        return len(found) == count

    eventually(enough)
    return found


def decision(held: Any, **changes: Any) -> dict[str, Any]:
    return {"id": "d-1", "lease_id": held.lease_id, "kind": "accept", "active_seconds": 1.5, **changes}


def rle(x: int = 2, side: int = 6, **changes: Any) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": masks.encode(drawn(x, side)).decode(), **changes}


def pair_with(*drawn_masks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"kind": "edit", "pairs": [{"phrase": "dog", "masks": list(drawn_masks), **changes}]}
