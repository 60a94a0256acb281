"""Core errors to HTTP: the one table, and the handlers that answer with RFC 9457 problem details."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.request_context import request_id
from gateway.schemas import FieldError, Problem, RefusedImage
from services.core import errors
from services.core.errors import TercetError
from services.kit.logging import get_logger

_LOG = get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:tercet:problem:"


class RateLimited(errors.Overloaded):
    """The key makes too many requests."""


class UnsupportedMedia(errors.InvalidInput):
    """The body's media type is none that is taken here."""


class MalformedBody(errors.InvalidInput):
    """The body cannot be parsed at all."""


class BodyStalled(errors.InvalidInput):
    """The body stopped coming."""


class WrongFields(errors.InvalidInput):
    """The body can be parsed and its fields are wrong."""

    def __init__(self, message: str, fields: Sequence[FieldError]) -> None:
        super().__init__(message)
        self.fields = tuple(fields)


class TryAgain(errors.Unavailable):
    """It did not work out this time, and the text says what to do."""


class KeyReused(errors.Conflict):
    """An Idempotency-Key that stands for another request."""


class KeyInFlight(errors.Conflict):
    """An Idempotency-Key whose first request is not answered yet."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoImageTaken(errors.InvalidInput):
    """Every image of a job was refused: nothing was created."""

    def __init__(self, refused: Sequence[RefusedImage]) -> None:
        first = refused[0]
        count = "the image was" if len(refused) == 1 else f"all {len(refused)} images were"
        super().__init__(f"{count} refused; {first.name}: {first.reason}")
        self.refused = tuple(refused)


class Kind(NamedTuple):
    """How a class of errors is answered."""

    status: int
    code: str
    title: str


KINDS: Final[dict[type[TercetError], Kind]] = {
    errors.TercetError: Kind(500, "internal", "Something is broken inside Tercet"),
    errors.InvalidInput: Kind(400, "invalid_request", "The request is wrong"),
    errors.InvalidImage: Kind(422, "invalid_image", "The image cannot be taken"),
    errors.TooLarge: Kind(413, "too_large", "Larger than is taken"),
    errors.Unauthenticated: Kind(401, "unauthenticated", "A valid API key is needed"),
    errors.Forbidden: Kind(403, "forbidden", "This key may not do that"),
    errors.NotFound: Kind(404, "not_found", "Not found"),
    errors.AlreadyDecided: Kind(409, "already_decided", "Another decision came first"),
    errors.Conflict: Kind(409, "conflict", "Contradicts an earlier request"),
    errors.LeaseLost: Kind(412, "lease_lost", "The lease has ended or belongs to someone else"),
    errors.Overloaded: Kind(503, "overloaded", "Too busy for now"),
    errors.Unavailable: Kind(503, "unavailable", "A part that is needed does not answer"),
    errors.DeadlineExceeded: Kind(504, "deadline_exceeded", "A part that is needed did not answer in time"),
    errors.Internal: Kind(500, "internal", "Something is broken inside Tercet"),
    RateLimited: Kind(429, "rate_limited", "Too many requests"),
    UnsupportedMedia: Kind(415, "unsupported_media_type", "That kind of body is not taken here"),
    MalformedBody: Kind(400, "malformed_body", "The body cannot be parsed"),
    BodyStalled: Kind(408, "body_stalled", "The body stopped coming"),
    WrongFields: Kind(422, "wrong_fields", "Fields of the request are wrong"),
    KeyReused: Kind(422, "idempotency_key_reused", "The Idempotency-Key stands for another request"),
    KeyInFlight: Kind(
        409, "idempotency_key_in_flight", "The first request with this key is not answered yet"
    ),
    NoImageTaken: Kind(422, "no_image_taken", "Every image was refused"),
}
"""How each class is answered. A class that is not in it is answered as its nearest base."""

IMAGE_STATUSES: Final[Mapping[str, int]] = {
    "empty": 400,
    "too_large": 413,
    "too_many_pixels": 413,
    "unsupported_type": 415,
}
"""Statuses of refused images by their code; every other code is 422: a format that is taken, and unusable."""

UNAVAILABLE_RETRY_SECONDS: Final = 2.0
# The texts of these are for our log: they name parts and addresses inside.
_KEPT_INSIDE: Final[Mapping[type[TercetError], str]] = {
    errors.TercetError: "the log has the reason; quote the request id",
    errors.Internal: "the log has the reason; quote the request id",
    errors.Unavailable: "a part inside Tercet does not answer; try again shortly",
    errors.DeadlineExceeded: "a part inside Tercet did not answer in time; try again shortly",
}


def kind_of(error: TercetError) -> Kind:
    """The error's kind: its class's or its nearest base's; of images, the status goes by the code."""
    kind = next(KINDS[base] for base in type(error).__mro__ if base in KINDS)
    if isinstance(error, errors.InvalidImage):
        return kind._replace(status=IMAGE_STATUSES.get(error.code, kind.status), code=error.code)
    if isinstance(error, NoImageTaken):
        statuses = {IMAGE_STATUSES.get(image.code, 422) for image in error.refused}
        if len(statuses) == 1:
            return kind._replace(status=statuses.pop())
    return kind


