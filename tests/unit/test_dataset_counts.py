"""A job's counts are of one moment, whatever moves meanwhile."""

from __future__ import annotations

import threading

from services.kit.bus.topics import IMAGES_PROPOSED, IMAGES_SEGMENTED, IMAGES_SUBMITTED, JOBS_EVENTS
from tercet.v1 import records_pb2
from tests.support import runs
from tests.support.dataset_logs import Log, created
from tests.support.hand_fed_dataset import Service

IMAGES = 40


def test_no_image_is_counted_twice_or_not_at_all_while_images_move() -> None:
    log, service = Log(), Service("counts")
    names = [f"{number}.png" for number in range(IMAGES)]
    service.take(log.write(JOBS_EVENTS, created(names), key="job-1"))
    moves = [
        log.write(topic, schema(image=runs.image(name), run=runs.run()), key=runs.image_id(name))
        for topic, schema in (
            (IMAGES_SUBMITTED, records_pb2.ImageSubmitted),
            (IMAGES_PROPOSED, records_pb2.ImageProposed),
            (IMAGES_SEGMENTED, records_pb2.ImageSegmented),
        )
        for name in names
    ]
    moved = threading.Event()

    def move() -> None:
        for record in moves:
            service.take(record)
        moved.set()

    mover = threading.Thread(target=move)
    mover.start()
    sights = set()
    while not moved.is_set():
        sights.add(sum(service.job().counts.values()))
    mover.join()
    assert sights == {IMAGES}
