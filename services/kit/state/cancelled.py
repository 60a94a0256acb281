"""Jobs that were cancelled, so that their records still on the way cost no model time."""

from __future__ import annotations

from typing import Final

import redis

from services.kit.bus.ports import Record

KEY: Final = "tercet:dataset:cancelled"


class CancelledJobs:
    """A set in Redis. The dataset service adds; every worker asks."""

    def __init__(self, state: redis.Redis) -> None:
        self._state = state

    def add(self, job_id: str) -> None:
        """Remember that the job was cancelled; again is no error."""
        self._state.sadd(KEY, job_id)

    def __contains__(self, job_id: object) -> bool:
        return isinstance(job_id, str) and bool(job_id) and bool(self._state.sismember(KEY, job_id))

    def skip(self, record: Record) -> bool:
        """For `Worker(skip=...)`: whether the record belongs to a cancelled job. Raises `Unavailable`."""
        return record.headers.get("job_id", "") in self
