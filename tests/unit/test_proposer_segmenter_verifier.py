"""An image's way through the three stage services, by Kafka's door and by gRPC's, over small exact models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from services.core.errors import InvalidInput, TooLarge, Unavailable
from services.kit.blobs.images import ImageStore
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus import topics
from services.kit.bus.outcomes import Done, Poison
from services.kit.bus.ports import Message, Record
from services.kit.bus.stage import StageHandler, fitted
from services.kit.rpc.client import connect
from services.kit.rpc.server import RpcServer
from services.kit.settings import KitSettings
from services.kit.state.cancelled import CancelledJobs
from tercet.v1 import (
    concepts_pb2,
    proposer_pb2,
    proposer_pb2_grpc,
    records_pb2,
    segmenter_pb2,
    segmenter_pb2_grpc,
    verifier_pb2,
    verifier_pb2_grpc,
)
from tests.support.polling import eventually
from tests.support.stage_models import Sight, image_of, inference_of, picture, run_of
from tests.support.stages import Stages, running

SCENE = picture([("red bus", (4, 8, 20, 30)), ("blue car", (60, 40, 20, 15))])


def submitted(content: bytes, **spec: object) -> records_pb2.ImageSubmitted:
    return records_pb2.ImageSubmitted(
        image=image_of(content), run=run_of(concepts_pb2.STAGE_AUTOMATIC, **spec)
    )


@pytest.fixture
def stages() -> Iterator[Stages]:
    with running(inference_of(Sight().models())) as found:
        yield found


def test_an_image_comes_out_verified_with_positives_and_hard_negatives(stages: Stages) -> None:
    stages.submit(submitted(SCENE))
    (result,) = stages.verified(1)
    assert result.image == image_of(SCENE)
    assert result.run.job_id == "job-1"
    positives = {p.phrase: p for p in result.pairs if p.polarity == concepts_pb2.POLARITY_POSITIVE}
    negatives = [p for p in result.pairs if p.polarity == concepts_pb2.POLARITY_NEGATIVE]
    assert set(positives) == {"red bus", "blue car"}
    assert len(negatives) == 6
    assert {p.verdict for p in result.pairs} == {concepts_pb2.VERDICT_ACCEPT}
    assert all(p.provenance.model.name for p in result.pairs)
    (record,) = stages.adapters.bus.read([topics.IMAGES_VERIFIED])
    assert record.key == result.image.id
    assert record.headers["schema"] == "tercet.v1.ImageVerified"
    assert (record.headers["tenant"], record.headers["job_id"]) == ("acme", "job-1")
    assert record.headers["traceparent"]


def test_the_three_services_of_one_image_are_one_trace(stages: Stages) -> None:
    stages.submit(submitted(SCENE))
    stages.verified(1)
    way = [topics.IMAGES_PROPOSED, topics.IMAGES_SEGMENTED, topics.IMAGES_VERIFIED]
    traces = {record.headers["traceparent"].split("-")[1] for record in stages.adapters.bus.read(way)}
    assert len(traces) == 1


def test_one_bad_image_fails_alone_with_a_reason(stages: Stages) -> None:
    pictures = [picture([("red bus", (4, 8, 20, 10 + at))]) for at in range(5)]
    stages.submit(
        submitted(pictures[0]), submitted(b"no image"), *(submitted(content) for content in pictures[1:])
    )
    found = stages.verified(5)
    assert {r.image.id for r in found} == {image_of(content).id for content in pictures}
    (reason,) = eventually(stages.letters)
    assert "cannot be read" in reason


def test_a_record_that_does_not_decode_is_a_dead_letter(stages: Stages) -> None:
    stages.adapters.bus.publish(
        [
            Message(topic=topics.IMAGES_SUBMITTED, key="a", value=b"\xff\xff\xff"),
            Message(topic=topics.IMAGES_SUBMITTED, key="b", value=b""),
        ]
    )
    reasons = eventually(lambda: found if len(found := stages.letters()) == 2 else [])
    assert any("ImageSubmitted" in reason for reason in reasons)
    assert any("an image id" in reason for reason in reasons)


def test_a_cancelled_job_costs_nothing_more(stages: Stages) -> None:
    CancelledJobs(stages.adapters.redis).add("gone")
    gone = submitted(SCENE)
    gone.run.job_id = "gone"
    stages.submit(gone, submitted(SCENE))
    (result,) = stages.verified(1)
    assert result.run.job_id == "job-1"
    assert len(stages.records(topics.IMAGES_PROPOSED, records_pb2.ImageProposed)) == 1


def test_models_that_are_away_are_waited_for() -> None:
    models = Sight().models()
    models["verifier"].fails = Unavailable("away")
    with running(inference_of(models)) as stages:
        stages.submit(submitted(SCENE))
        eventually(lambda: len(models["verifier"].batches) >= 2)
        models["verifier"].fails = None
        assert len(stages.verified(1)) == 1
        assert not stages.letters()


@pytest.fixture
def channel(stages: Stages, tmp_path: Path) -> Iterator[grpc.Channel]:
    settings = KitSettings()
    address = f"unix:{tmp_path}/stages.sock"
    server = RpcServer(address, {s.grpc_service: s.register for s in stages.services}, settings=settings)
    server.start()
    server.serving(True)
    channel = connect(address, settings=settings)
    yield channel
    channel.close()
    server.stop(1.0)


def test_the_same_by_grpc(channel: grpc.Channel) -> None:
    image = image_of(SCENE)
    proposer = proposer_pb2_grpc.ProposerServiceStub(channel)
    phrases = proposer.ProposeConcepts(proposer_pb2.ProposeConceptsRequest(image=image)).phrases
    assert [p.phrase for p in phrases] == ["red bus", "blue car"]
    regions = proposer.ProposeRegions(proposer_pb2.ProposeRegionsRequest(image=image)).regions
    assert len(regions) == 2
    negatives = proposer.ProposeHardNegatives(
        proposer_pb2.ProposeHardNegativesRequest(image=image, present=["red bus"], max_negatives=4)
    ).negatives
    assert len(negatives) == 4

    segmenter = segmenter_pb2_grpc.SegmenterServiceStub(channel)
    pairs = segmenter.SegmentConcepts(
        segmenter_pb2.SegmentConceptsRequest(image=image, phrases=["Red buses"])
    ).pairs
    assert [(p.phrase, len(p.masks)) for p in pairs] == [("red bus", 1)]
    point = segmenter_pb2.Point(x=10, y=10, positive=True)
    mask = segmenter.SegmentPrompts(segmenter_pb2.SegmentPromptsRequest(image=image, points=[point])).mask
    assert mask.counts == pairs[0].masks[0].counts
    assert len(segmenter.SegmentEverything(segmenter_pb2.SegmentEverythingRequest(image=image)).masks) == 2

    verifier = verifier_pb2_grpc.VerifierServiceStub(channel)
    (judged,) = verifier.VerifyMasks(verifier_pb2.VerifyMasksRequest(image=image, pairs=pairs)).pairs
    assert judged.masks[0].verification.choice == concepts_pb2.MASK_CHOICE_ACCEPT
    (whole,) = verifier.VerifyExhaustivity(
        verifier_pb2.VerifyExhaustivityRequest(image=image, pairs=[judged])
    ).pairs
    assert whole.exhaustivity.choice == concepts_pb2.EXHAUSTIVITY_CHOICE_ACCEPT
    request = verifier_pb2.VerifyNegativesRequest(image=image, phrases=["cat"])
    assert verifier.VerifyNegatives(request).verifications[0].absent > 0.9


def test_grpc_refuses_what_is_wrong_with_the_reason(channel: grpc.Channel) -> None:
    image = image_of(SCENE)
    segmenter = segmenter_pb2_grpc.SegmenterServiceStub(channel)
    proposer = proposer_pb2_grpc.ProposerServiceStub(channel)
    with pytest.raises(InvalidInput, match="click or a box"):
        segmenter.SegmentPrompts(segmenter_pb2.SegmentPromptsRequest(image=image))
    with pytest.raises(InvalidInput, match="points_per_side"):
        segmenter.SegmentEverything(segmenter_pb2.SegmentEverythingRequest(image=image, points_per_side=99))
    with pytest.raises(InvalidInput, match="max_phrases"):
        proposer.ProposeConcepts(proposer_pb2.ProposeConceptsRequest(image=image, max_phrases=-1))
    with pytest.raises(InvalidInput, match="cannot be read"):
        proposer.ProposeRegions(proposer_pb2.ProposeRegionsRequest(image=image_of(b"no image")))


def big(images: int, masks: int) -> records_pb2.ImageSegmented:
    """A record with so many bytes of inline image and of masks of a negative and a positive pair."""
    record = records_pb2.ImageSegmented(image=image_of(b"x" * images))
    for polarity in (concepts_pb2.POLARITY_NEGATIVE, concepts_pb2.POLARITY_POSITIVE):
        record.pairs.add(polarity=polarity).masks.add(counts=b"1" * (masks // 2))
    return record


def test_what_does_not_fit_travels_as_claim_check_then_without_evidence_then_not() -> None:
    images = ImageStore(connect_blobs("memory://fitted"))
    small = big(100, 100)
    assert fitted(big(100, 100), images, limit=2000) == small

    stored = fitted(big(1000, 1000), images, limit=1500)
    assert not stored.image.WhichOneof("content")
    assert images.content(stored.image) == b"x" * 1000
    assert all(pair.masks for pair in stored.pairs)

    bare = fitted(big(1000, 2000), images, limit=1500)
    assert [len(pair.masks) for pair in bare.pairs] == [0, 1]

    with pytest.raises(TooLarge, match="the masks of this image"):
        fitted(big(1000, 9000), images, limit=1500)


def test_an_outcome_that_is_too_large_is_poison_and_its_neighbours_go_on() -> None:
    def work(record: records_pb2.ImageProposed) -> records_pb2.ImageSegmented:
        segmented = records_pb2.ImageSegmented(image=record.image, run=record.run)
        if record.run.job_id == "large":
            segmented.pairs.add().masks.add(counts=b"1" * topics.MAX_RECORD_BYTES)
        return segmented

    handler = StageHandler(
        source=topics.IMAGES_PROPOSED,
        target=topics.IMAGES_SEGMENTED,
        work=work,
        images=ImageStore(connect_blobs("memory://large")),
        threads=2,
    )
    records = []
    for offset, job in enumerate(["large", "small"]):
        proposed = records_pb2.ImageProposed(image=image_of(SCENE), run=records_pb2.Run(job_id=job))
        value = proposed.SerializeToString()
        records.append(
            Record(
                topic=topics.IMAGES_PROPOSED, key="k", value=value, partition=0, offset=offset, timestamp_ms=0
            )
        )
    large, fits = handler(records)
    assert isinstance(large, Poison)
    assert large.error == "TooLarge"
    assert isinstance(fits, Done)
    assert fits.outputs[0].headers["job_id"] == "small"
