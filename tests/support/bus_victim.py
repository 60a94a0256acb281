"""A process to be killed: works a topic into another and, from the third batch on, holds what it polled.

Says `holding` when it does. Usage: python -m tests.support.bus_victim KIND LOCATION GROUP SOURCE TARGET
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.kafka import KafkaBus
from services.kit.bus.outcomes import Outcome
from services.kit.bus.ports import Bus, Record
from services.kit.bus.worker import Worker
from services.kit.clock import SystemClock
from tests.support.bus import copy_to, kafka_settings, quick


def main(kind: str, location: str, group: str, source: str, target: str) -> None:
    bus: Bus = EmbeddedBus(location) if kind == "embedded" else KafkaBus(location, settings=kafka_settings())
    copy = copy_to(target)
    batches = 0

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        nonlocal batches
        batches += 1
        if batches > 2:
            print("holding", flush=True)
            threading.Event().wait()
        return copy(records)

    Worker(
        bus=bus,
        group=group,
        topics=[source],
        handler=handle,
        settings=quick(batch_records=10),
        clock=SystemClock(),
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
