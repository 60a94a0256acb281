"""The segmenter: phrases to pairs, the adversarial filter, clicks, by its handlers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.core import masks
from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.segmenter import domain
from services.segmenter.contents import RecentContents
from services.segmenter.domain import Finding
from services.segmenter.handlers import Segmenter
from services.segmenter.settings import SegmenterSettings
from services.segmenter.strategies import TextPrompted, concept_segmenter
from tercet.v1 import concepts_pb2, records_pb2, segmenter_pb2
from tests.support.stage_models import SIZE, PixelModel, Sight, image_of, picture, run_of, stage_ports

SCENE = picture([("red bus", (4, 8, 20, 30)), ("red bus", (30, 8, 20, 30)), ("blue car", (60, 40, 20, 15))])


def segmenter(sight: Sight, extra: dict[str, PixelModel] | None = None, **settings: object) -> Segmenter:
    ports = stage_ports(sight, extra)
    parsed = SegmenterSettings(**settings)  # type: ignore[arg-type]
    return Segmenter(
        inference=ports.inference,
        concepts=concept_segmenter(ports.inference, ports.clock, parsed),
        images=ports.images,
        contents=RecentContents(ports.images, 2**20),
        ontology=sight.ontology,
        clock=ports.clock,
        settings=parsed,
    )


def proposed(
    phrases: list[str],
    negatives: list[tuple[str, float]] | None = None,
    source: concepts_pb2.PhraseSource.ValueType = concepts_pb2.PHRASE_SOURCE_MODEL,
    stage: concepts_pb2.Stage.ValueType = concepts_pb2.STAGE_AUTOMATIC,
    **spec: object,
) -> records_pb2.ImageProposed:
    return records_pb2.ImageProposed(
        image=image_of(SCENE),
        run=run_of(stage, **spec),
        phrases=[concepts_pb2.PhraseProposal(phrase=p, source=source, score=0.8) for p in phrases],
        negatives=[
            concepts_pb2.NegativeProposal(phrase=p, score=s, confused_with="red bus")
            for p, s in negatives or []
        ],
    )


def test_a_phrase_becomes_a_positive_pair_with_a_mask_of_each_instance() -> None:
    (pair, car) = segmenter(Sight()).segment(proposed(["red bus", "car"])).pairs
    assert (pair.phrase, pair.polarity) == ("red bus", concepts_pb2.POLARITY_POSITIVE)
    assert sorted((m.box.x, m.box.y, m.box.width, m.box.height) for m in pair.masks) == [
        (4, 8, 20, 30),
        (30, 8, 20, 30),
    ]
    for mask in pair.masks:
        assert mask.area == masks.decode(mask.counts, *SIZE).sum() == 600
        assert mask.score == pytest.approx(0.95)
        assert mask.provenance.model.name == "concept_grounder+sam"
        assert mask.provenance.model.weights == "exact-00000000+exact-00000000"
    assert pair.presence == pytest.approx(0.95)
    assert len(car.masks) == 1


def test_stage_1_passes_with_its_regions() -> None:
    record = proposed(["bus"], stage=concepts_pb2.STAGE_ASSISTED_MANUAL)
    record.regions.add().box.width = 3
    found = segmenter(Sight()).segment(record)
    assert found.regions == record.regions
    assert not found.pairs


def test_a_callers_phrase_without_instances_is_a_negative_still_to_be_verified() -> None:
    source = concepts_pb2.PHRASE_SOURCE_CALLER
    (pair,) = segmenter(Sight()).segment(proposed(["cat"], source=source, hard_negatives=0)).pairs
    assert (pair.phrase, pair.polarity, pair.hard_negative) == ("cat", concepts_pb2.POLARITY_NEGATIVE, False)


def test_a_models_phrase_without_instances_competes_as_a_hard_negative() -> None:
    record = proposed(["red bus", "cat"], [("orange bus", 0.9), ("red van", 0.7)], hard_negatives=2)
    found = segmenter(Sight()).segment(record)
    assert [(p.phrase, p.hard_negative) for p in found.pairs] == [
        ("red bus", False),
        ("orange bus", True),
        ("cat", True),
    ]
    assert not any(
        p.phrase == "cat" for p in segmenter(Sight()).segment(proposed(["cat"], hard_negatives=0)).pairs
    )


def test_negatives_that_fool_the_segmenter_come_first_with_the_evidence() -> None:
    sight = Sight(fooled={"red van": "red bus", "dog": "blue car"})
    candidates = [("orange bus", 0.9), ("purple bus", 0.85), ("red van", 0.1), ("dog", 0.8)]
    found = segmenter(sight).segment(proposed(["red bus"], candidates, hard_negatives=3))
    negatives = [p for p in found.pairs if p.polarity == concepts_pb2.POLARITY_NEGATIVE]
    # The dog is masked where no positive is: it may well be there, and comes last.
    assert [p.phrase for p in negatives] == ["red van", "orange bus", "purple bus"]
    assert len(negatives[0].masks) == 2
    assert not negatives[1].masks
    assert all(p.hard_negative and p.confused_with == "red bus" for p in negatives)


def test_of_phrases_that_exclude_each_other_one_instance_goes_to_the_better() -> None:
    sight = Sight(fooled={"yellow bus": "red bus"})
    found = segmenter(sight).segment(proposed(["yellow bus", "bus", "red bus"], hard_negatives=0))
    assert [(p.phrase, len(p.masks)) for p in found.pairs] == [("bus", 2), ("red bus", 2)]


def test_nothing_proposed_nothing_asked() -> None:
    sight = Sight()
    ports = stage_ports(sight)
    service = replace(segmenter(sight), inference=ports.inference)
    assert not service.segment(proposed([])).pairs


def test_many_phrases_take_several_calls() -> None:
    found = segmenter(Sight(), segmenter_phrases=1).segment(proposed(["red bus", "car", "bus"]))
    assert [(p.phrase, len(p.masks)) for p in found.pairs] == [("red bus", 2), ("car", 1), ("bus", 2)]


def test_a_text_prompted_model_answers_masks_itself() -> None:
    sight = Sight()
    models = sight.models()

    def answer(request: domain.Tensors, pixels: np.ndarray) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
        grounded = models["concept_grounder"].answer(request, pixels)
        segmented = models["sam"].answer({**request, "boxes": grounded["boxes"]}, pixels)
        return {**segmented, **grounded}

    service = segmenter(
        sight,
        {"sam3": PixelModel("sam3", answer)},
        concept_segmenter="text_prompted",
        text_prompted_model="sam3",
    )
    assert isinstance(service.concepts, TextPrompted)
    (pair,) = service.segment(proposed(["red bus"])).pairs
    assert len(pair.masks) == 2
    assert pair.masks[0].provenance.model.name == "sam3"


def test_the_interactive_call_answers_each_phrase_in_order() -> None:
    pairs = segmenter(Sight()).segment_concepts(image_of(SCENE), ["Cats", "the buses", "cat"])
    assert [(p.phrase, len(p.masks), p.polarity) for p in pairs] == [
        ("cat", 0, concepts_pb2.POLARITY_NEGATIVE),
        ("bus", 2, concepts_pb2.POLARITY_POSITIVE),
        ("cat", 0, concepts_pb2.POLARITY_NEGATIVE),
    ]


def test_a_click_gives_the_instance_under_it() -> None:
    service = segmenter(Sight())
    point = segmenter_pb2.Point(x=65, y=45, positive=True)
    (mask,) = service.segment_prompts(image_of(SCENE), [point], [], None)
    assert (mask.box.x, mask.area) == (60, 300)
    (beside,) = service.segment_prompts(
        image_of(SCENE), [segmenter_pb2.Point(x=1, y=1, positive=True)], [], mask
    )
    assert beside.area == 0
    assert not masks.decode(beside.counts, *SIZE).any()


def test_a_box_gives_the_instance_in_it() -> None:
    box = concepts_pb2.Box(x=58, y=38, width=26, height=20)
    (mask,) = segmenter(Sight()).segment_prompts(image_of(SCENE), [], [box], None)
    assert mask.area == 300


def test_several_boxes_give_a_mask_each_in_their_order_and_an_empty_one_where_nothing_is() -> None:
    boxes = [
        concepts_pb2.Box(x=58, y=38, width=26, height=20),
        concepts_pb2.Box(x=0, y=55, width=3, height=3),
        concepts_pb2.Box(x=3, y=7, width=22, height=32),
    ]
    found = segmenter(Sight()).segment_prompts(image_of(SCENE), [], boxes, None)
    assert [mask.area for mask in found] == [300, 0, 600]
    assert not masks.decode(found[1].counts, *SIZE).any()
    assert all(mask.provenance.model.name == "sam" for mask in found)


def test_prompts_that_say_nothing_or_do_not_fit_are_refused() -> None:
    service = segmenter(Sight())
    with pytest.raises(InvalidInput, match="click"):
        service.segment_prompts(image_of(SCENE), [], [], None)
    small = concepts_pb2.Mask(counts=masks.encode(np.zeros((2, 2), dtype=np.bool_)), height=2, width=2)
    point = segmenter_pb2.Point(x=1, y=1, positive=True)
    with pytest.raises(InvalidInput, match="pixels"):
        service.segment_prompts(image_of(SCENE), [point], [], small)
    boxes = [concepts_pb2.Box(x=1, y=1, width=2, height=2)] * 2
    with pytest.raises(InvalidInput, match="several"):
        service.segment_prompts(image_of(SCENE), [point], boxes, None)
    with pytest.raises(InvalidInput, match="at most 64"):
        service.segment_prompts(image_of(SCENE), [], boxes * 40, None)


def test_pictures_of_the_last_clicks_are_not_read_again() -> None:
    ports = stage_ports(Sight())
    image = image_of(SCENE)
    content = image.inline
    image.tenant, image.id = "acme", "1" * 64
    ports.images.put(image, content)
    image.ClearField("content")
    other = records_pb2.Image(tenant="acme", id="2" * 64)
    ports.images.put(other, content + b"other")
    kept = RecentContents(ports.images, len(content) + 5)
    assert kept.get(image) == content
    assert kept.get(image) is kept.get(image)
    assert kept.get(other) == content + b"other"
    first = kept.get(image)
    assert first == content
    with pytest.raises(NotFound):
        kept.get(records_pb2.Image(tenant="another", id="1" * 64))


def test_everything_largest_predicted_iou_first() -> None:
    found = segmenter(Sight()).segment_everything(image_of(SCENE), 0)
    assert len(found) == 3
    ious = [m.predicted_iou for m in found]
    assert ious == sorted(ious, reverse=True)


def test_a_record_with_another_size_than_its_image_is_refused() -> None:
    record = proposed(["bus"])
    record.image.width += 1
    with pytest.raises(InvalidImage, match="its record says"):
        segmenter(Sight()).segment(record)


def test_detections_drop_weak_unlikely_and_repeated_boxes() -> None:
    tensors = {
        "presence": np.array([0.9, 0.2, np.nan], dtype=np.float32),
        "phrase_index": np.array([0, 0, 0, 1, 2, 0], dtype=np.int32),
        "scores": np.array([0.5, 0.9, 0.1, 0.9, 0.9, np.nan], dtype=np.float32),
        "boxes": np.array(
            [[0, 0, 9, 9], [0, 0, 10, 10], [30, 0, 5, 5]] + [[50, 0, 5, 5]] * 3, dtype=np.float32
        ),
    }
    limits = domain.Limits(0.3, 0.5, 0.7, 0.7, 10)
    assert domain.detections(tensors, limits).tolist() == [1]
    assert domain.detections(tensors, replace(limits, box_overlap=0.9)).tolist() == [1, 0]
    assert domain.detections(tensors, replace(limits, min_score=0.05, max_instances=1)).tolist() == [1]
    assert domain.detections(tensors, replace(limits, min_presence=0.1)).tolist() == [1, 3]


def test_a_box_of_several_phrases_is_segmented_once() -> None:
    boxes = np.array([[1, 1, 2, 2], [5, 5, 2, 2], [1, 1, 2, 2]], dtype=np.float32)
    unique, of = domain.distinct_boxes(boxes)
    assert len(unique) == 2
    assert np.array_equal(unique[of], boxes)


def test_of_near_repeats_and_empty_masks_one_good_mask_stays() -> None:
    def mask(x: int, side: int, score: float) -> concepts_pb2.Mask:
        pixels = np.zeros((20, 20), dtype=np.bool_)
        pixels[x : x + side, x : x + side] = True
        return concepts_pb2.Mask(
            counts=masks.encode(pixels), height=20, width=20, area=int(pixels.sum()), score=score
        )

    limits = domain.Limits(0.3, 0.5, 0.7, 0.7, 10)
    found = domain.finding(
        "bus", 0.9, [mask(2, 9, 0.5), mask(2, 10, 0.8), mask(0, 0, 0.9), mask(14, 4, 0.3)], limits
    )
    assert [round(m.score, 1) for m in found.masks] == [0.8, 0.3]
    assert domain.finding("bus", 0.1, [], limits) == Finding("bus", 0.1)
