"""Service processes on real Kafka and Redis: start, gates, signals, exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kit.bus.kafka import KafkaBus
from services.kit.bus.topics import JOBS_EVENTS, encode
from services.kit.rpc.client import connect
from services.kit.settings import KitSettings
from tercet.v1 import mining_pb2, mining_pb2_grpc, records_pb2
from tests.support.polling import eventually

# A service whose every record is bad, as after a bad deploy.
HALTING = """
import grpc
from services.core.errors import InvalidInput
from services.kit.bus.topics import JOBS_EVENTS
from services.kit.bus.worker import Worker, WorkerSettings
from services.kit.process import run
from services.kit.service import Service
from services.kit.settings import KitSettings

def bad(records):
    raise InvalidInput("a bad deploy")

def build(adapters, settings):
    worker = Worker(
        bus=adapters.bus, group="GROUP", topics=[JOBS_EVENTS], handler=bad, clock=adapters.clock,
        settings=WorkerSettings(poison_limit_records=2, attempts=1),
    )
    return Service(
        name="mining", grpc_service="tercet.v1.MiningService", register=lambda server: None, workers=[worker]
    )

run("mining", KitSettings, build)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServiceProcess:
    """`python -m services.mining` (or other arguments) with its log."""

    def __init__(self, folder: Path, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.log = folder / f"{uuid.uuid4().hex}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "TERCET_BLOBS_URL": f"file://{folder}/blobs",
                    "TERCET_GRPC_PORT": str(self.port),
                    "TERCET_METRICS_PORT": str(self.metrics_port),
                    **environment,
                },
            )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def said(self, words: str) -> bool:
        return words in self.log.read_text(errors="replace")

    def health(self) -> str:
        with grpc.insecure_channel(self.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.RpcError:
                return "does not listen"
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def until_serving(self) -> None:
        eventually(lambda: self.health() == "SERVING" or self.process.poll() is not None, timeout=60)
        assert self.process.poll() is None, self.log.read_text()

    def exit_code(self) -> int:
        return self.process.wait(60)


@pytest.fixture
def environment(kafka_bootstrap: str, redis_url: str) -> dict[str, str]:
    return {"TERCET_KAFKA_BOOTSTRAP": kafka_bootstrap, "TERCET_REDIS_URL": redis_url}


@contextmanager
def service_process(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[ServiceProcess]:
    running = ServiceProcess(folder, environment, arguments or ("-m", "services.mining"))
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait(30)


def test_it_starts_light_serves_and_ends_on_sigterm(tmp_path: Path, environment: dict[str, str]) -> None:
    with service_process(tmp_path, environment) as mining:
        mining.until_serving()
        status = Path(f"/proc/{mining.process.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0])
        assert resident < 300 * 1024, "a service stays under 300 MB"
        with connect(mining.address, settings=KitSettings()) as channel:
            stub = mining_pb2_grpc.MiningServiceStub(channel)
            stub.QueueStats(mining_pb2.QueueStatsRequest(tenant="acme"))
        with urlopen(f"http://127.0.0.1:{mining.metrics_port}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        assert 'tercet_rpc_seconds_count{code="OK",method="QueueStats"' in metrics
        started = time.monotonic()
        mining.process.send_signal(signal.SIGTERM)
        assert mining.exit_code() == 0, mining.log.read_text()
        assert time.monotonic() - started < 25
        assert mining.said('"drained": true')


def test_it_says_not_serving_and_why_until_redis_is_there(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    port = free_port()
    environment = {**environment, "TERCET_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    with service_process(tmp_path, environment) as mining:
        eventually(lambda: mining.said('"needs": ["Redis"]'))
        assert mining.said('"reasons": {"Redis": "')
        assert mining.health() == "NOT_SERVING"
        redis = subprocess.Popen(
            ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)],
            stdout=subprocess.DEVNULL,
        )
        try:
            mining.until_serving()
        finally:
            redis.kill()
            redis.wait(30)


def test_it_can_be_stopped_while_it_waits(tmp_path: Path, environment: dict[str, str]) -> None:
    environment = {**environment, "TERCET_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with service_process(tmp_path, environment) as mining:
        eventually(lambda: mining.said('"event": "waiting"'))
        mining.process.send_signal(signal.SIGINT)
        assert mining.exit_code() == 0


def test_a_worker_that_halts_ends_the_process_with_an_error(
    tmp_path: Path, environment: dict[str, str], kafka_bootstrap: str
) -> None:
    bus = KafkaBus(kafka_bootstrap)
    jobs = [uuid.uuid4().hex for _ in range(8)]
    bus.publish(
        [
            encode(
                JOBS_EVENTS,
                records_pb2.JobEvent(job_id=job, tenant="acme", cancelled=records_pb2.JobCancelled()),
                key=job,
                tenant="acme",
                job_id=job,
            )
            for job in jobs
        ]
    )
    bus.close()
    program = HALTING.replace("GROUP", uuid.uuid4().hex)
    with service_process(tmp_path, environment, "-c", program) as halting:
        assert halting.exit_code() == 1
        assert halting.said("worker lost")


def test_a_taken_port_is_an_error(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with service_process(tmp_path, {**environment, "TERCET_GRPC_PORT": port}) as mining:
            assert mining.exit_code() == 1
            assert mining.said("cannot listen")


def test_rebuild_makes_the_view_again_and_ends(tmp_path: Path, environment: dict[str, str]) -> None:
    with service_process(tmp_path, environment, "-m", "services.mining", "rebuild") as rebuilding:
        assert rebuilding.exit_code() == 0, rebuilding.log.read_text()
        assert rebuilding.said("mining: the view is rebuilt from the log")


def test_bad_settings_are_named(tmp_path: Path) -> None:
    with service_process(tmp_path, {"TERCET_GRPC_THREADS": "many"}) as mining:
        assert mining.exit_code() == 2
        assert mining.said("TERCET_GRPC_THREADS: Input should be a valid integer")


def test_help_lists_every_setting(tmp_path: Path) -> None:
    with service_process(tmp_path, {}, "-m", "services.mining", "--help") as mining:
        assert mining.exit_code() == 0
        for name in ("TERCET_KAFKA_BOOTSTRAP", "TERCET_MINING_LEASE_SECONDS", "TERCET_WORKER_ATTEMPTS"):
            assert mining.said(name)
