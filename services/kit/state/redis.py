"""Redis with its troubles in our words: what comes and goes is `Unavailable`, so that work is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.client import Pipeline
from redis.exceptions import (
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry

from services.core.errors import InvalidInput, Unavailable

_T = TypeVar("_T")

# Connection and loading, a replica that was promoted or demoted, a full memory: all may pass.
_TRANSIENT: Final = (
    RedisConnectionError,
    RedisTimeoutError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    OutOfMemoryError,
)


def _translated(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except _TRANSIENT as error:
        raise Unavailable(f"Redis does not serve: {error}") from error


class _StatePipeline(Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        call = super().execute
        return _translated(lambda: call(raise_on_error))

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        call = super().immediate_execute_command
        return _translated(lambda: call(*args, **options))  # type: ignore[no-untyped-call]


class StateRedis(redis.Redis):
    """A `redis.Redis` that raises `Unavailable` where the fault is Redis's and may pass."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        call = super().execute_command
        return _translated(lambda: call(*args, **options))  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        return _StatePipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def connect(url: str, *, timeout: float = 5.0) -> redis.Redis:
    """A client for a `redis://`, `rediss://` or `unix://` URL; it connects with the first command.

    Thread-safe. Replies are bytes. A command whose connection breaks is sent again, so writes must be
    idempotent, as they are. Raises `InvalidInput` for another URL.
    """
    try:
        return StateRedis.from_url(
            url,
            decode_responses=False,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            health_check_interval=30,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), 3),
        )
    except ValueError as error:
        raise InvalidInput(f"not a Redis URL: {error}") from error
