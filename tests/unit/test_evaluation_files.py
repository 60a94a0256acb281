"""What an evaluation reads and writes, which pairs it joins, and what it refuses with which words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.core import masks
from services.core.errors import InvalidInput
from services.core.evaluation import EvaluationSettings, PairSet, Results, dumps, evaluate, loads
from services.core.evaluation.alignment import align
from services.core.evaluation.saco import document, parse
from services.dataset.domain import Annotation
from services.dataset.exports import AnnotatedImage, export
from services.scenes.dataset import write_dataset
from tercet.v1 import concepts_pb2, dataset_pb2, records_pb2
from tests.support.annotated_pairs import HEIGHT, WIDTH, pair, pairs, rectangle, scored

POINTS_ONLY = EvaluationSettings(resamples=0)
A, B = rectangle(0, 0, 2, 5), rectangle(4, 0, 1, 8)
Json = dict[str, Any]


def test_what_is_written_is_read_back() -> None:
    written = pairs(
        pair(1, A, *scored([B], 0.5), presence=0.25, quality=1.0),
        pair(2, exhaustive=False),
        pair(3, rectangle(0, 0, 9, 9, crowd=True), phrase="zebra crossing", exhaustive=None),
        replace(pair(4), id="by name", image_id="f" * 64),
    )
    assert loads(dumps(written), written.name) == written


def test_the_format_is_saco() -> None:
    found = document(pairs(pair(10, rectangle(5, 6, 2, 3, 0.75)), pair(11)))
    image, negative = found["images"]
    assert image == {
        "id": 10,
        "file_name": "image-10.png",
        "text_input": "bus",
        "height": HEIGHT,
        "width": WIDTH,
        "is_instance_exhaustive": 1,
        "is_pixel_exhaustive": 1,
    }
    assert negative["id"] == 11
    (annotation,) = found["annotations"]
    assert annotation["bbox"] == pytest.approx([6 / WIDTH, 5 / HEIGHT, 3 / WIDTH, 2 / HEIGHT])
    assert annotation["area"] == pytest.approx(6 / (WIDTH * HEIGHT))
    assert annotation["segmentation"]["size"] == [HEIGHT, WIDTH]
    assert (annotation["image_id"], annotation["iscrowd"], annotation["score"]) == (10, 0, 0.75)


def test_uncompressed_runs_are_read() -> None:
    body = document(pairs(pair(1, A)))
    body["annotations"][0]["segmentation"]["counts"] = masks.run_lengths(A.counts)
    assert parse(body, "truth.json") == pairs(pair(1, A))


def test_results_are_read() -> None:
    body = document(pairs(pair(1, *scored([A, B], 0.5)), pair(2)))["annotations"]
    found = parse(body, "results.json")
    assert isinstance(found, Results)
    assert [instance for instance, _ in found.instances[1]] == list(scored([A, B], 0.5))
    report = evaluate(found, [pairs(pair(1, A, B), pair(2))], POINTS_ONLY)
    assert report.overall.figures["cgF1"].value == 1.0
    assert (report.unanswered, report.unjudged) == (0, 0)
    nothing = evaluate(parse([], "results.json"), [pairs(pair(1, A), pair(2))], POINTS_ONLY)
    assert nothing.overall.figures["recall"].value == 0.0


def test_scores_of_a_persons_pair_are_not_the_models() -> None:
    body = document(pairs(pair(1, A, presence=0.1, quality=0.2)))
    for tier, expected in (("synthetic", (0.1, 0.2)), ("silver", (None, None)), ("gold", (None, None))):
        body["images"][0]["tercet"]["tier"] = tier
        found = parse(body, "export.json")
        assert isinstance(found, PairSet)
        assert (found.pairs[0].presence, found.pairs[0].quality) == expected


def edited(change: Callable[[Json], object]) -> Json:
    body = copy.deepcopy(document(pairs(pair(1, *scored([A], 0.5)), pair(2))))
    change(body)
    return body


def rle(body: Json) -> Json:
    found: Json = body["annotations"][0]["segmentation"]
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.pop("images"), "no list `images`"),
        (lambda b: b.pop("annotations"), "no list `annotations`"),
        (lambda b: b.update(images=[]), "has no pairs"),
        (lambda b: b["images"].append(b["images"][0]), "the id 1 twice"),
        (lambda b: b["images"].append("a pair"), r"images\[2\] is not an object"),
        (lambda b: b["images"][1].pop("id"), r"images\[1\] has no `id`"),
        (lambda b: b["images"][1].update(id=1.5), "`id` is 1.5"),
        (lambda b: b["images"][1].pop("text_input"), r"images\[1\] has no phrase"),
        (lambda b: b["images"][1].update(text_input=" "), r"images\[1\] has no phrase"),
        (lambda b: b["images"][0].pop("file_name"), r"images\[0\] has no `file_name`"),
        (lambda b: b["images"][0].update(height=None), "`height` must be a number of pixels"),
        (lambda b: b["images"][0].update(width=-3), "`width` must be a number of pixels"),
        (lambda b: b["images"][0].update(is_instance_exhaustive="yes"), "must be 0 or 1, not 'yes'"),
        (lambda b: b["annotations"][0].update(image_id=77), "image_id 77, which `images` does not have"),
        (lambda b: b["annotations"][0].pop("segmentation"), "no mask in `segmentation`"),
        (
            lambda b: b["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 6]]),
            "a polygon; write it as RLE",
        ),
        (lambda b: b["annotations"][0].update(score=1.5), "1.5; scores are probabilities"),
        (lambda b: b["annotations"][0].update(score=float("nan")), "must be a number in 0..1"),
        (lambda b: b["annotations"][0].update(score="high"), "must be a number in 0..1"),
        (lambda b: rle(b).update(size=[HEIGHT]), r"must be \[height, width\]"),
        (lambda b: rle(b).update(size=[10**20, 10**20], counts=[10**40]), "more than COCO run lengths"),
        (lambda b: rle(b).update(size=[WIDTH, HEIGHT]), "the mask is 20 x 24, its image is 24 x 20 pixels"),
        (lambda b: rle(b).update(counts=3), "must be COCO run lengths"),
        (lambda b: rle(b).update(counts="é"), "must be COCO run lengths"),
        (lambda b: rle(b).update(counts="!!"), "malformed"),
        (lambda b: rle(b).update(counts=""), "covers 0 pixels"),
        (lambda b: rle(b).update(counts=[100, 5]), "sum to 105, not 480 pixels"),
    ],
)
def test_a_wrong_file_is_refused_by_place(change: Callable[[Json], object], words: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^mine\.json.*{words}"):
        parse(edited(change), "mine.json")


@pytest.mark.parametrize("text", ["", "{", '"a string"', "3", "[3]", "[" * 100_000, b"\xff\xfe\x00"])
def test_what_is_no_such_file_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^mine\.json"):
        loads(text, "mine.json")


def test_results_need_scores() -> None:
    with pytest.raises(InvalidInput, match=r"^mine\.json, \[0\] has no `score`"):
        parse(document(pairs(pair(1, A)))["annotations"], "mine.json")


# Which pairs are joined.


def test_files_numbered_otherwise_are_joined_by_image_and_phrase() -> None:
    truth = pairs(pair(1, A, image=1), pair(2, image=1, phrase="cat"), pair(3, B, image=2))
    other = pairs(
        pair(1, B, image=2, phrase=" Bus "), pair(2, A, image=1), pair(9, image=3), name="pred.json"
    )
    found = align(other, [truth])
    assert [one.predicted for one in found.pairs] == [(A,), (), (B,)]
    assert (found.unanswered, found.unjudged) == (1, 1)


def test_files_of_other_pairs_do_not_match() -> None:
    with pytest.raises(InvalidInput, match=r"pred\.json and truth\.json do not match"):
        align(pairs(pair(1, A, phrase="cat"), name="pred.json"), [pairs(pair(1, A))])
    results = parse(document(pairs(pair(5, *scored([A], 1.0))))["annotations"], "results.json")
    with pytest.raises(InvalidInput, match=r"results\.json: image_id 5 is no pair of truth\.json"):
        align(results, [pairs(pair(1, A))])


def test_images_of_other_sizes_do_not_match() -> None:
    larger = replace(pair(1), width=WIDTH + 1)
    with pytest.raises(
        InvalidInput, match=r"do not match: `bus` in image-1\.png is 25 x 20 in the one, 24 x 20"
    ):
        align(pairs(larger), [pairs(pair(1))])
    body = document(pairs(replace(pair(1, *scored([A], 1.0)))))["annotations"]
    with pytest.raises(InvalidInput, match=r"results\.json.*the mask is 24 x 20, its image is 25 x 20"):
        align(parse(body, "results.json"), [pairs(larger)])


def test_a_name_that_stands_for_two_pairs_is_refused() -> None:
    twice = pairs(pair(7, A, image=1), pair(8, image=1), name="pred.json")
    with pytest.raises(InvalidInput, match=r"pred\.json has `bus` 2 times in image-1\.png,"):
        align(twice, [pairs(pair(1, A))])


def test_annotators_need_the_same_pairs_and_say_whether_they_are_exhaustive() -> None:
    first = pairs(pair(1, A), pair(2), name="first.json")
    second = pairs(pair(1, A), name="second.json")
    with pytest.raises(
        InvalidInput, match=r"second\.json lacks a pair of first\.json: `bus` in image-2\.png"
    ):
        align(first, [first, second])
    with pytest.raises(InvalidInput, match=r"second\.json lacks a pair of first\.json"):
        align(first, [second, first])
    with pytest.raises(InvalidInput, match="lacks `is_instance_exhaustive`"):
        align(first, [pairs(pair(1, A, exhaustive=None))])
    with pytest.raises(InvalidInput, match="nothing counts"):
        align(first, [pairs(pair(1, A, exhaustive=False), pair(2, exhaustive=False))])
    with pytest.raises(InvalidInput, match="the truth must be SA-Co JSON"):
        align(first, [Results("results.json", {})])


def test_an_export_is_judged_by_the_truth_of_its_scenes(tmp_path: Path) -> None:
    """Both writers of the project: drawn scenes with truth, and the dataset's export of what is found."""
    write_dataset(3, tmp_path, seed=5)
    truth = loads((tmp_path / "saco.json").read_bytes(), "saco.json")
    assert isinstance(truth, PairSet)
    names = sorted({one.file_name for one in truth.pairs})
    annotated = [annotated_image(name, f"{place:064x}", truth) for place, name in enumerate(reversed(names))]
    exported = export(annotated, dataset_pb2.EXPORT_FORMAT_SACO)
    prediction = loads(exported.content, "dataset.saco.json")
    report = evaluate(prediction, [truth], EvaluationSettings(resamples=50))
    assert report.overall.pairs == len(truth.pairs) == exported.pairs
    assert (report.unanswered, report.unjudged, report.not_exhaustive) == (0, 0, 0)
    for name in ("cgF1", "AP", "boundary_IoU", "presence_accuracy"):
        assert report.overall.figures[name].value == 1.0, name
    assert report.overall.figures["ECE_pairs"].value == pytest.approx(0.05)
    # And what is judged can judge.
    again = evaluate(truth, [prediction], POINTS_ONLY)
    assert again.overall.figures["cgF1"].value == 1.0


