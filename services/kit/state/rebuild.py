"""Redis is a view of the log: this makes a service's view again from nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import redis

from services.core.errors import InvalidInput
from services.kit.bus.ports import Bus, Record
from services.kit.logging import get_logger

_LOG = get_logger(__name__)
_BATCH: Final = 500


def clear(state: redis.Redis, prefix: str) -> int:
    """Forget every key that starts with the prefix, e.g. `tercet:mining:`; how many there were."""
    if not re.fullmatch(r"tercet:[a-z_]+:([a-z_]+:)*", prefix):
        raise InvalidInput(f"not a prefix of ours: {prefix!r}")
    forgotten = 0
    batch: list[bytes] = []
    for key in state.scan_iter(match=f"{prefix}*", count=_BATCH):
        batch.append(key)
        if len(batch) == _BATCH:
            forgotten += int(state.unlink(*batch))
            batch = []
    if batch:
        forgotten += int(state.unlink(*batch))
    return forgotten


def rebuild(
    *, state: redis.Redis, prefix: str, bus: Bus, topics: Sequence[str], apply: Callable[[Record], None]
) -> int:
    """Forget the view and apply every committed record of the topics again; how many there were.

    `apply` is what the service's worker does to the view with a record: idempotent, and the same whatever the
    order of records of different topics (they come topic by topic, in order within a partition). The
    service's workers must not run meanwhile.
    """
    forgotten = clear(state, prefix)
    applied = 0
    for record in bus.read(topics):
        apply(record)
        applied += 1
    _LOG.info("view rebuilt from the log", prefix=prefix, forgotten_keys=forgotten, records=applied)
    return applied
