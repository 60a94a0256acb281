"""Whether the process lives, whether it can take jobs, and what it counts. These need no key."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from gateway.schemas import Check, Liveness, Readiness
from gateway.state import GatewayState, state_of
from services.core.errors import NotFound
from tercet.v1 import dataset_pb2

router = APIRouter(tags=["health"])

_CHECK_SECONDS: Final = 3.0
# No tenant can have this name (TenantName), so no job can be found.
_NO_TENANT: Final = "_system"


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Liveness:
    """It answers, so it is."""
    return Liveness()


@router.get(
    "/readyz",
    summary="Can it take jobs?",
    responses={503: {"description": "Some part does not answer.", "model": Readiness}},
)
def readyz(request: Request, response: Response) -> Readiness:
    """Asks the bus, Redis, the object store and the dataset service."""
    state = state_of(request)
    asked: dict[str, Callable[[], object]] = {
        "bus": state.adapters.bus.lag,
        "redis": state.adapters.redis.ping,
        "blobs": lambda: state.adapters.blobs.exists("_system/ready"),
        "dataset": lambda: _ask_dataset(state),
    }
    waiting = {name: state.probes.submit(ask) for name, ask in asked.items()}
    wait(waiting.values(), timeout=_CHECK_SECONDS)
    checks = [_check(name, future) for name, future in waiting.items()]
    if state.draining.is_set():
        checks.append(Check(name="gateway", ok=False, detail="shutting down"))
    ready = all(check.ok for check in checks)
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "not_ready", checks=checks)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request) -> Response:
    """What the gateway counts, and the lag of every consumer group."""
    lag = generate_latest(state_of(request).lag_registry)
    return Response(generate_latest(REGISTRY) + lag, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _check(name: str, future: Future[object]) -> Check:
    if not future.done():
        future.cancel()
        return Check(name=name, ok=False, detail=f"no answer in {_CHECK_SECONDS:g} s")
    error = future.exception()
    return Check(name=name, ok=error is None, detail="" if error is None else type(error).__name__)


def _ask_dataset(state: GatewayState) -> None:
    try:
        state.dataset.GetJob(
            dataset_pb2.GetJobRequest(tenant=_NO_TENANT, job_id="ready"), timeout=_CHECK_SECONDS
        )
    except NotFound:
        return
