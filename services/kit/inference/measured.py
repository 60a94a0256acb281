"""What every adapter of inference measures about a call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import SpanKind

from services.kit import metrics, tracing


@contextmanager
def measured(model: str) -> Iterator[None]:
    """The call in the block is counted, timed by outcome (`ok` or the error's class) and traced."""
    started = time.perf_counter()
    outcome = "ok"
    with metrics.INFERENCE_IN_FLIGHT.labels(model).track_inprogress():
        try:
            with tracing.span(f"infer {model}", kind=SpanKind.CLIENT):
                yield
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            metrics.INFERENCE_SECONDS.labels(model, outcome).observe(time.perf_counter() - started)
