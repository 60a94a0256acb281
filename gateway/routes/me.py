"""Who asks."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.routes.documentation import problems
from gateway.schemas import Me
from gateway.security import AnyKey

router = APIRouter(prefix="/v1", tags=["keys"])


@router.get("/me", summary="Show your key", responses=problems())
def get_me(key: AnyKey) -> Me:
    """Name, tenant and roles of the key that the request is made with."""
    return Me(key_id=key.id, name=key.name, tenant=key.tenant, roles=list(key.roles))
