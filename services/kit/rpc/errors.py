"""Core errors to gRPC statuses and back: the one table.

A status carries, beside code and message, the standard details of `google.rpc` in the trailer
`grpc-status-details-bin`: `ErrorInfo` (reason: the error's class, domain: "tercet", metadata: its attributes)
and, for `Overloaded`, `RetryInfo`. Our client makes the very error again from them; any other gRPC client can
read them too.
"""

from __future__ import annotations

from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from services.core import errors
from services.core.errors import TercetError

DOMAIN: Final = "tercet"
DETAILS_KEY: Final = "grpc-status-details-bin"
# Proxies and gRPC itself cap trailers (8 KiB by default), and the message travels in them twice.
_MESSAGE_LIMIT: Final = 1500

STATUSES: Final[dict[type[TercetError], grpc.StatusCode]] = {
    errors.TercetError: grpc.StatusCode.UNKNOWN,
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidImage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyDecided: grpc.StatusCode.ALREADY_EXISTS,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.LeaseLost: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
"""The status of each class. A class that is not in it has its nearest base's."""

# For statuses without our details: gRPC's own, or another server's.
_BARE: Final[dict[grpc.StatusCode, type[TercetError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyDecided,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: errors.LeaseLost,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}


class _Status(grpc.Status):
    """What `ServicerContext.abort_with_status` takes."""

    def __init__(self, code: grpc.StatusCode, details: str, status: status_pb2.Status) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = ((DETAILS_KEY, status.SerializeToString()),)


def _classes(base: type[TercetError]) -> dict[str, type[TercetError]]:
    found = {base.__name__: base}
    for child in base.__subclasses__():
        found |= _classes(child)
    return found


def code_of(error: TercetError) -> grpc.StatusCode:
    """The status code of the error's class, or of its nearest base in the table."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def to_status(error: TercetError) -> grpc.Status:
    """The status to answer with, details included."""
    code = code_of(error)
    message = str(error)
    if len(message) > _MESSAGE_LIMIT:
        message = message[: _MESSAGE_LIMIT - 1] + "…"
    info = error_details_pb2.ErrorInfo(reason=type(error).__name__, domain=DOMAIN)
    if isinstance(error, errors.InvalidImage):
        info.metadata["code"] = error.code
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(info)
    if isinstance(error, errors.Overloaded):
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return _Status(code, message, status)


def from_status(
    code: grpc.StatusCode,
    message: str,
    trailers: tuple[tuple[str, str | bytes], ...] = (),
) -> TercetError:
    """The core error of a status: the very one where our server answered, else the nearest by code."""
    status = _details(trailers)
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    ours = False
    retry_after = 1.0
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            ours = _unpack(detail, info) and info.domain == DOMAIN
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) and _unpack(detail, retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    kind = _classes(TercetError).get(info.reason) if ours else None
    if kind is None:
        kind = _BARE.get(code, errors.Internal)
        # gRPC's own refusal of a large message has the code of an overload, yet waiting cannot help.
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message:
            kind = errors.TooLarge
    if issubclass(kind, errors.InvalidImage):
        return kind(message, code=info.metadata.get("code", "invalid_image"))
    if issubclass(kind, errors.Overloaded):
        return kind(message, retry_after=retry_after)
    return kind(message)


def from_rpc_error(error: grpc.RpcError) -> TercetError:
    """The core error of what a gRPC call raised."""
    call: Any = error  # what a stub raises is an RpcError and a Call; the stubs' types know only the first
    if not hasattr(call, "trailing_metadata"):
        return errors.Internal(f"gRPC failed: {error}")
    trailers = tuple((key, value) for key, value in call.trailing_metadata() or ())
    return from_status(call.code(), call.details() or call.code().name, trailers)


def _details(trailers: tuple[tuple[str, str | bytes], ...]) -> status_pb2.Status | None:
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except DecodeError:
                return None
            return status
    return None


def _unpack(detail: AnyProto, into: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> bool:
    try:
        return detail.Unpack(into)
    except DecodeError:
        return False
