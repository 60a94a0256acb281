"""The web page: built assets, served with headers that let nothing else run beside them."""

from __future__ import annotations

import mimetypes
from pathlib import Path as FilePath
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from services.core.errors import NotFound

router = APIRouter(include_in_schema=False)

DIST: Final = FilePath(__file__).parents[1] / "web" / "dist"
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_CAREFUL: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
}
_REVALIDATED: Final = {**_CAREFUL, "Cache-Control": "no-cache"}
# The names hold a hash of the content.
_FOREVER: Final = {**_CAREFUL, "Cache-Control": "public, max-age=31536000, immutable"}
_NOT_BUILT: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Tercet</title>
<h1>The page is not built</h1>
<p>This gateway runs from sources whose web page has not been built yet. Build it by <code>make web</code>
and load this address again; the gateway need not be restarted.</p>
<p>The REST API does without it: <a href="/docs">/docs</a>.</p></html>
"""


@router.api_route("/", methods=["GET", "HEAD"])
def get_page(request: Request) -> Response:
    """The page. It asks for a key itself; all that it shows comes by `/v1`."""
    index = _dist(request) / "index.html"
    if not index.is_file():
        return HTMLResponse(_NOT_BUILT, status_code=503, headers={**_CAREFUL, "Cache-Control": "no-store"})
    return FileResponse(index, media_type="text/html; charset=utf-8", headers=_REVALIDATED)


@router.api_route("/favicon.svg", methods=["GET", "HEAD"])
def get_icon(request: Request) -> Response:
    """The page's icon."""
    return _file(_dist(request) / "favicon.svg", _REVALIDATED)


@router.api_route("/assets/{name}", methods=["GET", "HEAD"])
def get_asset(
    request: Request, name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=200)]
) -> Response:
    """A script or style sheet of the page."""
    return _file(_dist(request) / "assets" / name, _FOREVER)


def _dist(request: Request) -> FilePath:
    """Where the assets are; an application may have them elsewhere."""
    folder: FilePath = getattr(request.app.state, "page", DIST)
    return folder


def _file(path: FilePath, headers: dict[str, str]) -> Response:
    if not path.is_file():
        raise NotFound(f"there is no {path.name} in the page's build; load the page anew")
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=media_type, headers=headers)
