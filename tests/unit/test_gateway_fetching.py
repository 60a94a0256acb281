"""The fetcher against servers on the loopback interface, which it refuses unless told otherwise."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.addresses import AddressPolicy
from gateway.fetching import AddressRefused, FetchFailed, FetchLimits, SafeFetcher
from services.core.errors import InvalidImage

# A certificate for pictures.test that was made for these tests and guards nothing.
CERTIFICATE = """-----BEGIN EC PRIVATE KEY-----
MHcCAQEEILj4vWDpyook4rP3IC3CjSIyYuSKS+8xP8iHUIp6QtIEoAoGCCqGSM49
AwEHoUQDQgAEkIPg6oY7BHLX05a72tlL2L/bzFLkApv1X9yW4xkdqFvggLRi3C8u
v4w4k0j4DQw4aQaF3JPRpN/D5cCYQBSlFg==
-----END EC PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBoTCCAUegAwIBAgIUTomWag7XQKOgRiwdS4n4dsnlhIMwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNcGljdHVyZXMudGVzdDAgFw0yNjExMjQxMTEyNTlaGA8yMTI2
MTAzMTExMTI1OVowGDEWMBQGA1UEAwwNcGljdHVyZXMudGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABJCD4OqGOwRy19OWu9rZS9i/28xS5AKb9V/cluMZHahb
4IC0YtwvLr+MOJNI+A0MOGkGhdyT0aTfw+XAmEAUpRajbTBrMB0GA1UdDgQWBBQ5
lUasTYEHFsQntKJDkQIgCSt36TAfBgNVHSMEGDAWgBQ5lUasTYEHFsQntKJDkQIg
CSt36TAPBgNVHRMBAf8EBTADAQH/MBgGA1UdEQQRMA+CDXBpY3R1cmVzLnRlc3Qw
CgYIKoZIzj0EAwIDSAAwRQIhAMw4J5Hv0AoDZDfoGObu1ydWlgLhotzElio835cu
DzjRAiA0vLrbsYKBzLcyGAchYP/iPQz4EXoC6f9qM3bzCCB2xQ==
-----END CERTIFICATE-----
"""


class Handler(BaseHTTPRequestHandler):
    """Answers by path; what was asked is noted on the server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append((self.path, self.headers["Host"]))
        path = self.path.partition("?")[0]
        if path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not server.over.wait(0.02):
                self.wfile.write(b"X-Drip: 1\r\n")
        elif path == "/endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while not server.over.is_set():
                self.wfile.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        elif path == "/missing":
            self.send_error(404)
        else:
            packed = path == "/packed"
            body = gzip.compress(b"x" * 100) if packed else b"picture"
            self.send_response(200)
            if packed:
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", "999999" if path == "/boast" else str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.posted.append((body, self.headers["X-Mark"] or ""))
        self.send_response(302 if self.path == "/moved" else 204)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []
        self.posted: list[tuple[bytes, str]] = []
        self.redirects: dict[str, str] = {}
        self.over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients here hang up early on purpose


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running
        finally:
            running.over.set()
            running.shutdown()
            thread.join()


