"""A gateway that runs: HTTP server, Kafka door and background work, each in a thread, until stopped."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from typing import Final

import uvicorn

from gateway.bootstrap import Gateway
from gateway.settings import GatewaySettings
from services.core.errors import Unavailable
from services.kit.logging import get_logger

_LOG = get_logger(__name__)

_START_SECONDS: Final = 30.0
_STEP: Final = 0.02
_WATCH_SECONDS: Final = 1.0


def announce(token: str, settings: GatewaySettings) -> None:
    """Show local mode's new key, this once, where it is kept, and the page that takes it."""
    page = f"http://{settings.gateway_host}:{settings.gateway_port}/"
    print(
        f"API key of the local admin (shown this once; kept in {settings.key_file}):\n\n  {token}\n\n"
        f"The page for people signs in with it: {page}\n",
        file=sys.stderr,
        flush=True,
    )


class Serving:
    """Starts and stops a gateway; from one thread. `failed` is told when something that must run does not."""

    def __init__(self, gateway: Gateway, failed: Callable[[str], object] = lambda reason: reason) -> None:
        settings = gateway.state.settings
        self._gateway = gateway
        self._failed = failed
        self._grace = settings.grace
        self._poll_age_limit = settings.poll_age_limit
        self._server = uvicorn.Server(
            uvicorn.Config(
                gateway.app,
                host=settings.gateway_host,
                port=settings.gateway_port,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                limit_concurrency=settings.connections,
                timeout_graceful_shutdown=max(1, int(settings.grace) - 2),
            )
        )
        work = [worker.run for worker in gateway.workers] + [*gateway.background, self._watch]
        self._threads = [threading.Thread(target=run, name=f"gateway-{run.__qualname__}") for run in work]
        self._http = threading.Thread(target=self._serve, name="gateway-http")
        self._ended = threading.Event()
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Serve; returns once the port accepts connections. Raises `Unavailable` when it cannot be had."""
        config = self._server.config
        try:
            self._socket = socket.create_server((config.host, config.port), backlog=config.backlog)
            # Connections inherit it; asyncio sets it only where the socket names its protocol, and this one
            # does not. Without it every answer on a kept connection waits 40 ms for the client's delayed ACK.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Unavailable(f"the gateway cannot listen on {self.address}: {error.strerror}") from error
        self._http.start()
        waited = 0.0
        while not self._server.started:
            if self._ended.wait(_STEP) or (waited := waited + _STEP) > _START_SECONDS:
                self._gateway.stop()
                raise Unavailable("the gateway's HTTP server does not start; its log says why")
        for thread in self._threads:
            thread.start()
        _LOG.info("gateway listens", address=self.address)

    @property
    def address(self) -> str:
        """`host:port`, with the port that was taken once it serves."""
        port = self._socket.getsockname()[1] if self._socket is not None else self._server.config.port
        return f"{self._server.config.host}:{port}"

    def stop(self) -> None:
        """Not ready any more, no new requests, the running ones finished within the grace; then the rest."""
        self._stopping.set()
        self._gateway.stop()
        self._server.should_exit = True
        self._http.join(timeout=self._grace)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=self._grace)
        self._gateway.close()

    def _serve(self) -> None:
        assert self._socket is not None
        try:
            self._server.run(sockets=[self._socket])
        except SystemExit:
            # uvicorn's way to say that the application does not start; it has logged why.
            _LOG.error("gateway does not start")
        finally:
            self._socket.close()
            self._ended.set()

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            trouble = self._trouble()
            # What was told to stop meanwhile has ended rightly.
            if trouble is not None and not self._stopping.is_set():
                self._failed(trouble)
                return

    def _trouble(self) -> str | None:
        if self._ended.is_set():
            return "the HTTP server has ended"
        for worker in self._gateway.workers:
            # One that halted is no reason to refuse requests: only webhooks wait for it.
            if worker.halted is None and worker.poll_age() > self._poll_age_limit:
                return f"the worker {worker.group} hangs"
        return None
