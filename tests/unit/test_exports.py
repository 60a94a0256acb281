"""Exports: fields, negatives, gold copies, merging of records and jobs, same bytes for the same log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pycocotools import coco as coco_format
from pycocotools import mask as coco_mask

from services.dataset import domain
from services.dataset.exports import AnnotatedImage, Exported, export, file_name
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2
from tests.support import runs

SACO, COCO = dataset_pb2.EXPORT_FORMAT_SACO, dataset_pb2.EXPORT_FORMAT_COCO
GOLD, SILVER, SYNTHETIC = concepts_pb2.TIER_GOLD, concepts_pb2.TIER_SILVER, concepts_pb2.TIER_SYNTHETIC


def record(
    *pairs: concepts_pb2.Pair,
    task_id: str = "",
    tier: concepts_pb2.Tier.ValueType = SYNTHETIC,
    job_id: str = "job-1",
    name: str = "street.png",
) -> records_pb2.AnnotationsAccepted:
    return records_pb2.AnnotationsAccepted(
        image=runs.image(name),
        run=runs.run(job_id),
        pairs=pairs,
        task_id=task_id,
        tier=tier,
        accepted_at=Timestamp(seconds=runs.SUBMITTED_AT + 30),
    )


def by(annotator: str, phrase: str = "dog") -> concepts_pb2.Pair:
    pair = runs.pair(phrase)
    pair.provenance.annotator = annotator
    return pair


def withdrawn(phrase: str) -> concepts_pb2.Pair:
    return runs.pair(phrase, concepts_pb2.VERDICT_REJECT, masks=[])


def exported(
    *records: records_pb2.AnnotationsAccepted, kind: dataset_pb2.ExportFormat.ValueType = SACO
) -> tuple[Exported, Any]:
    images = [AnnotatedImage(records[0].image, domain.merged(records))]
    made = export(images, kind)
    return made, json.loads(made.content)


def test_saco_has_an_entry_for_each_pair_and_normalised_boxes() -> None:
    dog = runs.pair("dog", masks=[runs.mask(1, 1, 4), runs.mask(10, 2, 5)])
    dog.exhaustive = True
    made, document = exported(record(dog, runs.negative("wolf"), runs.pair("cat")))
    assert [(e["text_input"], e["is_instance_exhaustive"]) for e in document["images"]] == [
        ("cat", 0),
        ("dog", 1),
        ("wolf", 1),
    ]
    ids = {entry["text_input"]: entry["id"] for entry in document["images"]}
    annotations = [a for a in document["annotations"] if a["image_id"] == ids["dog"]]
    assert [a["bbox"] for a in annotations] == [[0.05, 0.1, 0.2, 0.4], [0.5, 0.2, 0.25, 0.5]]
    assert [a["area"] for a in annotations] == [16 / 200, 25 / 200]
    assert not [a for a in document["annotations"] if a["image_id"] == ids["wolf"]]
    assert document["categories"] == [{"id": 1, "name": "object"}]
    assert (made.images, made.pairs, made.masks) == (1, 3, 3)


def test_saco_masks_decode_to_the_area_and_carry_scores_tier_and_provenance() -> None:
    _, document = exported(record(runs.pair("dog")))
    (annotation,), (entry,) = document["annotations"], document["images"]
    rle = annotation["segmentation"]
    assert int(coco_mask.area({"size": rle["size"], "counts": rle["counts"].encode()})) == 16
    assert annotation["tercet"]["predicted_iou"] == 0.9
    assert annotation["tercet"]["provenance"] == {
        "model": "sam",
        "weights": "vit_tiny-00000000",
        "version": "1",
    }
    assert annotation["tercet"]["verification"]["choice"] == "accept"
    assert (annotation["source"], entry["tercet"]["tier"], entry["tercet"]["score"]) == (
        "model",
        "synthetic",
        0.95,
    )
    assert entry["tercet"]["accepted_at"] == "2023-11-14T22:13:50Z"


def test_coco_loads_in_pycocotools_with_categories_in_order(tmp_path: Any) -> None:
    dog = runs.pair("dog")
    dog.exhaustive = True
    made, document = exported(record(dog, runs.pair("cat"), runs.negative("wolf")), kind=COCO)
    assert [c["name"] for c in document["categories"]] == ["cat", "dog", "wolf"]
    (image,) = document["images"]
    assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([3], [1])
    path = tmp_path / "coco.json"
    path.write_bytes(made.content)
    dataset = coco_format.COCO(str(path))
    assert [dataset.annToMask(a).sum() for a in dataset.loadAnns(dataset.getAnnIds())] == [16, 16]
    assert dataset.loadAnns(dataset.getAnnIds())[0]["bbox"] == [1, 1, 4, 4]


def test_an_image_of_which_nothing_was_accepted_is_listed_by_coco_alone() -> None:
    images = [AnnotatedImage(runs.image("empty.png"), [])]
    coco, saco = export(images, COCO), export(images, SACO)
    assert (coco.images, len(json.loads(coco.content)["images"])) == (1, 1)
    assert (saco.images, json.loads(saco.content)["images"]) == (0, [])


def test_a_persons_decision_replaces_the_models_pair() -> None:
    edited = runs.pair("dog", masks=[runs.mask(10, 2, 5)])
    standing = domain.merged([record(runs.pair("dog")), record(edited, task_id="t", tier=SILVER)])
    assert [(one.pair.masks[0].area, one.record.tier) for one in standing] == [(25, SILVER)]


def test_a_withdrawn_pair_is_gone() -> None:
    assert domain.merged([record(runs.pair("dog")), record(withdrawn("dog"), task_id="t")]) == []


def test_gold_keeps_all_three_annotators_and_a_check_replaces_only_its_own() -> None:
    copies = [record(by(a), task_id=a, tier=GOLD) for a in ("ann", "bob", "eve")]
    checked = by("bob")
    checked.exhaustive = True
    standing = domain.merged([*copies, record(checked, task_id="check", tier=GOLD)])
    assert [(one.pair.provenance.annotator, one.pair.exhaustive) for one in standing] == [
        ("ann", False),
        ("bob", True),
        ("eve", False),
    ]
    dropped = by("ann")
    dropped.verdict = concepts_pb2.VERDICT_REJECT
    after = domain.merged([*copies, record(dropped, task_id="check-2", tier=GOLD)])
    assert [one.pair.provenance.annotator for one in after] == ["bob", "eve"]


def test_over_jobs_the_better_tier_wins_and_then_the_later_job() -> None:
    first = domain.merged([record(runs.pair("dog"), runs.pair("cat"), tier=SILVER, job_id="a")])
    second = domain.merged([record(runs.pair("dog"), runs.pair("cow"), job_id="b")])
    third = domain.merged([record(runs.pair("cow"), job_id="c")])
    found = domain.best_of_runs([first, second, third])
    assert [(one.pair.phrase, one.record.run.job_id) for one in found] == [
        ("cat", "a"),
        ("cow", "c"),
        ("dog", "a"),
    ]


@pytest.mark.parametrize("kind", [SACO, COCO])
def test_the_same_annotations_give_the_same_bytes_in_any_order(
    kind: dataset_pb2.ExportFormat.ValueType,
) -> None:
    def images(names: Sequence[str]) -> list[AnnotatedImage]:
        return [
            AnnotatedImage(runs.image(name), domain.merged([record(runs.pair("dog"), name=name)]))
            for name in names
        ]

    one, other = export(images(["a", "b", "c"]), kind), export(images(["c", "a", "b"]), kind)
    assert (one.content, one.id) == (other.content, other.id)
    assert export(images(["a", "b"]), kind).id != one.id


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("street.PNG", "street-"),
        ("a/b/street.jpg", "street-"),
        ("..\\..\\x.png", "x-"),
        ("", ""),
        ("..", ""),
        ("v1.2.png", "v1.2-"),
    ],
)
def test_file_names_are_the_submitters_with_the_image_id(name: str, stem: str) -> None:
    image = records_pb2.Image(id="f00d", name=name, media_type="image/png")
    assert file_name(image) == f"{stem}f00d.png"
