"""A job's pairs, as they stand: in the dataset, waiting for people, rejected."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from gateway import figure_views
from gateway.routes.documentation import problems
from gateway.schemas import GalleryPage, Polarity, Verdict
from gateway.security import Submitter
from gateway.state import state_of
from services.core.errors import InvalidInput
from services.core.phrases import normalise
from tercet.v1 import concepts_pb2, dataset_pb2

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Score = Annotated[float | None, Query(description="Quality score, 0..1.", ge=0, le=1)]


@router.get("/{job_id}/pairs", summary="List pairs", responses=problems(400, 404, 422))
def list_pairs(
    request: Request,
    key: Submitter,
    job_id: Annotated[str, Path(description="Job id.", max_length=100)],
    phrase: Annotated[str, Query(description="Only this phrase; it is normalised.", max_length=200)] = "",
    polarity: Annotated[Polarity | None, Query(description="Only of this polarity.")] = None,
    verdict: Annotated[
        Verdict | None,
        Query(description="`accept`: in the dataset. `review`, `reject`: see `GalleryItem.pair`."),
    ] = None,
    min_score: Score = None,
    max_score: Score = None,
    model: Annotated[
        str,
        Query(
            description="Only where this model took part: its name (`sam`) or its weights.", max_length=200
        ),
    ] = "",
    annotator: Annotated[
        str, Query(description="Only what this person made or decided: a key's id.", max_length=100)
    ] = "",
    limit: Annotated[int, Query(description="Pairs a page.", ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(description="From the page before.", max_length=1000)] = "",
) -> GalleryPage:
    """Every filter that is given must fit. In order of phrase, then of image."""
    asked = dataset_pb2.ListPairsRequest(
        tenant=key.tenant,
        job_id=job_id,
        phrase=normalise(phrase) if phrase.strip() else "",
        polarity=concepts_pb2.Polarity.Value(f"POLARITY_{(polarity or 'unspecified').upper()}"),
        verdict=concepts_pb2.Verdict.Value(f"VERDICT_{(verdict or 'unspecified').upper()}"),
        min_score=min_score,
        max_score=max_score,
        model=model,
        annotator=annotator,
        page_size=limit,
        page_token=_token(cursor),
    )
    return figure_views.gallery(state_of(request).dataset.ListPairs(asked), job_id, _cursor)


def _cursor(token: str) -> str:
    """The dataset service's page token, fit for an address."""
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _token(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:  # not base64, not ASCII, not UTF-8
        raise InvalidInput("the cursor is not one of ours") from error
