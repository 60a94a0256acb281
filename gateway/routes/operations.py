"""What operators see and do: lag, dead letters, models, keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from gateway import views
from gateway.keys import ApiKey
from gateway.routes.documentation import problems
from gateway.schemas import (
    DeadLetter,
    DeadLetterList,
    Key,
    KeyList,
    KeyRequest,
    Lag,
    ModelList,
    NewKey,
    Replayed,
    ReplayRequest,
)
from gateway.security import Admin, AnyKey, Lead
from gateway.state import GatewayState, state_of
from services.core.errors import Forbidden, NotFound
from services.kit.bus import dlq
from services.kit.bus.topics import TOPICS
from services.kit.logging import get_logger

_LOG = get_logger(__name__)

router = APIRouter(prefix="/v1", tags=["operations"])


@router.get("/lag", summary="Show lag", responses=problems())
def get_lag(request: Request, _: AnyKey) -> Lag:
    """How far each consumer group is behind, in records and in seconds."""
    return Lag(items=[views.lag(item) for item in state_of(request).adapters.bus.lag()])


@router.get("/dlq", summary="List dead letters", responses=problems(404))
def list_dead_letters(
    request: Request,
    key: Lead,
    topic: Annotated[
        str | None, Query(description="Only those read from this topic.", max_length=100)
    ] = None,
    job_id: Annotated[str | None, Query(description="Only of this job.", max_length=100)] = None,
) -> DeadLetterList:
    """Records that could not be worked and were not replayed since.

    Admins of the operator's tenant see everyone's.
    """
    state = state_of(request)
    _check_topic(topic)
    selection = dlq.Selection(topic=topic, job_id=job_id, tenant=_visible_tenant(state, key))
    letters = dlq.open_letters(state.adapters.bus, selection)
    return DeadLetterList(items=[_letter(item) for item in letters])


@router.post("/dlq/replay", summary="Replay dead letters", responses=problems(404, 409, 422))
def replay_dead_letters(request: Request, key: Admin, body: ReplayRequest) -> Replayed:
    """Put records back on their topics, each once, e.g. after a fix."""
    state = state_of(request)
    _check_topic(body.topic)
    selection = dlq.Selection(
        ids=frozenset(body.ids) or None, topic=body.topic, tenant=_visible_tenant(state, key)
    )
    replayed = dlq.replay(state.adapters.bus, selection)
    _LOG.info("dead letters replayed", records=len(replayed))
    return Replayed(replayed=len(replayed))


@router.get("/models", summary="List models", responses=problems())
def list_models(request: Request, _: AnyKey) -> ModelList:
    """The models that serve, with their weights and versions."""
    return ModelList(items=[views.model(item) for item in state_of(request).adapters.inference.models()])


@router.post("/keys", status_code=201, summary="Make an API key", tags=["keys"], responses=problems(422))
def create_key(request: Request, key: Admin, body: KeyRequest) -> NewKey:
    """A new key. Its token is shown this once; only its hash is kept."""
    state = state_of(request)
    tenant = body.tenant or key.tenant
    if tenant != key.tenant and key.tenant != state.settings.operator_tenant:
        raise Forbidden("keys of another tenant are made by the operator's tenant only")
    made, token = state.keys.create(name=body.name, tenant=tenant, roles=body.roles, created_by=key.id)
    _LOG.info("key made", made=made.id, of=tenant, roles=made.roles)
    return NewKey(**_key(made).model_dump(), token=token)


@router.get("/keys", summary="List API keys", tags=["keys"], responses=problems())
def list_keys(request: Request, key: Admin) -> KeyList:
    """The tenant's keys, without their tokens."""
    return KeyList(items=[_key(item) for item in state_of(request).keys.of_tenant(key.tenant)])


@router.delete(
    "/keys/{key_id}", status_code=204, summary="Revoke an API key", tags=["keys"], responses=problems(404)
)
def revoke_key(request: Request, key: Admin, key_id: Annotated[str, Path(max_length=100)]) -> None:
    """The key is of no use any more, here at once and at other gateways within seconds."""
    state_of(request).keys.revoke(key.tenant, key_id)
    _LOG.info("key revoked", revoked=key_id)


def _visible_tenant(state: GatewayState, key: ApiKey) -> str | None:
    """Whose dead letters the key sees; None: everyone's."""
    everyone = key.tenant == state.settings.operator_tenant and key.may("admin")
    return None if everyone else key.tenant


def _check_topic(topic: str | None) -> None:
    if topic is not None and topic not in TOPICS:
        raise NotFound(f"there is no topic {topic}; the topics are {', '.join(TOPICS)}")


def _letter(item: dlq.DeadLetter) -> DeadLetter:
    return DeadLetter(
        id=item.id,
        topic=item.topic,
        partition=item.partition,
        offset=item.offset,
        key=item.key,
        job_id=item.job_id,
        group=item.group,
        error=item.error,
        message=item.reason,
        attempts=item.attempts,
        failed_at=datetime.fromtimestamp(item.failed_at_ms / 1000, UTC),
    )


def _key(item: ApiKey) -> Key:
    return Key(
        id=item.id,
        name=item.name,
        tenant=item.tenant,
        roles=list(item.roles),
        created_at=item.created_at,
        created_by=item.created_by,
    )
