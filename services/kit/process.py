"""`python -m services.<name>`: one service as a process of its own, on the real stack."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, NoReturn, TypeVar

from pydantic import ValidationError

from services.core.errors import TercetError, Unavailable
from services.kit import logging, metrics, tracing
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus.kafka import KafkaBus
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.topics import JOBS_EVENTS
from services.kit.bus.worker import WorkerSettings
from services.kit.clock import SystemClock
from services.kit.inference.triton import connect as connect_triton
from services.kit.retry import Backoff, retry
from services.kit.running import Need, start
from services.kit.service import Adapters, Service
from services.kit.settings import ENV_PREFIX, GRPC_PORTS, KitSettings, default_metrics_port, describe
from services.kit.state.redis import connect as connect_redis

_LOG = logging.get_logger(__name__)

S = TypeVar("S", bound=KitSettings)
Build = Callable[[Adapters, S], Service]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


def run(name: str, settings_type: type[S], build: Build[S]) -> NoReturn:
    """Do what the command line says and exit: 0 after SIGTERM, 1 when a worker is lost, 2 for bad usage."""
    sys.exit(main(name, settings_type, build, sys.argv[1:]))


def main(name: str, settings_type: type[S], build: Build[S], arguments: Sequence[str]) -> int:
    """The exit code of the command."""
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{name}",
        description=f"The {name} service: a gRPC server and Kafka workers.",
        epilog="\n".join(
            [
                "settings (environment variables with their defaults):",
                describe(settings_type),
                "settings of the Kafka workers:",
                describe(WorkerSettings),
                "settings of the Kafka connection:",
                describe(KafkaSettings),
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        default="serve",
        choices=("serve", "rebuild"),
        help="serve (default), or make the service's Redis view again from the log, while no replica runs",
    )
    command = parser.parse_args(arguments).command
    try:
        settings = settings_type()
    except ValidationError as error:
        for problem in error.errors():
            field = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{ENV_PREFIX}{field}: {problem['msg']}", file=sys.stderr)
        return EXIT_USAGE
    logging.configure(name, settings)
    tracing.configure(name)
    try:
        if command == "rebuild":
            return _rebuild(name, settings, build)
        return _serve(name, settings, build)
    except (TercetError, OSError) as error:
        _LOG.critical("cannot run", error=type(error).__name__, reason=str(error))
        return EXIT_FAILED


def grpc_port(name: str, settings: KitSettings) -> int:
    """Where the service's process listens."""
    return settings.grpc_port if settings.grpc_port is not None else GRPC_PORTS[name]


def connect(name: str, settings: KitSettings) -> Adapters:
    """The real adapters. None of them connects before it is used."""
    clock = SystemClock()
    kafka = KafkaSettings()
    if "instance" not in kafka.model_fields_set:
        # The port tells the replicas of one machine apart and stays the same over a restart: a process ends
        # the transactions that its killed predecessor left open instead of waiting for their timeout.
        instance = f"{name}-{socket.gethostname()}-{grpc_port(name, settings)}"
        kafka = kafka.model_copy(update={"instance": instance})
    return Adapters(
        bus=KafkaBus(settings.kafka_bootstrap, settings=kafka, clock=clock),
        redis=connect_redis(settings.redis_url),
        blobs=connect_blobs(settings.blobs_url, attempts=settings.blob_attempts, clock=clock),
        inference=connect_triton(settings.triton_url, settings=settings, clock=clock),
        clock=clock,
    )


def close(adapters: Adapters) -> None:
    """Give every connection back, whatever becomes of the others."""
    for what, end in (
        ("bus", adapters.bus.close),
        ("inference", adapters.inference.close),
        ("redis", adapters.redis.close),
    ):
        try:
            end()
        except Exception:  # the process is ending: nothing else can be done about it
            _LOG.warning("not closed cleanly", what=what, exc_info=True)


def needs(adapters: Adapters) -> dict[str, Need]:
    """What every service needs before it serves, besides its models."""

    def kafka() -> bool:
        # A read of nothing: it finds the brokers and the topic.
        next(iter(adapters.bus.read([JOBS_EVENTS], since_ms=int(adapters.clock.now() * 1000))), None)
        return True

    return {"Kafka": kafka, "Redis": lambda: bool(adapters.redis.ping())}


class _Ending:
    """Why the process ends, once it is to end: told by a signal, or by the loss of a worker."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.code = EXIT_OK

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """The first one drains, a second one does not wait."""
        if self.begun.is_set():
            os._exit(EXIT_FAILED)
        # No logging here: the interrupted main thread may hold a lock of it.
        self.begun.set()

    def on_failure(self, reason: str) -> None:
        """A worker is lost: the supervisor starts the process again."""
        if "hangs" in reason:
            faulthandler.dump_traceback()
        self.code = EXIT_FAILED
        self.begun.set()

    def must_end_within(self, seconds: float) -> None:
        """Whatever hangs: what is not committed by then is given up, and another process works it again."""

        def end() -> None:
            _LOG.warning("not drained in time; what is not committed is given up", seconds=seconds)
            sys.stderr.flush()
            os._exit(self.code)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()


def _serve(name: str, settings: S, build: Build[S]) -> int:
    port = grpc_port(name, settings)
    metrics_port = settings.metrics_port if settings.metrics_port is not None else default_metrics_port(port)
    ending = _Ending()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ending.on_signal)
    adapters = connect(name, settings)
    endpoint = metrics.serve(settings.bind_host, metrics_port)
    running = start(
        build(adapters, settings),
        adapters,
        f"{settings.bind_host}:{port}",
        settings=settings,
        needs=needs(adapters),
        failed=ending.on_failure,
    )
    _LOG.info("started", grpc=running.address, metrics_port=metrics_port, pid=os.getpid())
    ending.begun.wait()
    _LOG.info("draining", grace=settings.grace, failure=running.failure)
    ending.must_end_within(settings.grace)
    running.stop(settings.grace)
    close(adapters)
    endpoint.close()
    tracing.shutdown()
    return ending.code


def _rebuild(name: str, settings: S, build: Build[S]) -> int:
    adapters = connect(name, settings)
    try:
        service = build(adapters, settings)
        if service.rebuild is None:
            print(f"{name} keeps no view in Redis: there is nothing to rebuild")
            return EXIT_OK
        retry(
            service.rebuild,
            backoff=Backoff(5, first=1.0),
            clock=adapters.clock,
            retried=lambda error: _LOG.warning("rebuild tried again", reason=str(error)),
        )
        print(f"{name}: the view is rebuilt from the log")
        return EXIT_OK
    except Unavailable as error:
        print(f"{name}: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        close(adapters)
