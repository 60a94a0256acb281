"""Records and gRPC answers as the REST schemas show them, and a job's options as its record holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, cast, get_args

from google.protobuf.timestamp_pb2 import Timestamp

from gateway import schemas
from services.kit.bus.ports import PartitionLag
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2

_MASK_CHOICES: Final[tuple[str, ...]] = get_args(schemas.MaskChoice)
_EXHAUSTIVITY_CHOICES: Final[tuple[str, ...]] = get_args(schemas.ExhaustivityChoice)

EXPORT_FORMATS: Final = {
    "saco": dataset_pb2.EXPORT_FORMAT_SACO,
    "coco": dataset_pb2.EXPORT_FORMAT_COCO,
}


def word(name: str, prefix: str) -> str | None:
    """An enum value's name in REST: lower case without its prefix; None for the unspecified one."""
    found = name.removeprefix(prefix).lower()
    return None if found == "unspecified" else found


def image_state(state: schemas.ImageState) -> dataset_pb2.ImageState.ValueType:
    """The proto's value of a state."""
    return dataset_pb2.ImageState.Value(f"IMAGE_STATE_{state.upper()}")


def spec(options: schemas.JobOptions) -> records_pb2.JobSpec:
    """A job's options as its records carry them."""
    tier = options.tier or ("synthetic" if options.stage == "automatic" else "silver")
    return records_pb2.JobSpec(
        stage=concepts_pb2.Stage.Value(f"STAGE_{options.stage.upper()}"),
        phrases=list(dict.fromkeys(options.phrases)),
        hard_negatives=options.hard_negatives,
        accept_above=options.thresholds.accept_above,
        reject_below=options.thresholds.reject_below,
        audit_rate=options.audit_rate,
        exhaustivity_rate=options.exhaustivity_rate,
        tier=concepts_pb2.Tier.Value(f"TIER_{tier.upper()}"),
    )


def created_job(event: records_pb2.JobEvent) -> dataset_pb2.Job:
    """A job as it is right after its creation."""
    created = event.created
    return dataset_pb2.Job(
        id=event.job_id,
        tenant=event.tenant,
        name=created.name,
        spec=created.spec,
        status=dataset_pb2.JOB_STATUS_RUNNING,
        submitted_at=event.at,
        images=len(created.images),
        counts={"submitted": len(created.images)},
        refused=created.refused,
        eta_seconds=-1,
        webhook_url=created.webhook_url,
    )


def job(found: dataset_pb2.Job) -> schemas.Job:
    """A job."""
    asked = found.spec
    return schemas.Job(
        id=found.id,
        name=found.name,
        status=cast(
            schemas.JobStatus, word(dataset_pb2.JobStatus.Name(found.status), "JOB_STATUS_") or "running"
        ),
        stage=cast(schemas.Stage, word(concepts_pb2.Stage.Name(asked.stage), "STAGE_") or "automatic"),
        phrases=list(asked.phrases),
        hard_negatives=asked.hard_negatives,
        thresholds=schemas.Thresholds(
            accept_above=short(asked.accept_above), reject_below=short(asked.reject_below)
        ),
        audit_rate=short(asked.audit_rate),
        exhaustivity_rate=short(asked.exhaustivity_rate),
        tier=cast(schemas.Tier, word(concepts_pb2.Tier.Name(asked.tier), "TIER_") or "synthetic"),
        webhook_url=found.webhook_url or None,
        submitted_at=time(found.submitted_at),
        finished_at=time(found.finished_at) if found.HasField("finished_at") else None,
        images=found.images,
        counts={
            cast(schemas.ImageState, state): number
            for state, number in sorted(found.counts.items())
            if number
        },
        refused=refused(found.refused),
        failures=[failure(item) for item in found.failures],
        accepted_positives=found.accepted_positives,
        accepted_negatives=found.accepted_negatives,
        open_tasks=found.open_tasks,
        rate=found.rate,
        eta_seconds=found.eta_seconds if found.eta_seconds >= 0 else None,
    )


def refused(items: Iterable[records_pb2.RefusedImage]) -> list[schemas.RefusedImage]:
    """Refused images."""
    return [schemas.RefusedImage(name=item.name, code=item.code, reason=item.reason) for item in items]


def failure(item: dataset_pb2.ImageFailure) -> schemas.ImageFailure:
    """Why an image has no result."""
    return schemas.ImageFailure(
        image_id=item.image_id,
        name=item.name,
        topic=item.topic,
        error=item.error,
        reason=item.reason,
        attempts=item.attempts,
    )


def job_image(item: dataset_pb2.JobImageInfo) -> schemas.JobImage:
    """An image in a job."""
    state = word(dataset_pb2.ImageState.Name(item.state), "IMAGE_STATE_") or "submitted"
    return schemas.JobImage(
        image_id=item.image_id,
        name=item.name,
        state=cast(schemas.ImageState, state),
        failure=failure(item.failure) if item.HasField("failure") else None,
    )


def image(item: records_pb2.Image, job_ids: Sequence[str] = ()) -> schemas.Image:
    """A picture."""
    return schemas.Image(
        id=item.id,
        name=item.name,
        media_type=item.media_type,
        width=item.width,
        height=item.height,
        job_ids=list(job_ids),
    )


