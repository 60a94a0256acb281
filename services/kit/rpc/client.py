"""Channels to other services: deadlines, retries, the trace passed on, and core errors raised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar, cast

import grpc

from services.kit import tracing
from services.kit.deadlines import remaining, within
from services.kit.rpc import errors, limits
from services.kit.settings import KitSettings

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

NOT_RETRIED: Final = ("tercet.v1.MiningService/LeaseTask",)
"""Calls that do more when made twice: a lease whose answer was lost would hold its task until it ends."""


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _MappedCall:
    """A call whose errors are core errors: of the future's result, and of the stream's iteration."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None

    def result(self, timeout: float | None = None) -> Any:
        """The response. Raises the core error."""
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None

    def exception(self, timeout: float | None = None) -> Exception | None:
        """The core error, or None."""
        error = self._call.exception(timeout)
        return errors.from_rpc_error(error) if isinstance(error, grpc.RpcError) else error


class _ClientSide(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, default_timeout: float) -> None:
        self._default_timeout = default_timeout

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], Any],
        client_call_details: grpc.ClientCallDetails,
        request: _Request,
    ) -> Any:
        timeout = within(client_call_details.timeout or self._default_timeout)
        return _MappedCall(continuation(_outgoing(client_call_details, timeout), request))

    def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], Any],
        client_call_details: grpc.ClientCallDetails,
        request: _Request,
    ) -> Any:
        # A stream may last as long as a job: it has the caller's deadline or none.
        timeout = client_call_details.timeout
        timeout = remaining() if timeout is None else within(timeout)
        return _MappedCall(continuation(_outgoing(client_call_details, timeout), request))


def _outgoing(details: grpc.ClientCallDetails, timeout: float | None) -> grpc.ClientCallDetails:
    metadata = tuple(details.metadata or ())
    traceparent = tracing.traceparent()
    if traceparent and all(key != tracing.TRACEPARENT for key, _ in metadata):
        metadata = (*metadata, (tracing.TRACEPARENT, traceparent))
    outgoing = _Details(
        details.method, timeout, metadata, details.credentials, details.wait_for_ready, details.compression
    )
    return cast(grpc.ClientCallDetails, outgoing)


def _service_config(attempts: int) -> str:
    retried: dict[str, Any] = {"name": [{}]}
    if attempts > 1:
        retried["retryPolicy"] = {
            "maxAttempts": attempts,
            "initialBackoff": "0.2s",
            "maxBackoff": "3s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
    once = [dict(zip(("service", "method"), name.split("/"), strict=True)) for name in NOT_RETRIED]
    return json.dumps({"methodConfig": [{"name": once}, retried]})


def connect(address: str, *, settings: KitSettings) -> grpc.Channel:
    """A channel to `host:port` or `unix:PATH`; it connects with the first call. Thread-safe.

    Calls raise core errors (`services.core.errors`), never `grpc.RpcError`. A call without a timeout has
    `settings.rpc_timeout` seconds and never more than its caller's deadline leaves. A call that finds the
    server away is made again with backoff (not those of `NOT_RETRIED`), a stream only before its first
    message.
    """
    channel = grpc.insecure_channel(
        address,
        options=(
            *limits.COMMON,
            ("grpc.enable_retries", 1),
            ("grpc.service_config", _service_config(settings.rpc_attempts)),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 3000),
            # Proxies of the environment are for the internet, not for the service next door.
            ("grpc.enable_http_proxy", 0),
        ),
    )
    return grpc.intercept_channel(channel, _ClientSide(settings.rpc_timeout))
