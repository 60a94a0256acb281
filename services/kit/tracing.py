"""W3C trace context, carried by the records' `traceparent` header and by gRPC metadata.

Every process continues the trace of whoever called it, so that one image's way is one trace. Spans leave the
process only when `OTEL_EXPORTER_OTLP_ENDPOINT` is set (the exporter is imported only then).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"

_PROPAGATOR = TraceContextTextMapPropagator()
# The provider of the process. Before `configure` it makes and passes on trace ids and exports nothing.
_provider = TracerProvider(resource=Resource({SERVICE_NAME: "tercet"}), shutdown_on_exit=False)


def configure(name: str) -> None:
    """Name the process in its spans, and export them when the environment names a collector."""
    global _provider
    _provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: f"tercet-{name}"}), shutdown_on_exit=False
    )
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))


def shutdown() -> None:
    """Send the spans that wait."""
    _provider.shutdown()


def traceparent() -> str:
    """The `traceparent` of the current span, for a record's headers or a call; empty without a span."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(TRACEPARENT, "")


def trace_id() -> str:
    """Hex id of the current trace; empty without a span."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


@contextmanager
def span(
    name: str,
    *,
    parent: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int | float] | None = None,
) -> Iterator[Span]:
    """A span around the block; below `parent` (a `traceparent`) where given, else below the current span."""
    context: Context | None = _PROPAGATOR.extract({TRACEPARENT: parent}) if parent else None
    tracer = _provider.get_tracer("tercet")
    with tracer.start_as_current_span(
        name, context=context, kind=kind, attributes=dict(attributes or {})
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
