"""What a Redis view holds, comparable, and a service's workers run to the end of the log without threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from services.kit.bus.outcomes import Done, Handler
from services.kit.bus.ports import Bus, Record


def dump(state: redis.Redis, prefix: str) -> dict[str, Any]:
    """Every key below the prefix with its value; a HyperLogLog by its count, since its bytes may differ."""
    found: dict[str, Any] = {}
    for key in sorted(state.scan_iter(match=f"{prefix}*", count=1000)):
        kind = state.type(key)
        if kind == b"hash":
            found[key.decode()] = dict(sorted(state.hgetall(key).items()))
        elif kind == b"set":
            found[key.decode()] = state.smembers(key)
        elif kind == b"zset":
            found[key.decode()] = state.zrange(key, 0, -1, withscores=True)
        elif ":accepted:" in key.decode():
            found[key.decode()] = state.pfcount(key)
        else:
            found[key.decode()] = state.get(key)
    return found


def drain(bus: Bus, *members: tuple[str, Sequence[str], Handler]) -> int:
    """Run groups (name, topics, handler) until none finds a record; how many records were worked."""
    consumers = [(bus.subscribe(group=group, topics=topics), handler) for group, topics, handler in members]
    worked = 0
    try:
        while True:
            found = 0
            for consumer, handler in consumers:
                records: Sequence[Record] = consumer.poll(max_records=16, timeout=0.0)
                if not records:
                    continue
                outcomes = handler(records)
                outputs = [
                    message
                    for outcome in outcomes
                    if isinstance(outcome, Done)
                    for message in outcome.outputs
                ]
                assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes
                consumer.commit(records, outputs)
                found += len(records)
            worked += found
            if not found:
                return worked
    finally:
        for consumer, _ in consumers:
            consumer.close()
