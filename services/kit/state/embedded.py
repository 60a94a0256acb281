"""State inside the process: fakeredis, Lua included, behind the same redis-py code."""

from __future__ import annotations

import redis


def embedded() -> redis.Redis:
    """An empty store, shared by every thread that has the client; it is rebuilt from the log at start."""
    # Imported here: it is not needed, and takes half a second, where there is a real Redis.
    import fakeredis

    return fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=False)