def image_annotations(found: dataset_pb2.GetAnnotationsResponse) -> schemas.Annotations:
    """Annotations of record of an image."""
    return schemas.Annotations(
        image=image(found.image, [found.job_id]),
        job_id=found.job_id,
        pairs=[pair(item) for item in found.pairs],
    )


def pair(item: concepts_pb2.Pair) -> schemas.Pair:
    """One (image, phrase)."""
    return schemas.Pair(
        phrase=item.phrase,
        polarity="negative" if item.polarity == concepts_pb2.POLARITY_NEGATIVE else "positive",
        hard_negative=item.hard_negative,
        confused_with=item.confused_with or None,
        source=cast(
            schemas.PhraseSource | None,
            word(concepts_pb2.PhraseSource.Name(item.source), "PHRASE_SOURCE_"),
        ),
        masks=[mask(one) for one in item.masks],
        presence=short(item.presence),
        exhaustivity=_exhaustivity(item.exhaustivity) if item.HasField("exhaustivity") else None,
        negative=schemas.NegativeVerification(
            absent=short(item.negative.absent), made_by=_provenance(item.negative)
        )
        if item.HasField("negative")
        else None,
        score=short(item.score),
        verdict=cast(schemas.Verdict | None, word(concepts_pb2.Verdict.Name(item.verdict), "VERDICT_")),
        exhaustive=item.exhaustive,
        made_by=_provenance(item),
    )


def export(item: dataset_pb2.Export) -> schemas.Export:
    """A dataset file."""
    return schemas.Export(
        id=item.id,
        format="coco" if item.format == dataset_pb2.EXPORT_FORMAT_COCO else "saco",
        job_ids=list(item.job_ids),
        images=item.images,
        pairs=item.pairs,
        masks=item.masks,
        size=item.blob.size,
        sha256=item.blob.sha256,
        created_at=time(item.created_at),
    )


def report(found: dataset_pb2.ReportResponse) -> schemas.Report:
    """Quality, throughput and cost."""
    return schemas.Report(
        pairs_by_verdict=dict(sorted(found.pairs_by_verdict.items())),
        score_histogram=list(found.score_histogram),
        decisions=found.decisions,
        active_seconds=found.active_seconds,
        corrections=found.corrections,
    )


def lag(item: PartitionLag) -> schemas.PartitionLag:
    """Lag of a group on a partition."""
    return schemas.PartitionLag(
        group=item.group,
        topic=item.topic,
        partition=item.partition,
        records=item.records,
        seconds=item.seconds,
        members=item.members,
        stalled=item.stalled,
    )


def model(item: concepts_pb2.ModelVersion) -> schemas.Model:
    """A model that serves."""
    return schemas.Model(name=item.name, weights=item.weights, version=item.version)


def mask(item: concepts_pb2.Mask) -> schemas.Mask:
    """One instance."""
    verified = item.verification
    return schemas.Mask(
        rle=schemas.Rle(size=(item.height, item.width), counts=item.counts.decode("ascii")),
        box=(short(item.box.x), short(item.box.y), short(item.box.width), short(item.box.height)),
        area=item.area,
        predicted_iou=short(item.predicted_iou),
        stability=short(item.stability),
        score=short(item.score),
        verification=schemas.MaskVerification(
            choice=cast(
                schemas.MaskChoice, word(concepts_pb2.MaskChoice.Name(verified.choice), "MASK_CHOICE_")
            ),
            probabilities=_probabilities(_MASK_CHOICES, verified.probabilities),
            made_by=_provenance(verified),
        )
        if item.HasField("verification")
        else None,
        made_by=_provenance(item),
    )


def _exhaustivity(item: concepts_pb2.ExhaustivityVerification) -> schemas.ExhaustivityVerification:
    choice = word(concepts_pb2.ExhaustivityChoice.Name(item.choice), "EXHAUSTIVITY_CHOICE_")
    return schemas.ExhaustivityVerification(
        choice=cast(schemas.ExhaustivityChoice, choice),
        probabilities=_probabilities(_EXHAUSTIVITY_CHOICES, item.probabilities),
        made_by=_provenance(item),
    )


def _probabilities(choices: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {choice: short(value) for choice, value in zip(choices, values, strict=False)}


_Made = (
    concepts_pb2.Pair
    | concepts_pb2.Mask
    | concepts_pb2.MaskVerification
    | concepts_pb2.ExhaustivityVerification
    | concepts_pb2.NegativeVerification
)


def _provenance(owner: _Made) -> schemas.Provenance | None:
    if not owner.HasField("provenance"):
        return None
    made = owner.provenance
    by_model = made.WhichOneof("maker") == "model"
    return schemas.Provenance(
        model=made.model.name if by_model else None,
        weights=made.model.weights if by_model else None,
        version=made.model.version if by_model else None,
        annotator=made.annotator or None,
        made_at=time(made.made_at) if made.HasField("made_at") else None,
    )


def time(at: Timestamp) -> datetime:
    """A moment, in UTC."""
    return at.ToDatetime(tzinfo=UTC)


def short(value: float) -> float:
    """A 32-bit float in as many digits as it has: 0.9, not 0.8999999761581421."""
    return float(f"{value:.7g}")
