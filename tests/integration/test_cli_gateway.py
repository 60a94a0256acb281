"""The client and the command line against the real gateway, over a real socket and embedded adapters."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway import bootstrap
from gateway.client import (
    AsyncClient,
    Client,
    ClientSettings,
    Conflict,
    Forbidden,
    InvalidRequest,
    JobOptions,
    NotFound,
    TooLarge,
    Unauthenticated,
    Upload,
)
from gateway.settings import GatewaySettings
from services.kit.bus.topics import IMAGES_SUBMITTED, JOBS_EVENTS
from services.kit.service import Adapters
from tercet.v1 import records_pb2
from tests.support.gateways import adapters, png
from tests.support.http import serving

MAX_IMAGES = 4


@dataclass
class Served:
    """A gateway behind a socket, and what it wrote."""

    settings: ClientSettings
    adapters: Adapters

    def jobs(self) -> list[records_pb2.JobEvent]:
        return [
            records_pb2.JobEvent.FromString(record.value) for record in self.adapters.bus.read([JOBS_EVENTS])
        ]

    def images(self) -> list[records_pb2.ImageSubmitted]:
        read = self.adapters.bus.read([IMAGES_SUBMITTED])
        return [records_pb2.ImageSubmitted.FromString(record.value) for record in read]

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        key = self.settings.key()
        assert key is not None
        environment = {**os.environ, "TERCET_URL": self.settings.url, "TERCET_API_KEY": key}
        command = [sys.executable, "-m", "gateway.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    parts = adapters(tmp_path / "state")
    settings = GatewaySettings(
        rpc_attempts=1,
        rpc_timeout=5.0,
        dataset_address="unix:/nonexistent/dataset.sock",
        max_images=MAX_IMAGES,
        max_image_bytes=2_000_000,
    )
    gateway = bootstrap.build(parts, settings)
    _, token = gateway.state.keys.create(name="test", tenant="default", roles=("admin",), created_by="test")
    try:
        with serving(gateway.app) as url:
            yield Served(ClientSettings(url=url, api_key=token, backoff=0.01), parts)
    finally:
        gateway.stop()
        gateway.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    (made / "sub").mkdir(parents=True)
    (made / "a.png").write_bytes(png(1))
    (made / "sub" / "b.png").write_bytes(png(2, width=900, height=700))  # some megabytes: several chunks
    return made


def test_a_folder_becomes_a_job(served: Served, folder: Path) -> None:
    with Client(served.settings) as client:
        job = client.submit(folder, JobOptions(stage="semi_automatic", phrases=["red ball"], name="n"))
    assert (job.images, job.stage, job.phrases, job.name) == (2, "semi_automatic", ["red ball"], "n")
    [event] = served.jobs()
    assert event.job_id == job.id
    assert {item.image.name for item in served.images()} == {"a.png", "sub/b.png"}
    contents = [(folder / name).read_bytes() for name in ("a.png", "sub/b.png")]
    assert {item.image.id for item in served.images()} == {hashlib.sha256(c).hexdigest() for c in contents}


def test_the_asynchronous_client_does_the_same(served: Served, folder: Path) -> None:
    async def submit() -> str:
        async with AsyncClient(served.settings) as client:
            return (await client.submit([folder, Upload("c.png", png(3), len(png(3)))])).id

    job_id = asyncio.run(submit())
    assert served.jobs()[0].job_id == job_id
    assert {item.image.name for item in served.images()} == {"a.png", "sub/b.png", "c.png"}


def test_a_zip_and_files_beside_it(served: Served, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a.png", "sub/b.png"):
            archive.write(folder / name, name)
        archive.writestr("broken.png", png(5)[:-40])
    (tmp_path / "d.png").write_bytes(png(4))
    with Client(served.settings) as client:
        job = client.submit([tmp_path / "x.zip", tmp_path / "d.png"])
    assert job.images == 3
    assert [image.name for image in job.refused] == ["broken.png"]


def test_the_same_key_makes_no_second_job(served: Served, folder: Path) -> None:
    with Client(served.settings) as client:
        first = client.submit(folder, idempotency_key="week-12")
        again = client.submit(folder, idempotency_key="week-12")
        assert again.id == first.id
        with pytest.raises((Conflict, InvalidRequest), match="key"):
            client.submit(folder / "a.png", idempotency_key="week-12")
    assert len(served.jobs()) == 1


def test_an_answer_that_is_lost_on_its_way_makes_no_second_job(served: Served, folder: Path) -> None:
    class Lossy(httpx.BaseTransport):
        """The gateway works and its first answer never arrives."""

        def __init__(self) -> None:
            self.answers: list[int] = []
            self._real = httpx.HTTPTransport()

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = self._real.handle_request(request)
            self.answers.append(answer.status_code)
            if len(self.answers) == 1:
                answer.read()
                raise httpx.ReadError("connection reset", request=request)
            return answer

        def close(self) -> None:
            self._real.close()

    lossy = Lossy()
    with Client(served.settings, transport=lossy) as client:
        job = client.submit(folder)
    assert lossy.answers == [202, 202]
    [event] = served.jobs()
    assert event.job_id == job.id
    assert len(served.images()) == 2


def test_too_many_images_say_what_to_do(served: Served, tmp_path: Path) -> None:
    for number in range(MAX_IMAGES + 1):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    with (
        Client(served.settings) as client,
        pytest.raises(TooLarge, match=rf"{MAX_IMAGES} images.*one job each"),
    ):
        client.submit(tmp_path)
    assert served.jobs() == []


def test_refusals_are_told_with_their_reason(served: Served, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"<svg></svg>")
    result = served.cli("jobs", "submit", str(tmp_path))
    assert result.returncode == 6
    assert "no.png" in result.stderr
    assert served.jobs() == []


def test_fields_that_the_gateway_refuses_are_named(served: Served, folder: Path) -> None:
    with pytest.raises(ValueError, match="reject_below must not be above"):
        JobOptions.model_validate({"thresholds": {"accept_above": 0.2, "reject_below": 0.5}})
    result = served.cli("jobs", "submit", str(folder), "--accept-above", "0.2", "--reject-below", "0.5")
    assert result.returncode == 6
    assert "reject_below must not be above" in result.stderr


def test_keys_are_made_used_and_revoked(served: Served, folder: Path) -> None:
    made = served.cli("keys", "create", "ci", "--role", "annotator")
    assert made.returncode == 0
    token = made.stdout.strip()
    annotator = ClientSettings(url=served.settings.url, api_key=token)
    with Client(annotator) as client:
        assert client.lag() is not None
        with pytest.raises(Forbidden):
            client.submit(folder)
    listed = json.loads(served.cli("keys", "list", "--json").stdout)
    [key] = [item for item in listed if item["name"] == "ci"]
    assert key["roles"] == ["annotator"]
    assert served.cli("keys", "revoke", key["id"]).returncode == 0
    with Client(annotator) as client, pytest.raises(Unauthenticated, match="TERCET_API_KEY"):
        client.lag()


def test_operations(served: Served) -> None:
    assert json.loads(served.cli("dlq", "list", "--json").stdout) == []
    assert json.loads(served.cli("models", "list", "--json").stdout) == []
    assert json.loads(served.cli("dlq", "replay", "--all", "--json").stdout) == {"replayed": 0}
    unknown = served.cli("dlq", "list", "--topic", "no.such")
    assert unknown.returncode == 5
    assert "the topics are" in unknown.stderr


def test_an_unknown_id_is_not_found_whatever_it_looks_like(served: Served) -> None:
    with Client(served.settings) as client, pytest.raises(NotFound):
        client.revoke_key("../jobs")


def test_the_option_wins_over_the_environment(served: Served) -> None:
    result = served.cli("--url", "http://127.0.0.1:9", "lag")
    assert result.returncode == 3
    assert "http://127.0.0.1:9" in result.stderr
