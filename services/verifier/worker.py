"""The Kafka door: images.segmented -> images.verified."""

from __future__ import annotations

from services.kit.bus import topics
from services.kit.bus.stage import StageHandler
from services.kit.bus.worker import Worker
from services.kit.service import Adapters
from services.kit.state.cancelled import CancelledJobs
from services.verifier.handlers import Verifier
from services.verifier.settings import VerifierSettings

GROUP = "verifier"


def worker(verifier: Verifier, adapters: Adapters, settings: VerifierSettings) -> Worker:
    """The consumer group's member of this process."""
    return Worker(
        bus=adapters.bus,
        group=GROUP,
        topics=[topics.IMAGES_SEGMENTED],
        handler=StageHandler(
            source=topics.IMAGES_SEGMENTED,
            target=topics.IMAGES_VERIFIED,
            work=verifier.verify,
            images=verifier.images,
            threads=settings.verifier_threads,
        ),
        clock=adapters.clock,
        skip=CancelledJobs(adapters.redis).skip,
    )
