"""The Kafka door: images.submitted -> images.proposed."""

from __future__ import annotations

from services.kit.bus import topics
from services.kit.bus.stage import StageHandler
from services.kit.bus.worker import Worker
from services.kit.service import Adapters
from services.kit.state.cancelled import CancelledJobs
from services.proposer.handlers import Proposer
from services.proposer.settings import ProposerSettings

GROUP = "proposer"


def worker(proposer: Proposer, adapters: Adapters, settings: ProposerSettings) -> Worker:
    """The consumer group's member of this process."""
    return Worker(
        bus=adapters.bus,
        group=GROUP,
        topics=[topics.IMAGES_SUBMITTED],
        handler=StageHandler(
            source=topics.IMAGES_SUBMITTED,
            target=topics.IMAGES_PROPOSED,
            work=proposer.propose,
            images=proposer.images,
            threads=settings.proposer_threads,
        ),
        clock=adapters.clock,
        skip=CancelledJobs(adapters.redis).skip,
    )
