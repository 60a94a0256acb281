"""Exports as bytes: SA-Co JSON and COCO. Pure, and a function of the log alone: no clock, no random order.

Both carry, beside what their formats ask for, a `tercet` object with scores, tier and provenance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from services.dataset.domain import Annotation
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2

FORMATS: Final = {
    dataset_pb2.EXPORT_FORMAT_SACO: "saco",
    dataset_pb2.EXPORT_FORMAT_COCO: "coco",
}
FIRST_PAIR_ID: Final = 10_000_000
"""SA-Co numbers its pairs from here; annotations count from 1."""
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image that has a result, and its pairs that stand: possibly none."""

    image: records_pb2.Image
    annotations: Sequence[Annotation]


@dataclass(frozen=True, slots=True)
class Exported:
    """An export's bytes, the id that they give it, and what is in it."""

    id: str
    content: bytes
    images: int
    pairs: int
    masks: int


def export(images: Iterable[AnnotatedImage], kind: dataset_pb2.ExportFormat.ValueType) -> Exported:
    """The export of the images, in order of image id."""
    ordered = sorted(images, key=lambda one: one.image.id)
    document = saco(ordered) if kind == dataset_pb2.EXPORT_FORMAT_SACO else coco(ordered)
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    return Exported(
        id=hashlib.sha256(content).hexdigest()[:32],
        content=content,
        images=len({entry["file_name"] for entry in document["images"]}),
        pairs=sum(len(one.annotations) for one in ordered),
        masks=sum(len(_masks(a.pair)) for one in ordered for a in one.annotations),
    )


def saco(images: Sequence[AnnotatedImage]) -> dict[str, Any]:
    """SA-Co: one `images` entry for each pair; a negative has no annotations; boxes and areas are normalised.

    Source of the format: the annotation section of SAM 3's SA-Co/Gold.
    """
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for one in images:
        width, height = one.image.width, one.image.height
        for annotation in one.annotations:
            pair = annotation.pair
            pair_id = FIRST_PAIR_ID + len(entries)
            negative = pair.polarity == concepts_pb2.POLARITY_NEGATIVE
            exhaustive = int(negative or pair.exhaustive)
            entries.append(
                {
                    "id": pair_id,
                    "file_name": file_name(one.image),
                    "text_input": pair.phrase,
                    "width": width,
                    "height": height,
                    "queried_category": "1",
                    "is_instance_exhaustive": exhaustive,
                    "is_pixel_exhaustive": exhaustive,
                    "tercet": _about_pair(one.image, annotation),
                }
            )
            for mask in _masks(pair):
                box = mask.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": pair_id,
                        "category_id": 1,
                        "bbox": [
                            _number(box.x / width),
                            _number(box.y / height),
                            _number(box.width / width),
                            _number(box.height / height),
                        ],
                        "area": _number(mask.area / (width * height), 9),
                        "segmentation": _rle(mask),
                        "iscrowd": 0,
                        "source": "manual" if _by_person(annotation) else "model",
                        "tercet": _about_mask(mask),
                    }
                )
    return {
        "info": {"description": "Tercet, SA-Co format", "version": "1"},
        "licenses": [],
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }


def coco(images: Sequence[AnnotatedImage]) -> dict[str, Any]:
    """COCO instances with RLE; a category for each phrase, in order; negatives as LVIS has them.

    Every image with a result has an entry, also one of which nothing was accepted.
    `neg_category_ids` are verified to be absent, `not_exhaustive_category_ids` may have unmarked instances.
    """
    phrases = sorted({a.pair.phrase for one in images for a in one.annotations})
    category = {phrase: number for number, phrase in enumerate(phrases, start=1)}
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(images, start=1):
        negatives: list[int] = []
        partial: list[int] = []
        pairs: list[dict[str, Any]] = []
        for annotation in one.annotations:
            pair = annotation.pair
            category_id = category[pair.phrase]
            pairs.append({"category_id": category_id, **_about_pair(one.image, annotation)})
            if pair.polarity == concepts_pb2.POLARITY_NEGATIVE:
                negatives.append(category_id)
            elif not pair.exhaustive:
                partial.append(category_id)
            for mask in _masks(pair):
                box = mask.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": category_id,
                        "bbox": [_number(v) for v in (box.x, box.y, box.width, box.height)],
                        "area": mask.area,
                        "segmentation": _rle(mask),
                        "iscrowd": 0,
                        "tercet": {**_about_mask(mask), "tier": _tier(annotation)},
                    }
                )
        entries.append(
            {
                "id": number,
                "file_name": file_name(one.image),
                "width": one.image.width,
                "height": one.image.height,
                "neg_category_ids": sorted(set(negatives)),
                "not_exhaustive_category_ids": sorted(set(partial)),
                "tercet": {"image_id": one.image.id, "pairs": pairs},
            }
        )
    return {
        "info": {"description": "Tercet, COCO format", "version": "1"},
        "licenses": [],
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": number, "name": phrase} for phrase, number in category.items()],
    }