class Names:
    """A resolver with answers of its own; the last answer of a name stays."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        answers = self.names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def fetcher(
    server: Server,
    *,
    allowed: Sequence[str] = ("pictures.test",),
    seconds: float = 10.0,
    resolve: Names | None = None,
    tls: ssl.SSLContext | None = None,
) -> SafeFetcher:
    limits = FetchLimits(ports=frozenset({80, 443, server.port}), redirects=2, seconds=seconds)
    names = resolve if resolve is not None else Names(pictures_test=[["127.0.0.1"]])
    return SafeFetcher(AddressPolicy(allowed), limits, resolve=names, tls=tls)


def get(fetcher: SafeFetcher, url: str, max_bytes: int = 1000) -> bytes:
    return asyncio.run(fetcher.get(url, max_bytes=max_bytes))


INWARD = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "100::1", "2001::1", "2001:db8::1",
    "2002:7f00:1::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip


class TestAddresses:
    @pytest.mark.parametrize("address", INWARD)
    def test_inward_ones_are_refused(self, address: str) -> None:
        assert not AddressPolicy().permits("any.test", ipaddress.ip_address(address))

    @pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
    def test_public_ones_are_permitted(self, address: str) -> None:
        assert AddressPolicy().permits("any.test", ipaddress.ip_address(address))

    def test_what_is_allowed_by_setting(self) -> None:
        policy = AddressPolicy(["10.1.0.0/16", "Inside.Test", "::1"])
        assert policy.permits("any.test", ipaddress.ip_address("10.1.2.3"))
        assert policy.permits("any.test", ipaddress.ip_address("::ffff:10.1.2.3"))
        assert policy.permits("inside.test.", ipaddress.ip_address("192.168.0.1"))
        assert policy.permits("any.test", ipaddress.ip_address("::1"))
        assert not policy.permits("any.test", ipaddress.ip_address("10.2.0.1"))
        assert not policy.permits("not-inside.test", ipaddress.ip_address("192.168.0.1"))
        with pytest.raises(ValueError, match="host bits"):
            AddressPolicy(["10.0.0.1/8"])


class TestGet:
    def test_the_right_host_path_and_query(self, server: Server) -> None:
        url = f"http://pictures.test:{server.port}/a%20b?c=d#e"
        assert get(fetcher(server), url) == b"picture"
        assert server.asked == [("/a%20b?c=d", f"pictures.test:{server.port}")]

    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0"],
    )
    def test_loopback_however_it_is_written(self, server: Server, host: str) -> None:
        with pytest.raises(AddressRefused):
            get(fetcher(server), f"http://{host}:{server.port}/")
        assert server.asked == []

    @pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:7f00:1"]])
    def test_a_public_name_for_a_private_address(self, server: Server, answer: list[str]) -> None:
        names = Names(evil_test=[answer])
        with pytest.raises(AddressRefused):
            get(fetcher(server, resolve=names), f"http://evil.test:{server.port}/")
        assert server.asked == []

    def test_a_name_is_resolved_once_and_the_checked_address_used(self, server: Server) -> None:
        # The second answer would be refused, and a connection by name would ask for it.
        names = Names(rebinding_test=[["127.0.0.1"], ["10.0.0.1"]])
        policy = fetcher(server, allowed=["127.0.0.1/32"], resolve=names)
        assert get(policy, f"http://rebinding.test:{server.port}/") == b"picture"
        assert names.asked == ["rebinding.test"]
        with pytest.raises(AddressRefused):
            get(policy, f"http://rebinding.test:{server.port}/")

    @pytest.mark.parametrize(
        "url",
        [
            "file:///etc/passwd",
            "ftp://pictures.test/a",
            "gopher://pictures.test/",
            "http://user:secret@pictures.test/",
            "http://pictures.test:22/",
            "http:///nowhere",
            "//pictures.test/",
            "http://[::1/",
        ],
    )
    def test_other_schemes_ports_and_forms(self, server: Server, url: str) -> None:
        with pytest.raises(AddressRefused):
            get(fetcher(server), url)

    def test_an_unknown_host(self, server: Server) -> None:
        with pytest.raises(FetchFailed, match="not known"):
            get(fetcher(server), "http://nowhere.test/")

    def test_redirects_are_followed_and_checked(self, server: Server) -> None:
        base = f"http://pictures.test:{server.port}"
        server.redirects = {
            "/near": "/picture",
            "/twice": "/near",
            "/thrice": "/twice",
            "/inside": f"http://127.0.0.1:{server.port}/secret",
            "/metadata": "http://169.254.169.254/latest/meta-data/",
            "/file": "file:///etc/passwd",
            "/port": "http://pictures.test:22/",
        }
        assert get(fetcher(server), f"{base}/twice") == b"picture"
        with pytest.raises(FetchFailed, match="redirects more than"):
            get(fetcher(server), f"{base}/thrice")
        for inward in ("inside", "metadata", "file", "port"):
            with pytest.raises(AddressRefused):
                get(fetcher(server), f"{base}/{inward}")
        assert all(path != "/secret" for path, _ in server.asked)

    def test_too_many_bytes(self, server: Server) -> None:
        base = f"http://pictures.test:{server.port}"
        for path in ("boast", "endless"):
            with pytest.raises(InvalidImage) as raised:
                get(fetcher(server), f"{base}/{path}")
            assert raised.value.code == "too_large"
        assert get(fetcher(server), f"{base}/p", max_bytes=7) == b"picture"
        with pytest.raises(InvalidImage):
            get(fetcher(server), f"{base}/p", max_bytes=6)

    def test_dripping_headers_end_at_the_deadline(self, server: Server) -> None:
        with pytest.raises(FetchFailed, match="took more than"):
            get(fetcher(server, seconds=0.3), f"http://pictures.test:{server.port}/drip")

    def test_answers_that_are_no_picture(self, server: Server) -> None:
        base = f"http://pictures.test:{server.port}"
        with pytest.raises(FetchFailed, match="404"):
            get(fetcher(server), f"{base}/missing")
        with pytest.raises(FetchFailed, match="compressed"):
            get(fetcher(server), f"{base}/packed")

    def test_nobody_listens(self, server: Server) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        limits = FetchLimits(ports=frozenset({port}))
        names = Names(pictures_test=[["127.0.0.1"]])
        alone = SafeFetcher(AddressPolicy(["pictures.test"]), limits, resolve=names)
        with pytest.raises(FetchFailed, match="does not answer"):
            get(alone, f"http://pictures.test:{port}/")

    def test_proxies_of_the_environment_are_ignored(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert get(fetcher(server), f"http://pictures.test:{server.port}/") == b"picture"


class TestTls:
    def test_the_certificate_is_checked_against_the_name(self, server: Server, tmp_path: Path) -> None:
        pem = tmp_path / "pictures.pem"
        pem.write_text(CERTIFICATE)
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(pem)
        server.socket = serving.wrap_socket(server.socket, server_side=True)
        trusting = ssl.create_default_context(cafile=str(pem))
        names = Names(pictures_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
        allowed = ("pictures.test", "other.test")
        right = fetcher(server, allowed=allowed, resolve=names, tls=trusting)
        assert get(right, f"https://pictures.test:{server.port}/") == b"picture"
        with pytest.raises(FetchFailed, match="certificate"):
            get(right, f"https://other.test:{server.port}/")
        with pytest.raises(FetchFailed, match="certificate"):
            get(fetcher(server, resolve=names), f"https://pictures.test:{server.port}/")


class TestPost:
    def test_a_post(self, server: Server) -> None:
        url = f"http://pictures.test:{server.port}/hook"
        status = asyncio.run(fetcher(server).post(url, b"{}", {"X-Mark": "m"}))
        assert status == 204
        assert server.posted == [(b"{}", "m")]

    def test_redirects_are_not_followed(self, server: Server) -> None:
        url = f"http://pictures.test:{server.port}/moved"
        assert asyncio.run(fetcher(server).post(url, b"{}", {})) == 302
        assert len(server.posted) == 1

    def test_inward_is_refused(self, server: Server) -> None:
        with pytest.raises(AddressRefused):
            asyncio.run(fetcher(server).post(f"http://127.0.0.1:{server.port}/", b"{}", {}))
        assert server.posted == []
