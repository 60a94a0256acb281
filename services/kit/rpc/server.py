"""The gRPC door of a process: services, health and reflection, on TCP or a unix socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.core.errors import Unavailable
from services.kit.logging import get_logger
from services.kit.rpc import limits
from services.kit.rpc.interceptors import Admission, AroundCalls
from services.kit.settings import KitSettings

_LOG = get_logger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _CountingPool(ThreadPoolExecutor):
    """A thread pool that knows how many calls run or wait: its queue has no bound, so admission counts."""

    def __init__(self, threads: int) -> None:
        super().__init__(max_workers=threads, thread_name_prefix="grpc")
        self._count_lock = threading.Lock()
        self.outstanding = 0

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        with self._count_lock:
            self.outstanding += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except BaseException:
            self._ended(None)
            raise
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: Future[Any] | None) -> None:
        with self._count_lock:
            self.outstanding -= 1


class _PooledHealth(health.HealthServicer):
    """The health service on a thread of its own: a process whose threads are all busy is busy, not dead."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__(experimental_non_blocking=True, experimental_thread_pool=pool)

        def check(request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext) -> Any:
            return health.HealthServicer.Check(self, request, context)

        check.experimental_thread_pool = pool  # type: ignore[attr-defined]
        self.Check = check  # type: ignore[method-assign]


class RpcServer:
    """A gRPC server that listens when started and says NOT_SERVING until `serving(True)`.

    `services` maps full proto service names to functions that register the servicer. `address` is `host:port`
    (port 0: a free one) or `unix:PATH`.
    """

    def __init__(
        self, address: str, services: Mapping[str, Callable[[grpc.Server], None]], *, settings: KitSettings
    ) -> None:
        self._services = tuple(services)
        self._pool = _CountingPool(settings.grpc_threads)
        self._health_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grpc-health")
        bound = settings.grpc_threads + settings.grpc_queue
        self._server = grpc.server(
            self._pool,
            interceptors=[
                Admission(lambda: self._pool.outstanding >= bound, self._health_pool),
                AroundCalls(default_timeout=settings.rpc_timeout),
            ],
            options=(
                *limits.COMMON,
                # Two processes on one port would share the calls silently.
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", limits.KEEPALIVE_SECONDS * 500),
            ),
        )
        for register in services.values():
            register(self._server)
        self._health = _PooledHealth(self._health_pool)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        self.serving(False)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise Unavailable(f"cannot listen on {address}: {error}") from error
        self.address = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        """Where it listens, with the port that was taken."""

    def start(self) -> None:
        """Accept calls."""
        self._server.start()
        _LOG.info("gRPC listens", address=self.address, services=list(self._services))

    def serving(self, ready: bool) -> None:
        """What the health service says of every service here and, by the empty name, of the process."""
        for service in (*self._services, ""):
            self._health.set(service, _SERVING if ready else _NOT_SERVING)

    def stop(self, grace: float) -> None:
        """Say NOT_SERVING for good, take no new calls, let the running ones end within `grace` seconds."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._health_pool.shutdown(wait=False, cancel_futures=True)
