"""Records of small runs, built for tests: an image of 20 x 10 pixels, pairs with square masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from services.core import masks
from tercet.v1 import concepts_pb2, records_pb2

HEIGHT, WIDTH = 10, 20
SUBMITTED_AT = 1_700_000_000


def image_id(name: str) -> str:
    """An image id for a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def image(name: str = "one.png", *, tenant: str = "acme") -> records_pb2.Image:
    """An image that is not in any record's bytes."""
    return records_pb2.Image(
        id=image_id(name), tenant=tenant, name=name, media_type="image/png", width=WIDTH, height=HEIGHT
    )


def run(
    job_id: str = "job-1",
    stage: concepts_pb2.Stage.ValueType = concepts_pb2.STAGE_AUTOMATIC,
    *,
    tier: concepts_pb2.Tier.ValueType = concepts_pb2.TIER_SILVER,
    audit_rate: float = 0.0,
    exhaustivity_rate: float = 0.0,
) -> records_pb2.Run:
    """A run of a job with the usual thresholds."""
    return records_pb2.Run(
        job_id=job_id,
        submitted_at=Timestamp(seconds=SUBMITTED_AT),
        spec=records_pb2.JobSpec(
            stage=stage,
            accept_above=0.9,
            reject_below=0.7,
            audit_rate=audit_rate,
            exhaustivity_rate=exhaustivity_rate,
            tier=tier,
        ),
    )


def mask(
    x: int = 1,
    y: int = 1,
    side: int = 4,
    *,
    choice: concepts_pb2.MaskChoice.ValueType = concepts_pb2.MASK_CHOICE_ACCEPT,
) -> concepts_pb2.Mask:
    """A square mask made and judged by models."""
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    pixels[y : y + side, x : x + side] = True
    counts = masks.encode(pixels)
    left, top, width, height = masks.box(counts, HEIGHT, WIDTH)
    model = concepts_pb2.ModelVersion(name="sam", weights="vit_tiny-00000000", version="1")
    return concepts_pb2.Mask(
        counts=counts,
        height=HEIGHT,
        width=WIDTH,
        box=concepts_pb2.Box(x=left, y=top, width=width, height=height),
        area=int(pixels.sum()),
        predicted_iou=0.9,
        stability=0.95,
        score=0.8,
        provenance=concepts_pb2.Provenance(model=model),
        verification=concepts_pb2.MaskVerification(
            choice=choice, probabilities=[0.9 if at == choice - 1 else 0.025 for at in range(5)]
        ),
    )


def pair(
    phrase: str = "dog",
    verdict: concepts_pb2.Verdict.ValueType = concepts_pb2.VERDICT_ACCEPT,
    *,
    score: float = 0.95,
    masks: Sequence[concepts_pb2.Mask] | None = None,
    presence: float = 0.9,
) -> concepts_pb2.Pair:
    """A positive pair with one mask unless given."""
    return concepts_pb2.Pair(
        phrase=phrase,
        polarity=concepts_pb2.POLARITY_POSITIVE,
        source=concepts_pb2.PHRASE_SOURCE_MODEL,
        masks=[mask()] if masks is None else masks,
        presence=presence,
        exhaustivity=concepts_pb2.ExhaustivityVerification(
            choice=concepts_pb2.EXHAUSTIVITY_CHOICE_ACCEPT, probabilities=[0.95, 0.01, 0.01, 0.01, 0.01, 0.01]
        ),
        score=score,
        verdict=verdict,
    )


def negative(
    phrase: str = "wolf",
    verdict: concepts_pb2.Verdict.ValueType = concepts_pb2.VERDICT_ACCEPT,
    *,
    confused_with: str = "dog",
    presence: float = 0.3,
) -> concepts_pb2.Pair:
    """A hard negative."""
    return concepts_pb2.Pair(
        phrase=phrase,
        polarity=concepts_pb2.POLARITY_NEGATIVE,
        hard_negative=True,
        confused_with=confused_with,
        source=concepts_pb2.PHRASE_SOURCE_ONTOLOGY,
        presence=presence,
        negative=concepts_pb2.NegativeVerification(absent=0.97),
        score=0.97,
        verdict=verdict,
    )


def verified(
    pairs: Sequence[concepts_pb2.Pair],
    *,
    of: records_pb2.Run | None = None,
    name: str = "one.png",
    tenant: str = "acme",
    regions: Sequence[concepts_pb2.Region] = (),
) -> records_pb2.ImageVerified:
    """A verified image."""
    return records_pb2.ImageVerified(
        image=image(name, tenant=tenant), run=of if of is not None else run(), pairs=pairs, regions=regions
    )


def decision(
    task: records_pb2.ReviewTask,
    kind: records_pb2.DecisionKind.ValueType = records_pb2.DECISION_KIND_ACCEPT,
    *,
    pairs: Sequence[concepts_pb2.Pair] = (),
    id: str = "d-1",  # noqa: A002 - the field's name
    annotator: str = "ann",
    active_seconds: float = 2.5,
) -> records_pb2.ReviewDecision:
    """A decision on the task."""
    return records_pb2.ReviewDecision(
        id=id,
        task_id=task.id,
        annotator=annotator,
        decided_at=Timestamp(seconds=SUBMITTED_AT + 60),
        active_seconds=active_seconds,
        kind=kind,
        pairs=pairs,
    )


def completed(
    task: records_pb2.ReviewTask, decided: records_pb2.ReviewDecision
) -> records_pb2.ReviewCompleted:
    """The record of a decision."""
    return records_pb2.ReviewCompleted(tenant=task.image.tenant, task=task, decision=decided)
