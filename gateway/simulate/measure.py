"""What came out of a job, judged by the truth."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.simulate.truth import TrueImage
from services.core import evaluation
from services.core.evaluation.pairs import Instance, Pair, PairSet

Asked = tuple[str, str]
"""(image id, phrase)"""

FIGURES = (
    "precision@0.5",
    "recall@0.5",
    "precision",
    "recall",
    "F1",
    "mask_IoU",
    "boundary_IoU",
    "cgF1",
    "presence_accuracy",
)


@dataclass(frozen=True)
class Quality:
    """How good pairs are. Figures as `services.core.evaluation` defines them; None where there is nothing.

    `intervals`: 95 % of a bootstrap by images.
    """

    positives: int
    negatives: int
    masks: int
    true_masks: int
    figures: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float | None, float | None]]
    wrong_negatives: int
    """Negatives that are present in truth."""


def judged(
    export: bytes, truths: Mapping[str, TrueImage], asked: Collection[Asked], seed: int = 0
) -> Quality:
    """The quality of an SA-Co export: of every pair in it, and of the pairs that `asked` adds.

    `asked` are pairs that should have come out: what is not in the export then counts as missed.
    """
    document = json.loads(export)
    pairs = {(entry["tercet"]["image_id"], entry["text_input"]) for entry in document["images"]}
    negatives = {
        (entry["tercet"]["image_id"], entry["text_input"])
        for entry in document["images"]
        if entry["tercet"]["polarity"] == "negative"
    }
    wrong = sum(bool(truths[image].holding(phrase)) for image, phrase in negatives)
    gold = truth_of(pairs | set(asked), truths)
    counts = {
        "positives": len(pairs) - len(negatives),
        "negatives": len(negatives),
        "masks": len(document["annotations"]),
        "true_masks": sum(len(pair.instances) for pair in gold.pairs),
        "wrong_negatives": wrong,
    }
    if not pairs or not counts["true_masks"]:
        missed = {"recall": 0.0, "recall@0.5": 0.0} if counts["true_masks"] else {}
        return Quality(**counts, figures={**dict.fromkeys(FIGURES), **missed}, intervals={})
    prediction = evaluation.loads(export, "the export")
    settings = evaluation.EvaluationSettings(seed=seed)
    overall = evaluation.evaluate(prediction, [gold], settings).overall
    return Quality(
        **counts,
        figures={name: overall.figures[name].value for name in FIGURES},
        intervals={name: (overall.figures[name].low, overall.figures[name].high) for name in FIGURES},
    )


def truth_of(pairs: Collection[Asked], truths: Mapping[str, TrueImage]) -> PairSet:
    """The truth of the pairs, in SA-Co's terms: exhaustive, absent phrases without instances."""
    made = []
    for image_id, phrase in sorted(pairs):
        image = truths[image_id]
        made.append(
            Pair(
                id=f"{image_id}/{phrase}",
                file_name=image.name,
                phrase=phrase,
                height=image.height,
                width=image.width,
                instances=tuple(Instance(image.objects[n].counts) for n in image.holding(phrase)),
                exhaustive=True,
                image_id=image_id,
            )
        )
    return PairSet("the truth", tuple(made))


def only(export: bytes, tiers: Collection[str]) -> bytes:
    """The export with the pairs of some tiers: `synthetic` are those that no person saw."""
    document: dict[str, Any] = json.loads(export)
    images = [entry for entry in document["images"] if entry["tercet"]["tier"] in tiers]
    kept = {entry["id"] for entry in images}
    annotations = [entry for entry in document["annotations"] if entry["image_id"] in kept]
    return json.dumps({**document, "images": images, "annotations": annotations}).encode()


def covered_share(export: bytes, truths: Mapping[str, TrueImage]) -> float | None:
    """Share of all objects that are in the export as an instance of some phrase (IoU at least .5)."""
    document = json.loads(export)
    image_of = {entry["id"]: entry["tercet"]["image_id"] for entry in document["images"]}
    drawn: dict[str, list[bytes]] = {}
    for entry in document["annotations"]:
        counts = entry["segmentation"]["counts"].encode("ascii")
        drawn.setdefault(image_of[entry["image_id"]], []).append(counts)
    total = sum(len(image.objects) for image in truths.values())
    if not total:
        return None
    found = 0
    for image_id, image in truths.items():
        if image_id in drawn and image.objects:
            overlaps = image.overlaps(drawn[image_id], range(len(image.objects)))
            found += int((overlaps.max(axis=0) >= 0.5).sum())
    return found / total
