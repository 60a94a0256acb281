"""What the OpenAPI document says about problems, shared by all routes."""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import KINDS, MEDIA_TYPE, TYPE_PREFIX, Kind
from gateway.schemas import Problem

_WORDS: Final[dict[int, str]] = {
    400: "The request is malformed.",
    401: "No key, or one that is not known.",
    403: "The key's roles do not allow it.",
    404: "No such thing for this tenant; the same for a foreign id as for an unknown one.",
    409: "It contradicts an earlier request.",
    412: "The lease has ended or belongs to someone else; `detail` says what became of the task.",
    413: "The body, an image or the number of images passes a limit.",
    415: "That kind of body, or of every file in it, is not taken.",
    422: "Fields are wrong, or no image can be used.",
    429: "Too many requests; see Retry-After.",
    503: "Too busy, or a part does not answer; see Retry-After.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: these problems, and those that every route with a key can answer with."""
    return {status: _response(status) for status in sorted({401, 403, 429, 503, *statuses})}


def _response(status: int) -> dict[str, Any]:
    kind = next((kind for kind in KINDS.values() if kind.status == status), None)
    kind = kind or Kind(status, "problem", _WORDS[status])
    described: dict[str, Any] = {
        "description": _WORDS[status],
        "model": Problem,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {
                    "type": TYPE_PREFIX + kind.code,
                    "title": kind.title,
                    "status": status,
                    "detail": _WORDS[status],
                    "code": kind.code,
                    "instance": "/v1/jobs",
                    "request_id": "4f1c0a6e9b2d",
                },
            }
        },
    }
    if status in (429, 503):
        described["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        }
    return described
