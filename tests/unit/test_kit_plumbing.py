"""Settings, logs, deadlines, retries and metrics of the kit."""

from __future__ import annotations

import io
import json
import logging as stdlib_logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.trace import Span
from pydantic import Field, ValidationError

from services.core.errors import DeadlineExceeded, InvalidInput, Overloaded, Unavailable
from services.kit import logging, metrics, tracing
from services.kit.clock import ManualClock
from services.kit.deadlines import deadline, remaining, within
from services.kit.retry import Backoff, retry
from services.kit.settings import GRPC_PORTS, KitSettings, default_metrics_port, describe


class OwnSettings(KitSettings):
    """As a service extends the kit's."""

    accept_above: float = Field(0.9, description="A pair scoring above this is accepted.")


def test_settings_come_from_the_environment_and_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERCET_KAFKA_BOOTSTRAP", "broker:1")
    monkeypatch.setenv("TERCET_ACCEPT_ABOVE", "0.8")
    monkeypatch.setenv("TERCET_GRPC_PORT", "")
    settings = OwnSettings()
    assert settings.kafka_bootstrap == "broker:1"
    assert settings.accept_above == 0.8
    assert settings.grpc_port is None, "an empty variable is an unset one"
    with pytest.raises(ValidationError):
        settings.accept_above = 0.1  # type: ignore[misc]


def test_every_setting_is_described_for_help() -> None:
    text = describe(OwnSettings)
    for name, field in OwnSettings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert f"TERCET_{name.upper()}=" in text
        assert field.description in text
    assert "TERCET_ACCEPT_ABOVE=0.9" in text


def test_metrics_ports_follow_the_grpc_ports() -> None:
    assert default_metrics_port(GRPC_PORTS["proposer"]) == 9401
    assert default_metrics_port(GRPC_PORTS["dataset"]) == 9405
    assert default_metrics_port(GRPC_PORTS["segmenter"] + 100) == 9502, "a second replica"


@pytest.fixture
def json_log() -> Iterator[io.StringIO]:
    """What is logged as JSON; the logging of the test run is as before afterwards."""
    root = stdlib_logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    logging.configure("mining", KitSettings(log_format="json"), stream=stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_logs_are_json_with_what_is_worked_on(json_log: io.StringIO) -> None:
    log = logging.get_logger("tests")
    with tracing.span("work"), logging.logged_with(tenant="acme", job_id="j1", image_id=""):
        log.info("outer", count=2)
        with logging.logged_with(job_id="j2"):
            log.info("inner")
        log.info("outer again")
        trace_id = tracing.trace_id()
    log.info("after")
    stdlib_logging.getLogger("a.library").warning("said %s", "this")
    log.debug("not shown at info")
    outer, inner, again, after, foreign = lines(json_log)
    assert outer["event"] == "outer"
    assert (outer["service"], outer["tenant"], outer["job_id"], outer["count"]) == ("mining", "acme", "j1", 2)
    assert "image_id" not in outer
    assert outer["trace_id"] == trace_id
    assert inner["job_id"] == "j2"
    assert again["job_id"] == "j1"
    assert {"tenant", "job_id", "trace_id"}.isdisjoint(after)
    assert (foreign["event"], foreign["logger"], foreign["level"]) == ("said this", "a.library", "warning")


def test_exceptions_are_logged_in_one_line(json_log: io.StringIO) -> None:
    try:
        raise ValueError("inside")
    except ValueError:
        logging.get_logger("tests").exception("failed")
    (line,) = lines(json_log)
    assert "ValueError: inside" in str(line["exception"])


def test_a_trace_goes_on_from_a_traceparent() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert tracing.traceparent() == ""
    with tracing.span("work", parent=parent):
        assert tracing.trace_id() == "0af7651916cd43dd8448eb211c80319c"
        with tracing.span("part") as part:
            assert tracing.trace_id() == "0af7651916cd43dd8448eb211c80319c"
            assert _parent_of(part) != "b7ad6b7169203331"
        assert tracing.traceparent().startswith("00-0af7651916cd43dd8448eb211c80319c-")
    with tracing.span("work", parent="nonsense"):
        assert len(tracing.trace_id()) == 32, "a bad header starts a trace of its own"


def _parent_of(span: Span) -> str:
    parent = getattr(span, "parent", None)
    return "" if parent is None else f"{parent.span_id:016x}"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps the names of the spans."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str]] = []

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        for resource in request.resource_spans:
            (name,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            self.spans += [(name, span.name) for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


def test_spans_leave_the_process_when_a_collector_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    add_collector: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add_collector(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setattr(tracing, "_provider", tracing._provider)  # as before after the test
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    tracing.configure("mining")
    with tracing.span("route"):
        pass
    tracing.shutdown()
    assert collector.spans == [("tercet-mining", "route")]
    server.stop(0)


def test_deadlines_nest_and_only_shrink() -> None:
    assert remaining() is None
    assert within(5) == 5
    with deadline(10):
        assert 9 < (remaining() or 0) <= 10
        assert within(5) == 5
        with deadline(100):
            assert (remaining() or 0) <= 10
        with deadline(None):
            assert (remaining() or 0) <= 10
        with deadline(0):
            assert remaining() == 0
            with pytest.raises(DeadlineExceeded):
                within(5)
        assert (remaining() or 0) > 9
    assert remaining() is None


def test_retries_pause_longer_each_time_and_then_give_up() -> None:
    clock = ManualClock()
    pauses: list[float] = []
    last = clock.monotonic()

    def call() -> None:
        nonlocal last
        pauses.append(clock.monotonic() - last)
        last = clock.monotonic()
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        retry(call, backoff=Backoff(5, first=1.0, longest=3.0), clock=clock)
    assert len(pauses) == 5
    for pause, longest in zip(pauses[1:], (1, 2, 3, 3), strict=True):
        assert longest / 2 <= pause <= longest


def test_an_overload_is_given_the_time_it_asks_for() -> None:
    clock = ManualClock()
    started = clock.monotonic()
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise Overloaded("busy", retry_after=30)
        return "done"

    assert retry(call, backoff=Backoff(2), clock=clock) == "done"
    assert clock.monotonic() - started >= 30


def test_what_cannot_pass_is_not_tried_again() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise InvalidInput("bad")

    with pytest.raises(InvalidInput):
        retry(call, backoff=Backoff(5), clock=ManualClock())
    assert calls == [1]


def test_retries_end_with_the_deadline_or_when_told_to_stop() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise Unavailable("away")

    with deadline(0.5), pytest.raises(Unavailable):
        retry(call, backoff=Backoff(100, first=10), clock=ManualClock())
    assert calls == [1]
    stop = threading.Event()
    stop.set()
    with pytest.raises(Unavailable):
        retry(call, backoff=Backoff(100), clock=ManualClock(), stop=stop)
    assert len(calls) == 2


def test_metrics_are_served_over_http() -> None:
    metrics.BLOB_SECONDS.labels("put", "ok").observe(0.2)
    endpoint = metrics.serve("127.0.0.1", 0)
    try:
        with urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert 'tercet_blob_seconds_count{operation="put",outcome="ok"}' in text
        with pytest.raises(OSError, match="in use"):
            metrics.serve("127.0.0.1", endpoint.port)
    finally:
        endpoint.close()
