"""The figures of the work, for those who lead it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from gateway import figure_views
from gateway.routes.documentation import problems
from gateway.schemas import Statistics
from gateway.security import Submitter
from gateway.state import state_of
from services.kit.provenance import timestamp
from tercet.v1 import dataset_pb2

router = APIRouter(prefix="/v1", tags=["operations"])

_MOST_HOURS = 24 * 366 * 10


@router.get("/statistics", summary="Show figures", responses=problems(404, 422))
def get_statistics(
    request: Request,
    key: Submitter,
    job_id: Annotated[str, Query(description="Only of this job.", max_length=100)] = "",
    hours: Annotated[
        float | None,
        Query(
            description="Only the last hours, people's work to five minutes, scores to the hour. "
            "Default: all time.",
            gt=0,
            le=_MOST_HOURS,
            allow_inf_nan=False,
        ),
    ] = None,
) -> Statistics:
    """Images and pairs an hour, people's time, corrections, agreement, scores; the cost for leads only."""
    state = state_of(request)
    asked = dataset_pb2.StatisticsRequest(tenant=key.tenant, job_id=job_id)
    if hours is not None:
        asked.since.CopyFrom(timestamp(state.adapters.clock.now() - hours * 3600))
    found = state.dataset.Statistics(asked)
    names = {item.id: item.name for item in state.keys.of_tenant(key.tenant)} if found.people else {}
    rate = state.settings.hourly_rate if key.may("lead", "admin") else None
    return figure_views.statistics(found, names, rate)
