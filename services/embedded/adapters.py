"""The ports of the one-process mode."""

from __future__ import annotations

from functools import partial

from services.embedded.settings import EmbeddedSettings
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus.embedded import EmbeddedBus
from services.kit.clock import SystemClock
from services.kit.inference.embedded import EmbeddedInference
from services.kit.service import Adapters
from services.kit.state.embedded import embedded as embedded_state
from services.networks import serving

LOG_FILE = "log.sqlite"


def connect(settings: EmbeddedSettings) -> Adapters:
    """A durable log and blobs below the state folder; state and models in memory, models loaded when used.

    Raises `Conflict` when another process has the log open.
    """
    settings.state.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    return Adapters(
        bus=EmbeddedBus(settings.state / LOG_FILE, clock=clock),
        redis=embedded_state(),
        blobs=connect_blobs(settings.blobs_url, attempts=settings.blob_attempts, clock=clock),
        inference=EmbeddedInference(
            {name: partial(serving.load, name) for name in serving.NAMES}, settings=settings
        ),
        clock=clock,
    )
