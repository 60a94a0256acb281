"""HTTP on behalf of a caller, which cannot be turned inward (server-side request forgery).

A host name is resolved once, every address that it stands for is checked, and the connection is made to the
address that was checked: a name that resolves differently a moment later (rebinding) changes nothing.
Redirects go the same way again. The environment's proxies are ignored, since they would resolve names
themselves.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from gateway.addresses import AddressPolicy, IpAddress
from services.core.errors import InvalidImage, InvalidInput, Unavailable

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port to addresses."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_USER_AGENT: Final = "tercet-gateway"


class AddressRefused(InvalidInput):
    """The address is none that the gateway connects to for a caller."""


class FetchFailed(Unavailable):
    """The other side did not answer as it should."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Ports, redirects followed, seconds for all of it, seconds to connect."""

    ports: frozenset[int] = frozenset({80, 443})
    redirects: int = 3
    seconds: float = 30.0
    connect_seconds: float = 5.0


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """By the machine's resolver, in its order of preference."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class SafeFetcher:
    """GET and POST to public addresses. Safe to share between tasks and event loops."""

    def __init__(
        self,
        policy: AddressPolicy,
        limits: FetchLimits | None = None,
        *,
        resolve: Resolve = resolve_by_system,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._limits = limits if limits is not None else FetchLimits()
        self._resolve = resolve
        self._tls = tls

    async def get(self, url: str, *, max_bytes: int) -> bytes:
        """The body of a 200 answer, redirects followed.

        Raises `AddressRefused`, `FetchFailed`, and `InvalidImage` (`too_large`) as soon as the body or the
        size that it claims passes `max_bytes`.
        """
        async with self._deadline(url):
            target = httpx.URL(url)
            for _ in range(self._limits.redirects + 1):
                async with self._answer("GET", target, {}, None) as answer:
                    if answer.status_code not in _REDIRECTS:
                        return await self._body(answer, target, max_bytes)
                    target = self._redirected(target, answer)
            raise FetchFailed(f"{url} redirects more than {self._limits.redirects} times")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The answer's status; redirects are not followed. Raises `AddressRefused` and `FetchFailed`."""
        async with self._deadline(url), self._answer("POST", httpx.URL(url), headers, body) as answer:
            return answer.status_code

    def check(self, url: str) -> None:
        """Raises `AddressRefused` for what can be told without resolving: scheme, port, user, address."""
        self._parse(httpx.URL(url))

    @asynccontextmanager
    async def _deadline(self, url: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.seconds):
                yield
        except TimeoutError as error:
            raise FetchFailed(f"{url} took more than {self._limits.seconds:g} s") from error
        except httpx.InvalidURL as error:
            raise AddressRefused(f"{url} is no valid address: {error}") from error
        except (httpx.HTTPError, OSError) as error:
            raise FetchFailed(f"{url} does not answer: {_reason(error)}") from error

    def _parse(self, target: httpx.URL) -> tuple[str, int]:
        if target.scheme not in ("http", "https"):
            raise AddressRefused(f"{target} is neither http nor https; only these are fetched")
        if target.userinfo:
            raise AddressRefused("addresses with a user name or password are not fetched")
        if not target.host:
            raise AddressRefused(f"{target} names no host")
        port = target.port or (443 if target.scheme == "https" else 80)
        if port not in self._limits.ports:
            ports = ", ".join(str(allowed) for allowed in sorted(self._limits.ports))
            raise AddressRefused(f"port {port} is not fetched from; allowed: {ports}")
        literal = _literal(target.host)
        if literal is not None and not self._policy.permits(target.host, literal):
            raise AddressRefused(f"{target.host} is not a public address")
        return target.host, port

    async def _checked_address(self, target: httpx.URL) -> tuple[IpAddress, int]:
        host, port = self._parse(target)
        literal = _literal(host)
        if literal is not None:
            return literal, port
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise FetchFailed(f"the host {host} is not known") from error
        addresses = [ipaddress.ip_address(address) for address in found]
        if not addresses:
            raise FetchFailed(f"the host {host} is not known")
        # One private address among public ones is an attack or a mistake; neither gets a connection.
        if not all(self._policy.permits(host, address) for address in addresses):
            raise AddressRefused(f"{host} is not a public address")
        return addresses[0], port

    @asynccontextmanager
    async def _answer(
        self, method: str, target: httpx.URL, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        address, port = await self._checked_address(target)
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        timeout = httpx.Timeout(self._limits.seconds, connect=self._limits.connect_seconds)
        # A client of its own for each request: no cookie, and no connection of another host at the same
        # address.
        async with (
            httpx.AsyncClient(
                verify=self._tls if self._tls is not None else True,
                trust_env=False,
                follow_redirects=False,
                limits=limits,
                timeout=timeout,
            ) as client,
            client.stream(
                method,
                target.copy_with(host=str(address), port=port, fragment=None),
                headers={
                    "User-Agent": _USER_AGENT,
                    # What is counted is what arrives: nothing that unpacks to more.
                    "Accept-Encoding": "identity",
                    **headers,
                    "Host": target.netloc.decode("ascii"),
                },
                content=body,
                # The certificate is checked against the name, not the address.
                extensions={"sni_hostname": target.raw_host.decode("ascii")},
            ) as answer,
        ):
            yield answer

    async def _body(self, answer: httpx.Response, target: httpx.URL, max_bytes: int) -> bytes:
        if answer.status_code != 200:
            raise FetchFailed(f"{target} answers {answer.status_code}")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchFailed(f"{target} answers compressed although it was asked not to")
        claimed = answer.headers.get("content-length", "")
        if claimed.isdigit() and int(claimed) > max_bytes:
            raise _too_large(target, max_bytes)
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > max_bytes:
                raise _too_large(target, max_bytes)
        return bytes(body)

    @staticmethod
    def _redirected(target: httpx.URL, answer: httpx.Response) -> httpx.URL:
        location = answer.headers.get("location")
        if not location:
            raise FetchFailed(f"{target} redirects to nowhere")
        return target.join(location)


def _literal(host: str) -> IpAddress | None:
    """The address that a host is by itself; also what resolvers read as one (2130706433, 0x7f.1, 127.1)."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _too_large(target: httpx.URL, max_bytes: int) -> InvalidImage:
    return InvalidImage(f"{target} has more than {max_bytes} bytes, the most that is taken", code="too_large")
