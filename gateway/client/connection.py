"""What both performers share: how a request of a flow becomes one of httpx."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import httpx

from gateway.client.flow import Request
from gateway.client.settings import ClientSettings


def headers(settings: ClientSettings) -> dict[str, str]:
    """Sent with every request."""
    try:
        release = version("tercet")
    except PackageNotFoundError:
        release = "unreleased"
    key = settings.key()
    always = {"User-Agent": f"tercet-python/{release}", "Accept": "application/json"}
    return always if key is None else {**always, "Authorization": f"Bearer {key}"}


def timeout(settings: ClientSettings) -> httpx.Timeout:
    """Of every request that does not say otherwise."""
    return httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout)


def built(
    http: httpx.Client | httpx.AsyncClient, settings: ClientSettings, request: Request
) -> httpx.Request:
    """The request with the client's base URL and headers; a body is streamed, its length known."""
    read = request.read_timeout or settings.read_timeout
    prepared = http.build_request(
        request.method,
        request.path,
        params=dict(request.params) or None,
        headers=dict(request.headers),
        json=request.json,
        timeout=httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout, read=read),
    )
    if request.body is None:
        return prepared
    prepared.headers["Content-Type"] = request.body.media_type
    prepared.headers["Content-Length"] = str(request.body.length)
    return httpx.Request(
        request.method,
        prepared.url,
        headers=prepared.headers,
        stream=request.body,
        extensions=prepared.extensions,
    )
