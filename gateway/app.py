"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import anyio.to_thread
from fastapi import FastAPI, Header
from fastapi.openapi.utils import get_openapi

from gateway import errors
from gateway.body_limit import BodyLimit
from gateway.request_context import RequestContext
from gateway.routes import (
    exports,
    gallery,
    health,
    images,
    jobs,
    me,
    operations,
    page,
    phrases,
    reviews,
    segmenting,
    statistics,
)
from gateway.schemas import JobOptions, JobRequest, Problem, WebhookBody
from gateway.settings import MIB
from gateway.state import GatewayState

_VERSION: Final = "1"
_BODY_BYTES: Final = MIB
_LARGE_BODIES_BYTES: Final = 64 * MIB
_DESCRIPTION: Final = """
Submit images; get the concepts in them (noun phrases), a mask for every instance of each, and hard
negatives, at a known quality and a known human cost.

Every request but the health checks needs an API key: `Authorization: Bearer <token>`. Whatever goes wrong is
answered with problem details (RFC 9457, `application/problem+json`); `code` is for programs, `detail` for
people. 429 and 503 carry `Retry-After`. Answers carry `X-Request-Id`; quote it when you ask for help.
"""
_TAGS: Final = [
    {"name": "jobs", "description": "Submit images and follow them."},
    {"name": "images", "description": "Pictures and their annotations of record."},
    {"name": "phrases", "description": "Phrases to label with."},
    {"name": "reviews", "description": "People's work: take tasks, decide them, give them back."},
    {"name": "exports", "description": "Dataset files: SA-Co JSON and COCO RLE."},
    {"name": "operations", "description": "Lag, dead letters, models."},
    {"name": "keys", "description": "API keys; for admins."},
    {"name": "health", "description": "Probes and metrics; without a key."},
]


def create_app(state: GatewayState) -> FastAPI:
    """The application over a gateway's parts. Nothing is connected before its lifespan begins."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = state.settings.threads
        await state.watch.open()
        try:
            yield
        finally:
            state.draining.set()
            await state.watch.close()

    app = FastAPI(
        title="Tercet",
        version=_VERSION,
        summary="A data engine for concept segmentation.",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": state.settings.public_url}] if state.settings.public_url else None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.gateway = state
    errors.install(app)
    app.add_middleware(
        BodyLimit,
        most=_BODY_BYTES,
        except_for=jobs.SUBMISSION,
        larger=reviews.DECISION_BODIES,
        beyond=_LARGE_BODIES_BYTES,
    )
    app.add_middleware(RequestContext)
    modules = (jobs, gallery, images, segmenting, phrases, reviews, exports, operations, statistics, me)
    for module in (*modules, health, page):
        app.include_router(module.router)
    app.webhooks.add_api_route("job.finished", _job_finished, methods=["POST"], status_code=204)
    _document(app)
    return app


def _job_finished(
    body: WebhookBody,
    tercet_delivery: Annotated[str, Header(description="The same for every attempt at one delivery.")],
    tercet_signature: Annotated[
        str,
        Header(
            description="`t=<unix time>,v1=<hex>`: HMAC-SHA256 by the shared secret of `<unix time>.<body>`; "
            "absent where the operator has set no secret."
        ),
    ] = "",
) -> None:
    """Posted to a job's `webhook_url` when the job is complete or waits for people.

    Answer with any 2xx; else it is tried again with growing pauses and given up in the end. It may come
    twice.
    """


def _document(app: FastAPI) -> None:
    """The OpenAPI document, with the schemas that routes read by hand."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
                servers=app.servers,
                webhooks=app.webhooks.routes,
                license_info=app.license_info,
            )
            schemas = made["components"]["schemas"]
            for model in (JobOptions, JobRequest, Problem):
                described = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(described.pop("$defs", {}))
                schemas[model.__name__] = described
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
