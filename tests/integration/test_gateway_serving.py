"""A gateway on a real port: it starts, answers, and ends while clients hang on."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import httpx
import pytest

from gateway import bootstrap
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from services.core.errors import Unavailable
from tests.support.gateways import adapters, png
from tests.support.polling import eventually
from tests.support.scripted_dataset import a_job, serving


def settings(folder: Path, address: str, port: int = 0) -> GatewaySettings:
    return GatewaySettings(
        gateway_port=port,
        dataset_address=address,
        local=True,
        key_file=folder / "api-key",
        grace=10.0,
        rpc_attempts=1,
    )


def test_start_answer_drain(tmp_path: Path) -> None:
    with serving(tmp_path) as (dataset, address):
        dataset.show(a_job(done=1))
        gateway = bootstrap.build(adapters(tmp_path), settings(tmp_path, address))
        token = gateway.local_token()
        running = Serving(gateway)
        running.start()
        ended = threading.Event()
        events: list[str] = []
        with httpx.Client(
            base_url=f"http://{running.address}", headers={"Authorization": f"Bearer {token}"}
        ) as client:
            assert client.get("/healthz").json() == {"status": "ok"}
            ready = client.get("/readyz")
            assert ready.status_code == 200, ready.text
            assert client.post("/v1/jobs", files=[("images", ("a.png", png()))]).status_code == 202

            def watch() -> None:
                with client.stream("GET", "/v1/jobs/job_a/events", timeout=30) as stream:
                    events.extend(stream.iter_lines())
                ended.set()

            watcher = threading.Thread(target=watch)
            watcher.start()
            eventually(lambda: gateway.state.watch._clients == 1)
            began = time.monotonic()
            running.stop()
            watcher.join(timeout=10)
        assert ended.is_set()
        assert time.monotonic() - began < 8, "open event streams must not use up the grace"
        [data] = [line for line in events if line.startswith("data: ")]
        assert json.loads(data.removeprefix("data: "))["id"] == "job_a"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, address):
        first = Serving(bootstrap.build(adapters(tmp_path), settings(tmp_path, address)))
        first.start()
        try:
            port = int(first.address.rpartition(":")[2])
            second = Serving(bootstrap.build(adapters(tmp_path), settings(tmp_path, address, port)))
            with pytest.raises(Unavailable, match="cannot listen"):
                second.start()
        finally:
            first.stop()


def test_a_server_that_ends_by_itself_is_told(tmp_path: Path) -> None:
    failures: list[str] = []
    with serving(tmp_path) as (_, address):
        gateway = bootstrap.build(adapters(tmp_path), settings(tmp_path, address))
        running = Serving(gateway, failures.append)
        running.start()
        running._server.should_exit = True
        eventually(lambda: failures)
        running.stop()
    assert failures == ["the HTTP server has ended"]
