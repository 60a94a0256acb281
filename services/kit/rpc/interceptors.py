"""Around every call in a server: admission, deadline, trace, log context, metrics, errors to statuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NoReturn, TypeVar

import grpc
from opentelemetry.trace import SpanKind

from services.core.errors import Internal, Overloaded, TercetError
from services.kit import metrics, tracing
from services.kit.deadlines import deadline
from services.kit.logging import get_logger, logged_with
from services.kit.rpc import errors

_LOG = get_logger(__name__)

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Around = Callable[[Any, grpc.ServicerContext], AbstractContextManager[None]]

# A request's own words for what it is about, bound to every line logged meanwhile.
_LOGGED_FIELDS = ("tenant", "job_id", "image_id")
_CLIENT_FAULTS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
)


# Without a deadline gRPC gives the seconds to the end of its time, not None as documented.
_NO_DEADLINE = 1e9


def _split(method: str) -> tuple[str, str]:
    """`/tercet.v1.MiningService/LeaseTask` -> (`tercet.v1.MiningService`, `LeaseTask`)."""
    service, _, name = method.lstrip("/").partition("/")
    return service, name


def _is_ours(service: str) -> bool:
    """Whether it is a service of ours: health and reflection are gRPC's own and answer for themselves."""
    return not service.startswith("grpc.")


class Admission(grpc.ServerInterceptor):
    """Refuses a call at once when too many wait for a thread, so that a flood costs no memory.

    `full` says whether that is so; it is asked on the thread that accepts calls and must not block. The
    refusals are written from `pool`, since the threads that work calls are busy.
    """

    def __init__(
        self, full: Callable[[], bool], pool: ThreadPoolExecutor, *, retry_after: float = 1.0
    ) -> None:
        self._full = full
        self._refusal = errors.to_status(
            Overloaded("too many calls wait; try again soon", retry_after=retry_after)
        )

        def refuse(_: Any, context: grpc.ServicerContext) -> Any:
            context.abort_with_status(self._refusal)

        refuse.experimental_thread_pool = pool  # type: ignore[attr-defined]
        self._refuse = refuse

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[_Request, _Response] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_Request, _Response] | None:
        """The handler, or one that refuses."""
        handler = continuation(handler_call_details)
        service, _ = _split(handler_call_details.method)
        if handler is None or not _is_ours(service) or not self._full():
            return handler
        metrics.RPC_REFUSED.labels(service).inc()
        refusing = (
            grpc.unary_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return refusing(self._refuse, handler.request_deserializer, handler.response_serializer)


class AroundCalls(grpc.ServerInterceptor):
    """Wraps every call of our services.

    A unary call that brings no deadline gets `default_timeout` seconds for the calls that it makes in turn.
    """

    def __init__(self, *, default_timeout: float) -> None:
        self._default_timeout = default_timeout

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[_Request, _Response] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_Request, _Response] | None:
        """The handler with everything around it."""
        handler = continuation(handler_call_details)
        service, method = _split(handler_call_details.method)
        if handler is None or not _is_ours(service):
            return handler
        default = None if handler.response_streaming else self._default_timeout
        headers = dict(handler_call_details.invocation_metadata)
        parent = str(headers.get(tracing.TRACEPARENT, ""))

        @contextmanager
        def around(request: Any, context: grpc.ServicerContext) -> Iterator[None]:
            left: float | None = context.time_remaining()
            if left is not None and left > _NO_DEADLINE:
                left = None
            about = {name: getattr(request, name, "") for name in _LOGGED_FIELDS}
            with ExitStack() as stack:
                stack.enter_context(deadline(default if left is None else left))
                stack.enter_context(tracing.span(f"{service}/{method}", parent=parent, kind=SpanKind.SERVER))
                stack.enter_context(logged_with(rpc=method, **about))
                stack.enter_context(metrics.RPC_IN_FLIGHT.labels(service, method).track_inprogress())
                started = time.perf_counter()
                code = grpc.StatusCode.OK
                try:
                    yield
                except GeneratorExit:
                    code = grpc.StatusCode.CANCELLED  # the client went away in mid-stream
                    raise
                except Exception as error:
                    known = _known(error)
                    code = errors.code_of(known)
                    _abort(context, known, error)
                finally:
                    metrics.RPC_SECONDS.labels(service, method, code.name).observe(
                        time.perf_counter() - started
                    )

        return _wrapped(handler, around)


def _known(error: Exception) -> TercetError:
    """The error that the client is told; an unforeseen one without its words, which may say too much."""
    if isinstance(error, TercetError):
        return error
    if isinstance(error, grpc.RpcError):
        return errors.from_rpc_error(error)
    return Internal("internal error; the service's log has the reason")


def _abort(context: grpc.ServicerContext, known: TercetError, error: Exception) -> NoReturn:
    code = errors.code_of(known)
    if known is not error or isinstance(error, Internal):
        _LOG.error("call failed", code=code.name, exc_info=error)
    elif code in _CLIENT_FAULTS:
        _LOG.info("call refused", code=code.name, error=type(error).__name__, reason=str(error))
    else:
        _LOG.warning("call failed", code=code.name, error=type(error).__name__, reason=str(error))
    context.abort_with_status(errors.to_status(known))


def _wrapped(
    handler: grpc.RpcMethodHandler[_Request, _Response], around: _Around
) -> grpc.RpcMethodHandler[_Request, _Response]:
    """The handler with `around(request, context)` around it; for a stream, around its whole iteration."""
    if handler.unary_unary is not None:
        unary = handler.unary_unary

        def call(request: _Request, context: grpc.ServicerContext) -> _Response:
            with around(request, context):
                return unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )
    if handler.unary_stream is not None:
        stream = handler.unary_stream

        def call_stream(request: _Request, context: grpc.ServicerContext) -> Iterator[_Response]:
            with around(request, context):
                yield from stream(request, context)

        return grpc.unary_stream_rpc_method_handler(
            call_stream, handler.request_deserializer, handler.response_serializer
        )
    # No RPC of ours streams requests; one that did would need its own wrapping rather than run without it.
    raise Internal("RPCs that stream requests are not served")