def annotated_image(name: str, image_id: str, truth: PairSet) -> AnnotatedImage:
    """What Tercet would hold of an image had it found exactly the truth, at a score of .95."""
    mine = [one for one in truth.pairs if one.file_name == name]
    height, width = mine[0].height, mine[0].width
    annotations = [
        Annotation(
            record=records_pb2.AnnotationsAccepted(tier=concepts_pb2.TIER_SYNTHETIC),
            pair=concepts_pb2.Pair(
                phrase=one.phrase,
                polarity=concepts_pb2.POLARITY_POSITIVE if one.instances else concepts_pb2.POLARITY_NEGATIVE,
                exhaustive=True,
                score=0.95,
                masks=[
                    concepts_pb2.Mask(counts=instance.counts, height=height, width=width)
                    for instance in one.instances
                ],
            ),
        )
        for one in mine
    ]
    image = records_pb2.Image(id=image_id, name=name, media_type="image/png", height=height, width=width)
    return AnnotatedImage(image, annotations)


def test_reports_are_plain_json() -> None:
    truth = pairs(pair(1, A), pair(2, B, phrase="cat"), pair(3, phrase="cat"))
    report = evaluate(truth, [truth], EvaluationSettings(resamples=10), per_phrase=True)
    plain = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert plain["settings"] == {"threshold": 0.5, "resamples": 10, "confidence": 0.95, "seed": 0}
    assert plain["taus"] == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    overall = plain["overall"]
    assert (overall["pairs"], overall["positives"], overall["negatives"]) == (3, 2, 1)
    assert overall["figures"]["pmF1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert overall["figures"]["ECE_masks"] == {"value": None, "low": None, "high": None}
    assert overall["by_tau"]["cgF1"] == [1.0] * 10
    assert list(plain["per_phrase"]) == ["bus", "cat"]
