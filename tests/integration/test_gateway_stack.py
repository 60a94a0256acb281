"""`python -m gateway` as a process on real Kafka and Redis, killed where it hurts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from services.kit.bus.kafka import KafkaBus
from services.kit.bus.topics import IMAGES_SUBMITTED, JOBS_EVENTS
from tercet.v1 import records_pb2
from tests.support.gateways import png
from tests.support.polling import eventually


@dataclass
class Process:
    """One run of the gateway."""

    process: subprocess.Popen[bytes]
    client: httpx.Client

    def alive(self) -> bool:
        assert self.process.poll() is None, "the gateway ended by itself"
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False


@dataclass
class Stack:
    """What runs of the gateway share: Kafka, Redis, blobs, the key file, the port."""

    folder: Path
    environment: dict[str, str]
    port: int

    @contextmanager
    def gateway(self, **environment: str) -> Iterator[Process]:
        log = (self.folder / "gateway.log").open("ab")
        with log, httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60) as client:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway"],
                env={**os.environ, **self.environment, **environment},
                stdout=log,
                stderr=log,
            )
            running = Process(process, client)
            try:
                eventually(running.alive, timeout=60)
                client.headers["Authorization"] = f"Bearer {(self.folder / 'api-key').read_text().strip()}"
                yield running
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()


@pytest.fixture
def stack(tmp_path: Path, kafka_bootstrap: str, redis_url: str) -> Stack:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    return Stack(
        tmp_path,
        {
            "TERCET_KAFKA_BOOTSTRAP": kafka_bootstrap,
            "TERCET_REDIS_URL": redis_url,
            "TERCET_BLOBS_URL": f"file://{tmp_path}/blobs",
            "TERCET_KEY_FILE": str(tmp_path / "api-key"),
            "TERCET_GATEWAY_PORT": str(port),
            "TERCET_LOCAL": "1",
            "TERCET_RPC_ATTEMPTS": "1",
        },
        port,
    )


@pytest.fixture
def bus(kafka_bootstrap: str) -> Iterator[KafkaBus]:
    found = KafkaBus(kafka_bootstrap)
    yield found
    found.close()


def jobs_of(bus: KafkaBus, key: str) -> list[records_pb2.JobEvent]:
    events = (records_pb2.JobEvent.FromString(record.value) for record in bus.read([JOBS_EVENTS]))
    return [event for event in events if event.created.idempotency_key == key]


def test_killed_after_the_answer_was_lost_a_retry_makes_no_second_job(stack: Stack, bus: KafkaBus) -> None:
    files = [("images", (f"{seed}.png", png(seed))) for seed in range(20)]
    key = f"killed-{stack.folder.name}"
    with stack.gateway() as first:
        # The client gives up before the answer, as one whose connection broke.
        with pytest.raises(httpx.TimeoutException):
            first.client.post("/v1/jobs", files=files, headers={"Idempotency-Key": key}, timeout=0.001)

        def answered() -> httpx.Response | None:
            answer = first.client.post("/v1/jobs", files=files, headers={"Idempotency-Key": key})
            return None if answer.status_code == 409 else answer

        accepted = eventually(answered, timeout=60)
        assert accepted is not None
        assert accepted.status_code == 202, accepted.text
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with stack.gateway() as second:
        again = second.client.post("/v1/jobs", files=files, headers={"Idempotency-Key": key})
        assert again.status_code == 202, again.text
        assert again.json() == accepted.json()
        assert [event.job_id for event in jobs_of(bus, key)] == [again.json()["id"]]
        images = [
            record
            for record in bus.read([IMAGES_SUBMITTED])
            if record.headers["job_id"] == again.json()["id"]
        ]
        assert len(images) == 20
        assert len({record.key for record in images}) == 20


def test_killed_in_the_middle_of_submitting(stack: Stack, bus: KafkaBus) -> None:
    """Wherever the kill lands, a retry with the key ends in exactly one whole job."""
    files = [("images", (f"{seed}.png", png(seed, 200, 200))) for seed in range(30)]
    key = f"middle-{stack.folder.name}"
    with stack.gateway(TERCET_PUBLISH_SECONDS="5") as first:
        request = first.client.build_request(
            "POST", "/v1/jobs", files=files, headers={"Idempotency-Key": key}, timeout=0.15
        )
        with suppress(httpx.TransportError):
            first.client.send(request)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with stack.gateway(TERCET_PUBLISH_SECONDS="5") as second:

        def accepted() -> httpx.Response | None:
            answer = second.client.post("/v1/jobs", files=files, headers={"Idempotency-Key": key})
            # 409: the first is still at it; 503: it ended without a job, send again.
            assert answer.status_code in (202, 409, 503), answer.text
            return answer if answer.status_code == 202 else None

        answer = eventually(accepted, timeout=120, interval=0.5)
        assert answer is not None
        [event] = jobs_of(bus, key)
        assert event.job_id == answer.json()["id"]
        mine = [record for record in bus.read([IMAGES_SUBMITTED]) if record.headers["job_id"] == event.job_id]
        assert len(mine) == len(event.created.images) == 30


def test_sigterm_ends_it_within_the_grace(stack: Stack) -> None:
    with stack.gateway() as running:
        running.process.terminate()
        assert running.process.wait(timeout=30) == 0
