"""Phrases to label with: those in use, those of the ontology, and those that are easily confused."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from gateway.routes.documentation import problems
from gateway.routes.images import ImageId
from gateway.schemas import (
    HardNegative,
    HardNegativeList,
    HardNegativesRequest,
    PhraseSuggestion,
    PhraseSuggestions,
)
from gateway.security import Annotator
from gateway.state import state_of
from gateway.suggestions import normalised_prefix
from tercet.v1 import dataset_pb2, proposer_pb2

router = APIRouter(prefix="/v1", tags=["phrases"])


@router.get("/phrases", summary="Suggest phrases", responses=problems(422))
def suggest_phrases(
    request: Request,
    key: Annotator,
    prefix: Annotated[
        str, Query(description="How the phrase, or one of its words, begins.", max_length=120)
    ] = "",
    limit: Annotated[int, Query(description="At most so many.", ge=1, le=200)] = 20,
) -> PhraseSuggestions:
    """The tenant's own phrases, most used first; then, where there is room, the ontology's."""
    state = state_of(request)
    beginning = normalised_prefix(prefix)
    used = state.dataset.ListPhrases(
        dataset_pb2.ListPhrasesRequest(tenant=key.tenant, prefix=beginning, limit=limit)
    ).phrases
    items = [PhraseSuggestion(phrase=one.phrase, source="used", count=one.pairs) for one in used]
    known = {item.phrase for item in items}
    if len(items) < limit:
        offered = state.suggestions.beginning(beginning, limit + len(known))
        items += [
            PhraseSuggestion(phrase=phrase, source="ontology", count=0)
            for phrase in offered
            if phrase not in known
        ]
    return PhraseSuggestions(items=items[:limit])


@router.post(
    "/images/{image_id}/hard-negatives", summary="Suggest hard negatives", responses=problems(400, 404, 422)
)
def suggest_hard_negatives(
    request: Request, key: Annotator, image_id: ImageId, body: HardNegativesRequest
) -> HardNegativeList:
    """Phrases that look right for the image and are most probably absent, each with the reason."""
    state = state_of(request)
    found = state.dataset.GetImage(dataset_pb2.GetImageRequest(tenant=key.tenant, image_id=image_id))
    answer = state.proposer.ProposeHardNegatives(
        proposer_pb2.ProposeHardNegativesRequest(
            image=found.image, present=body.phrases, max_negatives=body.limit
        )
    )
    return HardNegativeList(
        items=[
            HardNegative(
                phrase=one.phrase,
                confused_with=one.confused_with or None,
                reason=state.suggestions.why(one.phrase, one.confused_with),
            )
            for one in answer.negatives
        ]
    )
