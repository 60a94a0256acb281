"""The Kafka door: images.proposed -> images.segmented."""

from __future__ import annotations

from services.kit.bus import topics
from services.kit.bus.stage import StageHandler
from services.kit.bus.worker import Worker
from services.kit.service import Adapters
from services.kit.state.cancelled import CancelledJobs
from services.segmenter.handlers import Segmenter
from services.segmenter.settings import SegmenterSettings

GROUP = "segmenter"


def worker(segmenter: Segmenter, adapters: Adapters, settings: SegmenterSettings) -> Worker:
    """The consumer group's member of this process."""
    return Worker(
        bus=adapters.bus,
        group=GROUP,
        topics=[topics.IMAGES_PROPOSED],
        handler=StageHandler(
            source=topics.IMAGES_PROPOSED,
            target=topics.IMAGES_SEGMENTED,
            work=segmenter.segment,
            images=segmenter.images,
            threads=settings.segmenter_threads,
        ),
        clock=adapters.clock,
        skip=CancelledJobs(adapters.redis).skip,
    )
