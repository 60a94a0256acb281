"""SAM 3 in place of the grounder and sam: the segmenter service answers SegmentConcepts with it, by gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.core import masks
from services.core.errors import Internal, Unavailable
from services.kit.blobs.store import connect as connect_blobs
from services.kit.bus.embedded import EmbeddedBus
from services.kit.clock import SystemClock
from services.kit.inference.embedded import EmbeddedInference
from services.kit.inference.ports import strings
from services.kit.rpc.client import connect
from services.kit.running import start, stop_all
from services.kit.service import Adapters
from services.kit.settings import KitSettings
from services.kit.state.embedded import embedded
from services.networks import serving
from services.networks.serving import NetworkSettings
from services.segmenter.bootstrap import build
from services.segmenter.settings import SegmenterSettings
from tercet.v1 import concepts_pb2, records_pb2, segmenter_pb2, segmenter_pb2_grpc
from tests.support.polling import eventually
from tests.support.public_grounders import picture, save_owlv2, save_sam3

PHRASES = ["yellow bus", "red cup", "striped car"]


def inference_of(**settings: Any) -> EmbeddedInference:
    """The networks of the one-process mode with these settings, loaded when asked for."""
    chosen = NetworkSettings(threads=1, precision="float32", device="cpu", **settings)
    loaders = {name: partial(serving.load, name, chosen) for name in ("sam", "concept_grounder")}
    return EmbeddedInference(loaders, settings=KitSettings())


@contextmanager
def segmenter(
    inference: EmbeddedInference, socket: Path, **settings: Any
) -> Iterator[segmenter_pb2_grpc.SegmenterServiceStub]:
    """The service running over the inference; its stub once it serves."""
    chosen = SegmenterSettings(concept_segmenter="text_prompted", **settings)
    adapters = Adapters(
        bus=EmbeddedBus(),
        redis=embedded(),
        blobs=connect_blobs("memory://sam3"),
        inference=inference,
        clock=SystemClock(),
    )
    running = start(build(adapters, chosen), adapters, f"unix:{socket}", settings=chosen)
    try:
        assert running.wait_ready(120)
        with connect(f"unix:{socket}", settings=chosen) as channel:
            yield segmenter_pb2_grpc.SegmenterServiceStub(channel)
    finally:
        stop_all([running], chosen.grace)
        inference.close()
        adapters.bus.close()


def image_of(content: bytes) -> records_pb2.Image:
    return records_pb2.Image(
        id="0" * 64, tenant="acme", media_type="image/png", height=60, width=90, inline=content
    )


def test_segment_concepts_answers_with_sam3s_masks(tmp_path: Path) -> None:
    inference = inference_of(concept_grounder_weights=save_sam3(tmp_path / "sam3"))
    with segmenter(inference, tmp_path / "s", min_presence=0.0, min_score=0.05) as stub:
        request = segmenter_pb2.SegmentConceptsRequest(image=image_of(picture()), phrases=PHRASES)
        pairs = stub.SegmentConcepts(request).pairs
        assert [pair.phrase for pair in pairs] == PHRASES
        found = [mask for pair in pairs for mask in pair.masks]
        assert found
        for mask in found:
            assert (mask.height, mask.width) == (60, 90)
            assert masks.area(mask.counts, 60, 90) == mask.area > 0
            box = (mask.box.x, mask.box.y, mask.box.width, mask.box.height)
            assert masks.box(mask.counts, 60, 90) == box
            assert mask.provenance.model.name == "concept_grounder"
            assert mask.provenance.model.weights.startswith("sam3-")
        assert {pair.polarity for pair in pairs if pair.masks} == {concepts_pb2.POLARITY_POSITIVE}
        # The rest of the service is unchanged: clicks go to sam.
        click = segmenter_pb2.SegmentPromptsRequest(
            image=image_of(picture()), points=[segmenter_pb2.Point(x=35, y=25, positive=True)]
        )
        assert stub.SegmentPrompts(click).mask.provenance.model.weights.startswith("sam-vit_tiny-")


def test_a_model_without_masks_is_told_apart(tmp_path: Path) -> None:
    inference = inference_of(concept_grounder_weights=save_owlv2(tmp_path / "owlv2"))
    with segmenter(inference, tmp_path / "s") as stub:
        request = segmenter_pb2.SegmentConceptsRequest(image=image_of(picture()), phrases=PHRASES)
        with pytest.raises(
            Internal, match=r"owlv2-.*answers no masks: set TERCET_CONCEPT_SEGMENTER=grounded"
        ):
            stub.SegmentConcepts(request)


def test_a_bad_checkpoint_leaves_the_others_unharmed(tmp_path: Path) -> None:
    broken = tmp_path / "sam_vit_b.pth"
    broken.write_bytes(b"PK\x03\x04 and no more")
    inference = inference_of(
        sam="vit_b", sam_weights=broken, concept_grounder_weights=save_sam3(tmp_path / "sam3")
    )
    try:
        with pytest.raises(Unavailable, match=r"sam_vit_b\.pth .*fetch it again"):
            inference.infer("sam", {"image": strings([picture()])})
        assert not inference.ready("sam")
        eventually(lambda: inference.ready("concept_grounder"), timeout=60)
        asked = {"image": strings([picture()]), "phrases": strings(PHRASES)}
        answer = inference.infer("concept_grounder", asked)
        assert len(answer.tensors["presence"]) == len(PHRASES)
        assert [version.name for version in inference.models()] == ["concept_grounder"]
    finally:
        inference.close()
