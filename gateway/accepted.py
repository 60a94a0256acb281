"""Jobs that were just accepted: what `GET /v1/jobs/{id}` answers until the dataset service knows them."""

from __future__ import annotations

from typing import Final

import redis

from services.core.errors import Unavailable
from services.kit.logging import get_logger
from tercet.v1 import records_pb2

_LOG = get_logger(__name__)
_SECONDS: Final = 3600


class AcceptedJobs:
    """The JobCreated events of the last hour, in Redis. It is a courtesy: without Redis nothing breaks."""

    def __init__(self, state: redis.Redis) -> None:
        self._state = state

    def remember(self, event: records_pb2.JobEvent) -> None:
        """Keep a job's creation."""
        key = _key(event.tenant, event.job_id)
        try:
            self._state.set(key, event.SerializeToString(deterministic=True), ex=_SECONDS)
        except Unavailable as error:
            _LOG.warning("accepted job not remembered", job_id=event.job_id, reason=str(error))

    def recall(self, tenant: str, job_id: str) -> records_pb2.JobEvent | None:
        """The tenant's job's creation, where it is recent."""
        try:
            stored = self._state.get(_key(tenant, job_id))
        except Unavailable:
            return None
        return records_pb2.JobEvent.FromString(stored) if isinstance(stored, bytes) else None


def _key(tenant: str, job_id: str) -> str:
    return f"tercet:gateway:accepted:{tenant}:{job_id}"
