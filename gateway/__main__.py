"""`python -m gateway`: the gateway on the real stack, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import ValidationError

from gateway.bootstrap import Gateway, build
from gateway.serving import Serving, announce
from gateway.settings import GatewaySettings
from services.core.errors import TercetError, Unavailable
from services.kit import logging, tracing
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus.kafka import KafkaBus
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.clock import SystemClock
from services.kit.inference.triton import connect as connect_triton
from services.kit.process import EXIT_FAILED, EXIT_OK, EXIT_USAGE, close
from services.kit.service import Adapters
from services.kit.settings import ENV_PREFIX, describe
from services.kit.state.redis import connect as connect_redis

_LOG = logging.get_logger("gateway")

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0 after a signal, 1 after a fault, 2 for settings that make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="The REST door: uploads, progress, annotations, exports, operations, webhooks.",
        epilog="settings (environment variables with their defaults):\n" + describe(GatewaySettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        default="serve",
        choices=("serve", "rebuild"),
        help="serve (default), or fill in the idempotency keys that Redis has lost from the log",
    )
    command = parser.parse_args(arguments).command
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        for problem in error.errors():
            field = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{ENV_PREFIX}{field}: {problem['msg']}", file=sys.stderr)
        return EXIT_USAGE
    logging.configure("gateway", settings)
    tracing.configure("gateway")
    stop = threading.Event()
    # No logging in the handler: the interrupted main thread may hold a lock of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(EXIT_FAILED) if stop.is_set() else stop.set())
    adapters = _connect(settings)
    try:
        gateway = build(adapters, settings)
        if command == "rebuild":
            gateway.rebuild()
            return EXIT_OK
        return _serve(gateway, settings, stop)
    except (TercetError, OSError) as error:
        _LOG.critical("cannot run", error=type(error).__name__, reason=str(error))
        return EXIT_FAILED
    finally:
        close(adapters)
        tracing.shutdown()


def _connect(settings: GatewaySettings) -> Adapters:
    """The real adapters. None of them connects before it is used."""
    clock = SystemClock()
    kafka = KafkaSettings()
    if "instance" not in kafka.model_fields_set:
        # The same over a restart: what a killed predecessor had not committed is given up at once.
        instance = f"gateway-{socket.gethostname()}-{settings.gateway_port}"
        kafka = kafka.model_copy(update={"instance": instance})
    return Adapters(
        bus=KafkaBus(settings.kafka_bootstrap, settings=kafka, clock=clock),
        redis=connect_redis(settings.redis_url),
        blobs=connect_blobs(settings.blobs_url, attempts=settings.blob_attempts, clock=clock),
        inference=connect_triton(settings.triton_url, settings=settings, clock=clock),
        clock=clock,
    )


def _serve(gateway: Gateway, settings: GatewaySettings, stop: threading.Event) -> int:
    """Serve until `stop` is set. Raises what makes it impossible to start."""
    if not _prepared(gateway.rebuild, stop):
        return EXIT_OK
    token = gateway.local_token()
    serving = Serving(gateway)
    serving.start()
    if token is not None:
        announce(token, settings)
    fault = serving.wait(stop, settings.poll_age_limit)
    _LOG.info("draining", grace=settings.grace, failure=fault)
    overdue = threading.Timer(settings.grace, lambda: os._exit(EXIT_FAILED))
    overdue.daemon = True
    overdue.start()
    serving.stop()
    overdue.cancel()
    return EXIT_OK if fault is None else EXIT_FAILED


def _prepared(rebuild: Callable[[], None], stop: threading.Event) -> bool:
    """Fill in Redis from the log where needed, waiting for both; False when told to stop."""
    pause = _FIRST_PAUSE
    while not stop.is_set():
        try:
            rebuild()
        except Unavailable as error:
            _LOG.warning("waiting for Kafka and Redis", reason=str(error))
            stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
