"""Pairs and figures as the REST schemas show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from gateway import schemas
from gateway.views import image, pair, short, word
from tercet.v1 import concepts_pb2, dataset_pb2

_BINS: Final = 20
_STAGES_OF_PEOPLE: Final = (concepts_pb2.STAGE_ASSISTED_MANUAL, concepts_pb2.STAGE_SEMI_AUTOMATIC)


def gallery(
    found: dataset_pb2.ListPairsResponse, job_id: str, cursor: Callable[[str], str]
) -> schemas.GalleryPage:
    """A page of pairs."""
    return schemas.GalleryPage(
        items=[
            schemas.GalleryItem(image=image(one.image, [job_id]), pair=pair(one.pair), waiting=one.waiting)
            for one in found.pairs
        ],
        next_cursor=cursor(found.next_page_token) if found.next_page_token else None,
    )


def statistics(
    found: dataset_pb2.StatisticsResponse, names: Mapping[str, str], hourly_rate: float | None
) -> schemas.Statistics:
    """Figures. `names`: of the people's keys. Without an hourly rate, no cost is told."""
    usual = schemas.Thresholds()
    spec = found.spec if found.HasField("spec") else None
    return schemas.Statistics(
        stages=[_stage(one, hourly_rate) for one in found.stages],
        people=[_person(one, names) for one in found.people],
        scores=schemas.ScoreHistogram(
            edges=[round(at / _BINS, 2) for at in range(_BINS + 1)],
            positive=list(found.positive_scores),
            negative=list(found.negative_scores),
        ),
        thresholds=schemas.ScoreThresholds(
            accept=usual.accept_above if spec is None else short(spec.accept_above),
            review=usual.reject_below if spec is None else short(spec.reject_below),
        ),
        hourly_rate=hourly_rate,
    )


def _stage(found: dataset_pb2.StageStatistics, hourly_rate: float | None) -> schemas.StageFigures:
    if found.stage in _STAGES_OF_PEOPLE:
        images, pairs = found.people_images, found.positives + found.negatives
        hours = found.active_seconds / 3600
    else:
        images, pairs = found.model_images, found.model_pairs
        hours = found.model_minutes / 60
    return schemas.StageFigures(
        stage=cast(schemas.Stage, word(concepts_pb2.Stage.Name(found.stage), "STAGE_")),
        images=images,
        pairs=pairs,
        images_per_hour=_share(images, hours) or 0.0,
        pairs_per_hour=_share(pairs, hours) or 0.0,
        decisions=found.decisions,
        active_seconds=found.active_seconds,
        seconds_per_positive=_share(found.positive_seconds, found.positives),
        seconds_per_negative=_share(found.negative_seconds, found.negatives),
        cost=None if hourly_rate is None else round(found.active_seconds / 3600 * hourly_rate, 2),
    )


def _person(found: dataset_pb2.PersonStatistics, names: Mapping[str, str]) -> schemas.PersonFigures:
    hours = found.active_seconds / 3600
    return schemas.PersonFigures(
        annotator=found.annotator,
        name=names.get(found.annotator, found.annotator),
        decisions=found.decisions,
        images=found.images,
        pairs=found.pairs,
        active_seconds=found.active_seconds,
        images_per_hour=_share(found.images, hours) or 0.0,
        pairs_per_hour=_share(found.pairs, hours) or 0.0,
        stages=[
            schemas.PersonStageFigures(
                stage=cast(schemas.Stage, word(concepts_pb2.Stage.Name(one.stage), "STAGE_")),
                images=one.images,
                pairs=one.pairs,
                active_seconds=one.active_seconds,
                images_per_hour=_share(one.images, one.active_seconds / 3600) or 0.0,
                pairs_per_hour=_share(one.pairs, one.active_seconds / 3600) or 0.0,
            )
            for one in found.stages
        ],
        seconds_per_pair=_share(found.active_seconds, found.pairs),
        rejection_rate=_share(found.rejections, found.judged) or 0.0,
        edit_rate=_share(found.edits, found.judged) or 0.0,
        agreement=found.agreement if found.HasField("agreement") else None,
    )


def _share(of: float, by: float) -> float | None:
    """A quotient to six digits; None where there is nothing to divide by."""
    return float(f"{of / by:.6g}") if by else None
