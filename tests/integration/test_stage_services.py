"""The three stage services with the real networks, in one process: scenes go in, judged pairs come out.

Whatever the weights can see, these promises hold; how much they see is measured elsewhere.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import pytest
from PIL import Image

from services.core import masks
from services.core.ontology import Ontology
from services.networks.serving import NAMES, NetworkSettings, load
from services.scenes import Scene, make_scene
from services.scenes import phrases as phrases_of
from tercet.v1 import concepts_pb2, records_pb2
from tests.support.polling import eventually
from tests.support.stage_models import inference_of, run_of
from tests.support.stages import Stages, running

SCENES = 4


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    settings = NetworkSettings(threads=2)
    with running(inference_of({name: load(name, settings) for name in NAMES})) as found:
        yield found


def encoded(scene: Scene, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, kind)
    return buffer.getvalue()


def submitted(
    content: bytes,
    size: tuple[int, ...],
    job: str,
    stage: concepts_pb2.Stage.ValueType = concepts_pb2.STAGE_AUTOMATIC,
    **spec: object,
) -> records_pb2.ImageSubmitted:
    image = records_pb2.Image(
        id=hashlib.sha256(content).hexdigest(), tenant="acme", height=size[0], width=size[1], inline=content
    )
    run = run_of(stage, **spec)
    run.job_id = job
    return records_pb2.ImageSubmitted(image=image, run=run)


def results(stages: Stages, job: str, count: int) -> list[records_pb2.ImageVerified]:
    def found() -> list[records_pb2.ImageVerified]:
        mine = [r for r in stages.verified(1, timeout=240.0) if r.run.job_id == job]
        return mine if len(mine) >= count else []

    return eventually(found, timeout=240.0)


def check_mask(mask: concepts_pb2.Mask, image: records_pb2.Image) -> None:
    assert (mask.height, mask.width) == (image.height, image.width)
    assert masks.area(mask.counts, mask.height, mask.width) == mask.area > 0
    box = masks.box(mask.counts, mask.height, mask.width)
    assert box == pytest.approx((mask.box.x, mask.box.y, mask.box.width, mask.box.height), abs=1.0)
    assert "sam-vit_tiny-" in mask.provenance.model.weights


@pytest.mark.parametrize("stage", [concepts_pb2.STAGE_SEMI_AUTOMATIC, concepts_pb2.STAGE_AUTOMATIC])
def test_scenes_come_out_judged(stages: Stages, stage: concepts_pb2.Stage.ValueType) -> None:
    scenes = [make_scene(seed) for seed in range(SCENES)]
    job = f"judged-{stage}"
    stages.submit(*(submitted(encoded(s), s.image.shape[:2], job, stage) for s in scenes))
    ontology = Ontology.load()
    for result in results(stages, job, SCENES):
        positives = [p for p in result.pairs if p.polarity == concepts_pb2.POLARITY_POSITIVE]
        negatives = [p for p in result.pairs if p.polarity == concepts_pb2.POLARITY_NEGATIVE]
        assert len(negatives) <= result.run.spec.hard_negatives
        assert len({p.phrase for p in result.pairs}) == len(result.pairs)
        for pair in positives:
            assert pair.masks
            assert len(pair.exhaustivity.probabilities) == 6
            assert pair.exhaustivity.provenance.model.weights.startswith("verifier-")
            for mask in pair.masks:
                check_mask(mask, result.image)
                assert len(mask.verification.probabilities) == 5
        for pair in negatives:
            assert pair.hard_negative
            assert 0 <= pair.negative.absent <= 1
            assert not any(ontology.is_ancestor(pair.phrase, p.phrase) for p in positives)
        for pair in result.pairs:
            assert 0 <= pair.score <= 1
            assert pair.verdict != concepts_pb2.VERDICT_UNSPECIFIED
            assert pair.provenance.model.name


def test_the_callers_phrases_each_have_their_pair(stages: Stages) -> None:
    scene = make_scene(11)
    asked = [*list(phrases_of(scene))[:4], "zebra"]
    stages.submit(
        submitted(encoded(scene, "JPEG"), scene.image.shape[:2], "asked", phrases=asked, hard_negatives=0)
    )
    (result,) = results(stages, "asked", 1)
    assert sorted(p.phrase for p in result.pairs) == sorted(asked)
    assert {p.source for p in result.pairs} == {concepts_pb2.PHRASE_SOURCE_CALLER}
    assert all(bool(p.masks) == (p.polarity == concepts_pb2.POLARITY_POSITIVE) for p in result.pairs)


def test_stage_1_gives_regions_alone(stages: Stages) -> None:
    scene = make_scene(12)
    stages.submit(
        submitted(encoded(scene), scene.image.shape[:2], "regions", concepts_pb2.STAGE_ASSISTED_MANUAL)
    )
    (result,) = results(stages, "regions", 1)
    assert not result.pairs
    for region in result.regions:
        check_mask(region.mask, result.image)
        assert region.box == region.mask.box


def test_an_image_that_cannot_be_read_fails_alone(stages: Stages) -> None:
    scene = make_scene(13)
    whole = encoded(scene)
    before = len(stages.letters())
    stages.submit(
        submitted(whole, scene.image.shape[:2], "mixed"),
        submitted(whole[: len(whole) // 2], scene.image.shape[:2], "mixed"),
        submitted(b"<svg/>", scene.image.shape[:2], "mixed"),
    )
    (result,) = results(stages, "mixed", 1)
    assert result.image.inline == whole
    reasons = eventually(lambda: found if len(found := stages.letters()) == before + 2 else [], timeout=120.0)
    assert all(reason for reason in reasons)


def test_a_blank_image_goes_through(stages: Stages) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (120, 80), (127, 127, 127)).save(buffer, "PNG")
    stages.submit(submitted(buffer.getvalue(), (80, 120), "blank"))
    (result,) = results(stages, "blank", 1)
    for pair in result.pairs:
        for mask in pair.masks:
            check_mask(mask, result.image)