def file_name(image: records_pb2.Image) -> str:
    """The submitter's name, made unique by the image id: `street-<id>.png`. Without folders."""
    path = PurePosixPath(image.name.replace("\\", "/"))
    extension = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}.get(image.media_type, "")
    stem = path.stem if path.suffix else path.name
    return f"{stem}-{image.id}{extension}" if stem not in ("", ".", "..") else f"{image.id}{extension}"


def _masks(pair: concepts_pb2.Pair) -> Sequence[concepts_pb2.Mask]:
    """Instances; the masks of a negative are evidence, not annotation."""
    return () if pair.polarity == concepts_pb2.POLARITY_NEGATIVE else pair.masks


def _rle(mask: concepts_pb2.Mask) -> dict[str, Any]:
    return {"counts": mask.counts.decode("ascii"), "size": [mask.height, mask.width]}


def _about_pair(image: records_pb2.Image, annotation: Annotation) -> dict[str, Any]:
    pair, record = annotation.pair, annotation.record
    about: dict[str, Any] = {
        "image_id": image.id,
        "job_id": record.run.job_id,
        "polarity": "negative" if pair.polarity == concepts_pb2.POLARITY_NEGATIVE else "positive",
        "hard_negative": pair.hard_negative,
        "confused_with": pair.confused_with,
        "source": concepts_pb2.PhraseSource.Name(pair.source).removeprefix("PHRASE_SOURCE_").lower(),
        "tier": _tier(annotation),
        "score": _number(pair.score),
        "presence": _number(pair.presence),
        "task_id": record.task_id,
        "accepted_at": _time(record.accepted_at),
        "provenance": _provenance(pair.provenance),
    }
    spec = record.run.spec
    if spec.tier == concepts_pb2.TIER_GOLD and spec.stage == concepts_pb2.STAGE_ASSISTED_MANUAL:
        about["version"] = "adjudicated" if annotation.record.adjudicated else "independent"
        if annotation.agreement is not None:
            about["agreement"] = _number(annotation.agreement)
    if pair.HasField("exhaustivity"):
        choice = concepts_pb2.ExhaustivityChoice.Name(pair.exhaustivity.choice)
        about["exhaustivity"] = {
            "choice": choice.removeprefix("EXHAUSTIVITY_CHOICE_").lower(),
            "probabilities": [_number(p) for p in pair.exhaustivity.probabilities],
            "provenance": _provenance(pair.exhaustivity.provenance),
        }
    if pair.HasField("negative"):
        about["negative"] = {
            "absent": _number(pair.negative.absent),
            "provenance": _provenance(pair.negative.provenance),
        }
    return about


def _about_mask(mask: concepts_pb2.Mask) -> dict[str, Any]:
    about: dict[str, Any] = {
        "score": _number(mask.score),
        "predicted_iou": _number(mask.predicted_iou),
        "stability": _number(mask.stability),
        "provenance": _provenance(mask.provenance),
    }
    if mask.HasField("verification"):
        choice = concepts_pb2.MaskChoice.Name(mask.verification.choice)
        about["verification"] = {
            "choice": choice.removeprefix("MASK_CHOICE_").lower(),
            "probabilities": [_number(p) for p in mask.verification.probabilities],
            "provenance": _provenance(mask.verification.provenance),
        }
    return about


def _provenance(provenance: concepts_pb2.Provenance) -> dict[str, str]:
    """Who and when, without what is not known."""
    about: dict[str, str] = {}
    maker = provenance.WhichOneof("maker")
    if maker == "model":
        model = provenance.model
        about |= {"model": model.name, "weights": model.weights, "version": model.version}
    elif maker == "annotator":
        about["annotator"] = provenance.annotator
    if provenance.HasField("made_at"):
        about["made_at"] = _time(provenance.made_at)
    return about


def _by_person(annotation: Annotation) -> bool:
    return annotation.record.tier in (concepts_pb2.TIER_GOLD, concepts_pb2.TIER_SILVER)


def _tier(annotation: Annotation) -> str:
    return concepts_pb2.Tier.Name(annotation.record.tier).removeprefix("TIER_").lower()


def _time(at: Timestamp) -> str:
    return at.ToJsonString()


def _number(value: float, digits: int = _DIGITS) -> float:
    """Rounded, so that a float32's noise is not written out."""
    return round(value, digits)
