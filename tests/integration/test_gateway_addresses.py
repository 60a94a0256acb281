"""Jobs that name their images by address, over REST, down to the records on the bus."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateways import Running, adapters, files, png, running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    with running(adapters(tmp_path), max_images=6, max_image_bytes=200_000) as found:
        yield found


class Pictures(BaseHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        known = {"/1.png": png(1), "/2.png": png(2), "/page": b"<html>"}
        body = known.get(self.path)
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write(body or b"")


@pytest.fixture
def pictures() -> Iterator[int]:
    """Port of a server with pictures on the loopback interface."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


async def resolve(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


class TestAddresses:
    def test_urls_and_uris(self, pictures: int, tmp_path: Path) -> None:
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures" / "3.png").write_bytes(png(3))
        (tmp_path / "secret.png").write_bytes(png(4))
        (tmp_path / "pictures" / "link.png").symlink_to(tmp_path / "secret.png")
        base = f"http://pictures.test:{pictures}"
        root = f"file://{tmp_path}/pictures"
        settings = {
            "fetch_allowed": ("pictures.test",),
            "fetch_ports": (pictures,),
            "source_roots": (root,),
            "max_images": 20,
        }
        images = [
            {"url": f"{base}/1.png"},
            {"url": f"{base}/2.png", "name": "second"},
            {"uri": f"{root}/3.png"},
            {"url": f"{base}/missing.png"},
            {"url": f"{base}/page"},
            {"url": f"http://inside.test:{pictures}/1.png"},
            {"url": "http://169.254.169.254/latest/meta-data"},
            {"uri": f"{root}/../secret.png"},
            {"uri": f"file://{tmp_path}/secret.png"},
            {"uri": f"{root}/link.png"},
            {"uri": f"{root}/missing.png"},
            {"uri": f"simplecache::{root}/3.png"},
            {"uri": f"{root}/a::{base}/1.png"},
        ]
        with running(adapters(tmp_path / "state"), resolve=resolve, **settings) as served:
            answer = served.client.post("/v1/jobs", json={"stage": "automatic", "images": images})
            assert answer.status_code == 202, answer.text
            assert sorted(item.image.name for item in served.images()) == ["1.png", "3.png", "second"]
            assert [item["code"] for item in answer.json()["refused"]] == [
                "fetch_failed",
                "unsupported_type",
                "address_refused",
                "address_refused",
                "source_refused",
                "source_refused",
                "source_refused",
                "not_found",
                "source_refused",
                "source_refused",
            ]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"images": []}, "images"),
            ({}, "images"),
            ({"images": [{}]}, "images.0"),
            ({"images": [{"url": "http://a.test/", "uri": "s3://a/b"}]}, "images.0"),
            ({"images": [{"url": "http://a.test/", "size": 1}]}, "images.0.size"),
            ({"images": [{"url": "http://a.test/"}], "stage": 3}, "stage"),
            ({"images": [{"url": "http://a.test/"}], "extra": 1}, "extra"),
            ({"images": [{"url": "http://a.test/"}], "phrases": ["bus", "<b>x</b>"]}, "phrases.1"),
        ],
    )
    def test_wrong_fields(self, served: Running, body: dict[str, Any], field: str) -> None:
        answer = served.client.post("/v1/jobs", json=body)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]

    def test_a_phrase_that_is_none_is_refused_before_any_image_is_read(self, served: Running) -> None:
        sent = files(("a.png", png(1)))
        answer = served.client.post("/v1/jobs", files=sent, data={"phrases": ["bus", "no dog"]})
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["phrases.1"]
        nested = served.client.post("/v1/jobs", files=sent, data={"job": '{"phrases": ["<i>"]}'})
        assert [error["field"] for error in nested.json()["errors"]] == ["job.phrases.0"]
