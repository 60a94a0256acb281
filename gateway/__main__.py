"""`python -m gateway`: the gateway on the real stack, until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from gateway.bootstrap import build
from gateway.serving import Serving, announce
from gateway.settings import GatewaySettings
from services.core.errors import TercetError, Unavailable
from services.kit import logging, tracing
from services.kit.blobs import store as blobs
from services.kit.bus.kafka import KafkaBus
from services.kit.clock import SystemClock
from services.kit.inference import triton
from services.kit.service import Adapters
from services.kit.settings import describe
from services.kit.state import redis

_LOG = logging.get_logger(__name__)

_EXIT_FAULT: Final = 1
_EXIT_USAGE: Final = 2
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0


def main() -> int:
    """The exit status: 0 after a signal, 1 after a fault, 2 for settings that make no sense."""
    if set(sys.argv[1:]) & {"-h", "--help"}:
        print(f"{__doc__}\n\nSettings, from the environment:\n{describe(GatewaySettings)}")
        return 0
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        print(f"settings: {error}", file=sys.stderr)
        return _EXIT_USAGE
    logging.configure("gateway", settings)
    tracing.configure("gateway")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        return run(settings, stop)
    except TercetError as error:
        _LOG.critical("gateway ends", reason=str(error))
        return _EXIT_FAULT
    finally:
        tracing.shutdown()


def run(settings: GatewaySettings, stop: threading.Event) -> int:
    """Serve until `stop` is set. Raises what makes it impossible to start."""
    clock = SystemClock()
    adapters = Adapters(
        bus=KafkaBus(settings.kafka_bootstrap, clock=clock),
        redis=redis.connect(settings.redis_url),
        blobs=blobs.connect(settings.blobs_url, clock=clock, attempts=settings.blob_attempts),
        inference=triton.connect(settings.triton_url, settings=settings, clock=clock),
        clock=clock,
    )
    try:
        gateway = build(adapters, settings)
        serving = Serving(gateway)
        if not _prepared(gateway.rebuild, stop):
            return 0
        token = gateway.local_token()
        serving.start()
        if token is not None:
            announce(token, settings)
        fault = serving.wait(stop, settings.poll_age_limit)
        _LOG.info("gateway stops", fault=fault)
        serving.stop()
        return 0 if fault is None else _EXIT_FAULT
    finally:
        adapters.inference.close()
        adapters.bus.close()
        adapters.redis.close()


def _prepared(rebuild: Callable[[], None], stop: threading.Event) -> bool:
    """Fill in Redis from the log where needed, however long they take to come up; False when told to stop."""
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
    sys.exit(main())