def problem(error: TercetError, *, instance: str) -> tuple[Problem, dict[str, str]]:
    """The problem details of an error, and the headers that go with its status."""
    kind = kind_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, errors.Overloaded | KeyInFlight):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif kind.status == 503:
        headers["Retry-After"] = str(math.ceil(UNAVAILABLE_RETRY_SECONDS))
    if kind.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    detail = _KEPT_INSIDE.get(type(error), str(error))
    fields = error.fields if isinstance(error, WrongFields) else ()
    refused = error.refused if isinstance(error, NoImageTaken) else ()
    return (
        Problem(
            type=TYPE_PREFIX + kind.code,
            title=kind.title,
            status=kind.status,
            detail=detail,
            code=kind.code,
            instance=instance,
            request_id=request_id(),
            errors=list(fields),
            refused=list(refused),
        ),
        headers,
    )


def response(error: TercetError, *, instance: str) -> JSONResponse:
    """The answer to a request that raised the error."""
    body, headers = problem(error, instance=instance)
    return JSONResponse(
        body.model_dump(mode="json", exclude_defaults=True),
        status_code=body.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def field_errors(raised: Sequence[Mapping[str, object]], *, within: str = "") -> list[FieldError]:
    """Pydantic's errors as ours; `within` is the part of the request that was checked."""
    found = []
    for item in raised:
        location = item.get("loc")
        parts = [str(part) for part in location] if isinstance(location, tuple | list) else []
        if within:
            parts = [within, *parts]
        found.append(FieldError(field=".".join(parts), detail=str(item.get("msg", ""))))
    return found


def wrong_fields(raised: Sequence[Mapping[str, object]], *, within: str = "") -> WrongFields:
    """What to raise for pydantic's errors."""
    fields = field_errors(raised, within=within)
    first = fields[0] if fields else FieldError(field="", detail="the request does not fit its schema")
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    return WrongFields(f"{first.field}: {first.detail}{more}", fields)


async def _on_core_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TercetError)
    kind = kind_of(error)
    if kind.status >= 500 and not isinstance(error, errors.Overloaded):
        _LOG.error("request failed", path=request.url.path, error=type(error).__name__, reason=str(error))
    return response(error, instance=request.url.path)


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    raised = error.errors()
    if any(item.get("type") == "json_invalid" for item in raised):
        return response(MalformedBody("the body is no valid JSON"), instance=request.url.path)
    return response(wrong_fields(raised), instance=request.url.path)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    details = {
        404: f"there is nothing at {request.url.path}; /docs lists what there is",
        405: f"{request.method} is not possible here",
        413: "the body is larger than is taken here",
    }
    code = status.name.lower()
    body = Problem(
        type=TYPE_PREFIX + code,
        title=status.phrase,
        status=status.value,
        detail=details.get(status.value, str(error.detail)),
        code=code,
        instance=request.url.path,
        request_id=request_id(),
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude_defaults=True),
        status_code=status.value,
        headers=dict(error.headers or {}),
        media_type=MEDIA_TYPE,
    )


async def _on_anything(request: Request, error: Exception) -> JSONResponse:
    _LOG.error("request failed unexpectedly", path=request.url.path, exc_info=error)
    return response(errors.Internal(type(error).__name__), instance=request.url.path)


def install(app: FastAPI) -> None:
    """Every error of the app is answered with problem details."""
    app.add_exception_handler(TercetError, _on_core_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_anything)
