"""Prometheus metrics of every process but the bus's own (`services.kit.bus.metrics`), and their endpoint.

Times are in seconds.
"""

from __future__ import annotations

from typing import Final, Protocol

from prometheus_client import Counter, Gauge, Histogram, start_http_server

_FAST: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
_SLOW: Final = (
    0.01,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
)

RPC_SECONDS = Histogram(
    "tercet_rpc_seconds",
    "Time that a gRPC call took in the server.",
    ("service", "method", "code"),
    buckets=_FAST,
)
RPC_IN_FLIGHT = Gauge("tercet_rpc_in_flight", "gRPC calls being worked.", ("service", "method"))
RPC_REFUSED = Counter("tercet_rpc_refused_total", "gRPC calls refused as overload.", ("service",))

POLL_AGE = Gauge("tercet_poll_age_seconds", "Seconds since a worker last polled.", ("group",))

INFERENCE_SECONDS = Histogram(
    "tercet_inference_seconds",
    "Time of a model call as the service sees it, queueing and retries included.",
    ("model", "outcome"),
    buckets=_SLOW,
)
INFERENCE_IN_FLIGHT = Gauge("tercet_inference_in_flight", "Model calls in flight.", ("model",))
INFERENCE_RETRIES = Counter("tercet_inference_retries_total", "Model calls tried again.", ("model",))
CIRCUIT_OPEN = Gauge(
    "tercet_circuit_open",
    "1 while a model is not called because it kept failing.",
    ("model",),
)

BLOB_SECONDS = Histogram(
    "tercet_blob_seconds",
    "Time of an object-store operation.",
    ("operation", "outcome"),
    buckets=_FAST,
)


class _Stoppable(Protocol):
    def shutdown(self) -> None: ...

    def server_close(self) -> None: ...


class MetricsEndpoint:
    """`GET /metrics` of this process."""

    def __init__(self, server: _Stoppable, port: int) -> None:
        self._server = server
        self.port = port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def serve(host: str, port: int) -> MetricsEndpoint:
    """Serve the metrics in a thread; port 0 takes a free one. Raises `OSError` when the port is taken."""
    server, _ = start_http_server(port, addr=host)
    return MetricsEndpoint(server, server.server_port)
