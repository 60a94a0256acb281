"""Sums of what was done, by job, in Redis: a view of the log (see `lua/count.lua`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import redis

from services.dataset import scripts
from services.dataset.figures import Entry


class FigureView:
    """The sums. Thread-safe."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._script = scripts.register(client, "count")["count"]

    def count(self, tenant: str, job_id: str, entries: Sequence[Entry]) -> None:
        """Things that were done; again is nothing new."""
        words = [part for entry in entries for part in entry.arguments()]
        self._script(keys=[scripts.prefix(tenant)], args=[job_id, *words])

    def take_back(self, tenant: str, job_id: str, entry: str) -> None:
        """What an entry counts no longer stands, but its time was spent."""
        self._script(keys=[scripts.prefix(tenant)], args=[job_id, "-", entry])

    def sums(self, tenant: str, job_id: str) -> Iterator[tuple[int, str, str, int]]:
        """(bucket, annotator, counter, n) of a job; bucket: the minute since the epoch that it begins at."""
        key = f"{scripts.prefix(tenant)}figures:{job_id}"
        for name, n in cast("dict[bytes, bytes]", self._redis.hgetall(key)).items():
            bucket, annotator, counter = name.decode().split("|")
            yield int(bucket), annotator, counter, int(n)
