"""The problem table: every core error has its status, and problem details say what RFC 9457 wants."""

from __future__ import annotations

import pytest

# Imported for the errors that they define.
import gateway.fetching
import gateway.options  # noqa: F401
from gateway.errors import (
    IMAGE_STATUSES,
    KINDS,
    KeyInFlight,
    NoImageTaken,
    RateLimited,
    WrongFields,
    kind_of,
    problem,
)
from gateway.schemas import FieldError, RefusedImage
from services.core import errors
from services.core.errors import TercetError


def every_class(base: type[TercetError] = TercetError) -> list[type[TercetError]]:
    """Those that can reach the gateway: of the domain and its own, not what an adapter keeps to itself."""
    children = [c for c in base.__subclasses__() if c.__module__.startswith(("services.core.", "gateway."))]
    return [base, *(found for child in children for found in every_class(child))]


def an_instance(kind: type[TercetError]) -> TercetError:
    if issubclass(kind, WrongFields):
        return kind("wrong", [FieldError(field="a", detail="b")])
    if issubclass(kind, NoImageTaken):
        return kind([RefusedImage(name="a", code="empty", reason="b")])
    if issubclass(kind, KeyInFlight):
        return kind("wait", retry_after=2.0)
    return kind("a sentence for a person")


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
def test_every_error_is_answered(kind: type[TercetError]) -> None:
    body, headers = problem(an_instance(kind), instance="/v1/x")
    assert 400 <= body.status <= 599
    assert body.type == f"urn:tercet:problem:{body.code}"
    assert body.title
    assert body.detail
    assert body.instance == "/v1/x"
    assert ("Retry-After" in headers) == (body.status in (429, 503) or kind is KeyInFlight)
    assert ("WWW-Authenticate" in headers) == (body.status == 401)


def test_every_core_error_has_its_own_line() -> None:
    ours = {kind for kind in every_class() if kind.__module__ == "services.core.errors"}
    assert ours <= KINDS.keys()


def test_only_faults_of_ours_are_server_errors() -> None:
    for kind in every_class():
        status = kind_of(an_instance(kind)).status
        fault = (
            issubclass(kind, errors.Internal | errors.Unavailable | errors.Overloaded) or kind is TercetError
        )
        assert (status >= 500) == (fault and not issubclass(kind, RateLimited)), kind


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("empty", 400),
        ("too_large", 413),
        ("too_many_pixels", 413),
        ("unsupported_type", 415),
        ("truncated", 422),
    ],
)
def test_images_go_by_their_code(code: str, status: int) -> None:
    found = kind_of(errors.InvalidImage("no", code=code))
    assert (found.status, found.code) == (status, code)
    assert IMAGE_STATUSES.get(code, 422) == status


def test_no_image_taken_has_the_one_status_of_all() -> None:
    def refused(*codes: str) -> int:
        return kind_of(NoImageTaken([RefusedImage(name="a", code=code, reason="r") for code in codes])).status

    assert refused("unsupported_type", "unsupported_type") == 415
    assert refused("too_large", "too_many_pixels") == 413
    assert refused("unsupported_type", "empty") == 422


def test_what_is_inside_stays_inside() -> None:
    for error in (errors.Internal("db at 10.0.0.7"), errors.Unavailable("10.0.0.7:50055 refused")):
        body, _ = problem(error, instance="/")
        assert "10.0.0.7" not in body.detail


def test_a_wait_is_whole_seconds_and_never_zero() -> None:
    _, headers = problem(errors.Overloaded("busy", retry_after=0.1), instance="/")
    assert headers["Retry-After"] == "1"
    _, headers = problem(RateLimited("slow", retry_after=3.2), instance="/")
    assert headers["Retry-After"] == "4"
