"""Who asks: the key of a request, counted, and allowed to do what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from structlog.contextvars import bind_contextvars

from gateway.keys import ApiKey
from gateway.schemas import Role
from gateway.state import state_of
from services.core.errors import Unauthenticated

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    bearerFormat="tercet_…",
    description="An API key. Local mode prints one at its first start and keeps it in `.tercet/api-key`.",
)


def authenticated(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> ApiKey:
    """The request's key. Raises `Unauthenticated` and `RateLimited`."""
    state = state_of(request)
    try:
        key = state.keys.authenticate(request.headers.get("authorization"))
    except Unauthenticated:
        # Guessing is hopeless with such keys; asking the object store for each guess still costs.
        state.limiter.take(f"address:{request.client.host if request.client else 'unknown'}")
        raise
    state.limiter.take(key.id)
    bind_contextvars(tenant=key.tenant, key=key.id)
    return key


def _holder_of(*roles: Role) -> Callable[..., ApiKey]:
    def allowed(key: Annotated[ApiKey, Depends(authenticated)]) -> ApiKey:
        key.require(*roles)
        return key

    return allowed


def needs(*roles: Role) -> Any:
    """A dependency: the request's key, which must have one of the roles."""
    return Depends(_holder_of(*roles))


AnyKey = Annotated[ApiKey, Depends(authenticated)]
Submitter = Annotated[ApiKey, needs("submitter")]
Annotator = Annotated[ApiKey, needs("annotator", "verifier")]
"""Who labels and reviews: annotators, verifiers, leads, admins."""
Lead = Annotated[ApiKey, needs("lead")]
Admin = Annotated[ApiKey, needs("admin")]
