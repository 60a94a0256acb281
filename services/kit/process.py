"""`python -m services.<name>`: one service as a process of its own, on the real stack."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Final, NoReturn

from pydantic_settings import BaseSettings

from services.kit import logging, metrics
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus.kafka import KafkaBus
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.topics import JOBS_EVENTS
from services.kit.bus.worker import WorkerSettings
from services.kit.clock import SystemClock
from services.kit.inference.triton import connect as connect_triton
from services.kit.program import Ending, Program, S
from services.kit.retry import Backoff, retry
from services.kit.running import Need, start
from services.kit.service import Adapters, Service
from services.kit.settings import GRPC_PORTS, KitSettings, default_metrics_port
from services.kit.state.redis import connect as connect_redis

_LOG = logging.get_logger(__name__)

Build = Callable[[Adapters, S], Service]

STACK_SETTINGS: Final[Mapping[str, type[BaseSettings]]] = {
    "the Kafka workers": WorkerSettings,
    "the Kafka connection": KafkaSettings,
}


def run(name: str, settings_type: type[S], build: Build[S]) -> NoReturn:
    """Do what the command line says and exit; see `Program.main`."""
    program = Program(
        module=f"services.{name}",
        description=f"The {name} service: a gRPC server and Kafka workers.",
        settings_type=settings_type,
        serving=partial(_serving, name, build),
        rebuild=partial(_rebuild, name, build),
        also=STACK_SETTINGS,
    )
    sys.exit(program.main(sys.argv[1:]))


@contextmanager
def connected(name: str, port: int, settings: KitSettings) -> Iterator[Adapters]:
    """The real adapters, closed at the end. None of them connects before it is used."""
    clock = SystemClock()
    kafka = KafkaSettings()
    if "instance" not in kafka.model_fields_set:
        # The port tells the replicas of one machine apart and stays the same over a restart: a process ends
        # the transactions that its killed predecessor left open instead of waiting for their timeout.
        kafka = kafka.model_copy(update={"instance": f"{name}-{socket.gethostname()}-{port}"})
    adapters = Adapters(
        bus=KafkaBus(settings.kafka_bootstrap, settings=kafka, clock=clock),
        redis=connect_redis(settings.redis_url),
        blobs=connect_blobs(settings.blobs_url, attempts=settings.blob_attempts, clock=clock),
        inference=connect_triton(settings.triton_url, settings=settings, clock=clock),
        clock=clock,
    )
    try:
        yield adapters
    finally:
        for adapter in (adapters.bus, adapters.inference, adapters.redis):
            try:
                adapter.close()
            except Exception:  # the process is ending: nothing else can be done about it
                _LOG.warning("not closed cleanly", what=type(adapter).__name__, exc_info=True)


def needs(adapters: Adapters) -> dict[str, Need]:
    """What every service needs before it serves, besides its models."""

    def kafka() -> bool:
        # A read of nothing: it finds the brokers and the topic.
        next(iter(adapters.bus.read([JOBS_EVENTS], since_ms=int(adapters.clock.now() * 1000))), None)
        return True

    return {"Kafka": kafka, "Redis": lambda: bool(adapters.redis.ping())}


def _port(name: str, settings: KitSettings) -> int:
    return settings.grpc_port if settings.grpc_port is not None else GRPC_PORTS[name]


@contextmanager
def _serving(name: str, build: Build[S], settings: S, ending: Ending) -> Iterator[None]:
    port = _port(name, settings)
    metrics_port = settings.metrics_port if settings.metrics_port is not None else default_metrics_port(port)
    with (
        connected(name, port, settings) as adapters,
        closing(metrics.serve(settings.bind_host, metrics_port)),
    ):
        running = start(
            build(adapters, settings),
            adapters,
            f"{settings.bind_host}:{port}",
            settings=settings,
            needs=needs(adapters),
            failed=ending.fail,
        )
        _LOG.info("started", grpc=running.address, metrics_port=metrics_port, pid=os.getpid())
        yield
        running.stop(settings.grace)


def _rebuild(name: str, build: Build[S], settings: S) -> str:
    with connected(name, _port(name, settings), settings) as adapters:
        service = build(adapters, settings)
        if service.rebuild is None:
            return "it keeps no view in Redis: there is nothing to rebuild"
        retry(
            service.rebuild,
            backoff=Backoff(5, first=1.0),
            clock=adapters.clock,
            retried=lambda error: _LOG.warning("rebuild tried again", reason=str(error)),
        )
        return "the view is rebuilt from the log"
