"""The requests of the API, relative to the gateway's address."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from gateway.client.body import MultipartBody
from gateway.client.flow import Request
from gateway.client.sources import Sources
from gateway.schemas import JobOptions

SUBMIT_TIMEOUT = 600.0
"""Seconds for the answer to a submission: the gateway reads and checks every image before it."""


def get(*parts: str, **params: object) -> Request:
    """Of the parameters, those that are None, False or empty are left out."""
    given = {
        name: value for name, value in params.items() if not (value is None or value is False or value == "")
    }
    return Request(
        "GET", _path(*parts), params={name: "true" if v is True else str(v) for name, v in given.items()}
    )


def post(*parts: str, body: BaseModel | None = None, repeatable: bool = True) -> Request:
    content: Any = body.model_dump(mode="json") if body is not None else None
    return Request("POST", _path(*parts), json=content, repeatable=repeatable)


def delete(*parts: str) -> Request:
    return Request("DELETE", _path(*parts))


def submission(sources: Sources, options: JobOptions, idempotency_key: str) -> Request:
    """One job of all sources: addresses as JSON, or the files as a form."""
    headers = {"Idempotency-Key": idempotency_key}
    asked = options.model_dump(mode="json", exclude_unset=True)
    if sources.addresses:
        images = [source.model_dump(mode="json", exclude_none=True) for source in sources.addresses]
        return Request(
            "POST", "/v1/jobs", headers=headers, json={**asked, "images": images}, read_timeout=SUBMIT_TIMEOUT
        )
    job = options.model_dump_json(exclude_unset=True)
    body = MultipartBody([("job", job)], [("images", upload) for upload in sources.uploads])
    return Request("POST", "/v1/jobs", headers=headers, body=body, read_timeout=SUBMIT_TIMEOUT)


def _path(*parts: str) -> str:
    """The first part as it is, the others quoted: an id never reaches another path."""
    return "/".join([parts[0], *(quote(part, safe="") for part in parts[1:])])
