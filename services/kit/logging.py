"""Structured logs: a JSON object a line (or a line for people), with the trace and what is worked on."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from services.kit import tracing

if TYPE_CHECKING:
    from services.kit.settings import KitSettings

# These libraries report every reconnection; what matters of it, the adapters log themselves.
_CHATTY = ("kafka", "fsspec", "asyncio", "urllib3")


def _with_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    trace_id = tracing.trace_id()
    if trace_id:
        event["trace_id"] = trace_id
    return event


def configure(name: str, settings: KitSettings, *, stream: TextIO | None = None) -> None:
    """Log as `name` to `stream` (standard error by default); also what libraries log through `logging`."""

    def with_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("service", name)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        with_service,
        _with_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())]
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module. Use: `_LOG = get_logger(__name__)`, `_LOG.info("job created", images=3)`."""
    return structlog.stdlib.get_logger(name)


@contextmanager
def logged_with(**values: Any) -> Iterator[None]:
    """Every line logged in the block carries the values that are not empty: tenant, job_id, image_id."""
    given = {key: value for key, value in values.items() if value not in (None, "")}
    before = {key: value for key, value in get_contextvars().items() if key in given}
    bind_contextvars(**given)
    try:
        yield
    finally:
        unbind_contextvars(*given)
        bind_contextvars(**before)
