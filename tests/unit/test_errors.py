"""Every core error through the gRPC table and back."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from services.core import errors
from services.core.errors import TercetError
from services.kit.rpc.errors import DETAILS_KEY, STATUSES, code_of, from_status, to_status


def every_class() -> list[type[TercetError]]:
    found: list[type[TercetError]] = []
    ahead: list[type[TercetError]] = [TercetError]
    while ahead:
        kind = ahead.pop()
        found.append(kind)
        # Subclasses that tests define are not part of the table.
        ahead += [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return found


def example(kind: type[TercetError]) -> TercetError:
    if kind is errors.InvalidImage:
        return errors.InvalidImage("the image ends too early", code="truncated")
    if kind is errors.Overloaded:
        return errors.Overloaded("come back later", retry_after=2.5)
    return kind("what is wrong, and what to do")


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_row_and_comes_back_as_itself(kind: type[TercetError]) -> None:
    assert kind in STATUSES, f"{kind.__name__} has no status in the table"
    sent = example(kind)
    status = to_status(sent)
    assert status.code is STATUSES[kind] is not grpc.StatusCode.OK
    received = from_status(status.code, status.details, tuple(status.trailing_metadata))
    assert type(received) is kind
    assert str(received) == str(sent)
    assert vars(received) == vars(sent), "attributes such as code and retry_after survive"


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
def test_without_our_details_the_status_gives_the_same_class_or_a_base_of_it(kind: type[TercetError]) -> None:
    received = from_status(STATUSES[kind], "from somewhere else")
    if kind is TercetError:
        assert type(received) is errors.Internal
    else:
        assert issubclass(kind, type(received))


def test_a_class_outside_the_table_has_its_bases_status() -> None:
    class Stale(errors.Conflict):
        """A subclass that the table does not know."""

    assert code_of(Stale("old")) is grpc.StatusCode.ABORTED


def test_grpcs_refusal_of_a_large_message_is_no_overload() -> None:
    received = from_status(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5000000 vs. 4194304)"
    )
    assert type(received) is errors.TooLarge


def test_a_long_message_is_cut_to_what_trailers_can_carry() -> None:
    status = to_status(errors.InvalidInput("x" * 100_000))
    assert len(status.details) <= 1500
    assert sum(len(value) for _, value in status.trailing_metadata) < 8192


@pytest.mark.parametrize(
    "trailer",
    [
        b"\xff\xff not a status",
        status_pb2.Status(code=5, details=[AnyProto(type_url="nothing", value=b"\xff")]).SerializeToString(),
        status_pb2.Status(
            code=5, details=[AnyProto(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")]
        ).SerializeToString(),
    ],
)
def test_broken_details_are_ignored(trailer: bytes) -> None:
    received = from_status(grpc.StatusCode.NOT_FOUND, "gone", ((DETAILS_KEY, trailer),))
    assert type(received) is errors.NotFound
    assert str(received) == "gone"


def test_another_domains_reason_is_not_taken_for_ours() -> None:
    status = status_pb2.Status(code=5)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="Forbidden", domain="example.org"))
    received = from_status(grpc.StatusCode.NOT_FOUND, "gone", ((DETAILS_KEY, status.SerializeToString()),))
    assert type(received) is errors.NotFound
