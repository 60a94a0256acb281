"""Everything-mode against `SamAutomaticMaskGenerator`, and suppression against comparing all pairs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional

from services.core import masks as rle
from services.networks.errors import ModelError
from services.networks.images import fit_longest_side
from services.networks.sam.architecture import TINY_SIDE, build_vit_tiny, load_sam
from services.networks.sam.decoding import DecodedTokens
from services.networks.sam.encoding import TorchEncoder
from services.networks.sam.everything import Limits, Segments, point_grid, segment_everything
from services.networks.sam.factorised import FactorisedDecoder
from services.networks.sam.postprocessing import Frame
from services.networks.sam.served import ServedSam, everything_limits
from services.networks.sam.suppression import suppress_boxes, suppress_masks
from services.networks.settings import NetworkSettings
from services.networks.tensors import bytes_tensor
from services.scenes import SceneSettings, make_scene

PER_SIDE = 12
Records = list[tuple[bytes, list[float], int, float, float, list[float]]]


class Substituted:
    """Stands where a decoder's output comes out: given logits and predicted IoUs, prompt by prompt."""

    def __init__(self, logits: Tensor, scores: Tensor) -> None:
        self._logits, self._scores, self._next = logits, scores, 0

    def take(self, count: int) -> tuple[Tensor, Tensor]:
        some = slice(self._next, self._next + count)
        self._next += count
        return self._logits[some], self._scores[some]

    def decode(self, sparse: Tensor) -> DecodedTokens:
        logits, scores = self.take(len(sparse))
        return DecodedTokens(logits, logits, torch.cat([scores[:, :1], scores], 1))

    def upscale(self, tokens: DecodedTokens, which: slice) -> Tensor:
        assert which == slice(1, 4)
        return tokens.masks


LOW = TINY_SIDE // 2
"""Side of the bundled network's logits."""


def blobs(prompts: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits [N, 3, 160, 160] of overlapping blobs, many of them nearly the same, and scores [N, 3]."""
    noise = torch.Generator().manual_seed(seed)
    few = torch.randn(12, 1, 5, 5, generator=noise) * 7 - 7
    shapes = functional.interpolate(few, (LOW, LOW), mode="bicubic")[:, 0]
    which = torch.randint(0, len(shapes), (prompts, 3), generator=noise)
    wobble = torch.randn(prompts, 3, 16, 16, generator=noise)
    logits = shapes[which] + functional.interpolate(wobble, (LOW, LOW), mode="bilinear")
    return logits * (2 + torch.rand(prompts, 3, 1, 1, generator=noise) * 20), torch.rand(
        prompts, 3, generator=noise
    )


def reference(sam: Sam, image: npt.NDArray[np.uint8], limits: Limits, at_once: int) -> Records:
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=PER_SIDE,
        points_per_batch=at_once,
        pred_iou_thresh=limits.predicted_iou,
        stability_score_thresh=limits.stability,
        box_nms_thresh=limits.box_overlap,
        output_mode="coco_rle",
    )
    return [
        (
            record["segmentation"]["counts"].encode(),
            record["bbox"],
            record["area"],
            record["predicted_iou"],
            record["stability_score"],
            record["point_coords"][0],
        )
        for record in generator.generate(image)
    ]


def as_records(found: Segments, points: npt.NDArray[np.float64]) -> Records:
    """In the reference's terms: its boxes reach to the last pixel, ours around it."""
    records = found.records
    boxes = records.boxes - np.array([0, 0, 1, 1], np.float32) * (records.areas > 0)[:, None]
    return [
        (counts, box, area, iou, stability, points[number].tolist())
        for counts, box, area, iou, stability, number in zip(
            records.rles,
            boxes.tolist(),
            records.areas.tolist(),
            found.predicted_iou.tolist(),
            records.stability.tolist(),
            found.prompt.tolist(),
            strict=True,
        )
    ]


def frame_of(image: npt.NDArray[np.uint8]) -> Frame:
    fitted = fit_longest_side(image, TINY_SIDE)
    return Frame(image.shape[0], image.shape[1], fitted.shape[0], fitted.shape[1], TINY_SIDE)


@pytest.fixture(scope="module")
def bundled() -> Sam:
    return load_sam("vit_tiny", NetworkSettings().weights("sam", "weights.safetensors"))


@pytest.mark.parametrize(
    ("size", "limits"),
    [
        ((480, 640), Limits()),
        ((333, 251), Limits(predicted_iou=0.5, stability=0.7, box_overlap=0.5)),
        ((700, 700), Limits(predicted_iou=0.2, stability=0.3, box_overlap=0.9)),
    ],
)
@torch.inference_mode()
def test_records_are_the_references_on_the_same_logits(
    size: tuple[int, int], limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    sam = build_vit_tiny().eval()
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    logits, scores = blobs(PER_SIDE**2, sum(size))
    frame = frame_of(image)
    points = point_grid(PER_SIDE, frame)
    ours = segment_everything(sam, Substituted(logits, scores), frame, points, limits, 50)

    given = Substituted(logits, scores)

    def forward(*_: Any, sparse_prompt_embeddings: Tensor, **__: Any) -> tuple[Tensor, Tensor]:
        return given.take(len(sparse_prompt_embeddings))

    monkeypatch.setattr(sam.mask_decoder, "forward", forward)
    theirs = reference(sam, image, limits, at_once=64)
    assert len(theirs) > 3
    assert as_records(ours, points) == theirs


@torch.inference_mode()
def test_records_of_the_bundled_network_are_the_references(bundled: Sam) -> None:
    image = make_scene(100_000_011, SceneSettings(width=320, height=240, objects=(6, 6))).image
    limits = Limits(predicted_iou=0.4, stability=0.7)
    theirs = reference(bundled, image, limits, at_once=64)
    frame = frame_of(image)
    points = point_grid(PER_SIDE, frame)
    inputs = bundled.preprocess(
        torch.from_numpy(fit_longest_side(image, TINY_SIDE).copy()).permute(2, 0, 1).float()
    )
    embedding = TorchEncoder(bundled, torch.float32)(inputs[None])[0]
    _, dense = bundled.prompt_encoder(points=None, boxes=torch.zeros(1, 4), masks=None)
    decoder = FactorisedDecoder(bundled, torch.float32).for_image(embedding, dense[0])
    found = segment_everything(bundled, decoder, frame, points, limits, 64)
    ours = as_records(found, points)
    assert len(theirs) > 3
    assert [record[5] for record in ours] == [record[5] for record in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert rle.iou([mine[0]], [other[0]], frame.height, frame.width)[0, 0] > 0.999
        assert mine[3:5] == pytest.approx(other[3:5], abs=2e-3)


@torch.inference_mode()
def test_further_limits_drop_masks_of_the_whole_image_and_overlapping_ones() -> None:
    torch.manual_seed(0)
    sam = build_vit_tiny().eval()
    frame = Frame(200, 200, TINY_SIDE, TINY_SIDE, TINY_SIDE)
    logits, scores = blobs(PER_SIDE**2, 5)
    logits[0] = 9.0
    scores[0] = 0.99
    points = point_grid(PER_SIDE, frame)
    limits = Limits(predicted_iou=0.2, stability=0.5, box_overlap=0.95)

    def found(limits: Limits) -> Segments:
        return segment_everything(sam, Substituted(logits, scores), frame, points, limits, 64)

    everything, bounded = found(limits), found(replace(limits, share=0.95))
    assert everything.records.areas.max() == 200 * 200
    assert bounded.records.areas.max() < 0.95 * 200 * 200
    different = found(replace(limits, mask_overlap=0.5))
    assert 0 < len(different.records) < len(everything.records)
    overlaps = rle.iou(different.records.rles, different.records.rles, 200, 200)
    assert (overlaps - np.eye(len(overlaps)) <= 0.5).all()


@pytest.mark.parametrize("where", ["logits", "scores"])
@torch.inference_mode()
def test_nan_is_an_error(where: str) -> None:
    sam = build_vit_tiny().eval()
    logits, scores = blobs(PER_SIDE**2, 1)
    if where == "logits":
        logits[3, :, 60, 60] = float("nan")
        scores[3] = 1
    else:
        scores[3, 1] = float("nan")
    frame = Frame(200, 300, 171, TINY_SIDE, TINY_SIDE)
    points = point_grid(PER_SIDE, frame)
    with pytest.raises(ModelError, match="NaN"):
        segment_everything(sam, Substituted(logits, scores), frame, points, Limits(), 64)


def test_a_network_that_gives_nan_fails_its_request_and_no_other(bundled: Sam) -> None:
    served = ServedSam(
        bundled, "sam-test", TorchEncoder(bundled, torch.float32), torch.float32, embeddings_kept=4
    )
    buffer = io.BytesIO()
    Image.new("RGB", (200, 160), (90, 10, 10)).save(buffer, "PNG")
    image = bytes_tensor([buffer.getvalue()])
    boxes = np.array([[10, 10, 50, 50]], np.float32)
    token = bundled.mask_decoder.mask_tokens.weight
    kept = token[0].clone()
    answers = []
    try:
        for value in (float("nan"), kept):
            with torch.no_grad():
                token[0] = value
            broken = ServedSam(
                bundled, "sam-test", TorchEncoder(bundled, torch.float32), torch.float32, embeddings_kept=4
            )
            answers.append(broken.execute([{"image": image, "boxes": boxes}])[0])
    finally:
        with torch.no_grad():
            token[0] = kept
    assert isinstance(answers[0], ModelError)
    assert "NaN" in str(answers[0])
    assert not answers[0].invalid
    assert not isinstance(answers[1], ModelError)
    assert not isinstance(served.execute([{"image": image, "boxes": boxes}])[0], ModelError)


def ungated(rles: list[bytes], areas: Any, scores: Any, threshold: float, size: int) -> list[int]:
    """Greedy suppression over all pairs' exact IoU."""
    masks = np.stack([rle.decode(counts, size, size) for counts in rles]).reshape(len(rles), -1)
    both = masks.astype(np.int64) @ masks.T.astype(np.int64)
    union = areas[:, None] + areas[None] - both
    kept: list[int] = []
    for candidate in np.argsort(-scores, kind="stable"):
        if all(both[candidate, k] <= threshold * union[candidate, k] for k in kept):
            kept.append(int(candidate))
    return kept


def drawn_masks(rng: np.random.Generator, count: int, size: int) -> Iterator[npt.NDArray[np.bool_]]:
    centres = rng.integers(0, size, (6, 2))
    y, x = np.mgrid[:size, :size]
    for _ in range(count):
        cy, cx = centres[rng.integers(len(centres))] + rng.integers(-2, 3, 2)
        if rng.random() < 0.5:
            yield (y - cy) ** 2 + (x - cx) ** 2 <= rng.integers(0, 12) ** 2
        else:
            h, w = rng.integers(0, 14, 2)
            yield (abs(y - cy) <= h) & (abs(x - cx) <= w) & (rng.random((size, size)) < 0.9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 40),
    threshold=st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.9, 1.0]),
)
def test_gated_suppression_is_the_ungated(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    rles = [rle.encode(mask) for mask in drawn_masks(rng, count, 48)]
    boxes = np.array([rle.box(counts, 48, 48) for counts in rles], np.float32)
    areas = np.array([rle.area(counts, 48, 48) for counts in rles], np.int64)
    scores = (rng.integers(0, 8, count) / 8).astype(np.float32)
    kept = suppress_masks(rles, boxes, areas, scores, threshold)
    assert kept.tolist() == ungated(rles, areas, scores, threshold, 48)


def test_nothing_to_suppress() -> None:
    none = np.zeros(0, np.float32)
    assert suppress_masks([], np.zeros((0, 4), np.float32), none.astype(np.int64), none, 0.5).tolist() == []
    assert suppress_boxes(np.zeros((0, 4), np.float32), none, 0.5).tolist() == []


def test_limits_are_the_networks_own_unless_set() -> None:
    bundled, public = (everything_limits(NetworkSettings(sam=name)) for name in ("vit_tiny", "vit_b"))
    assert (bundled.predicted_iou, bundled.stability) == (0.7, 0.8)
    assert (public.predicted_iou, public.stability) == (0.8, 0.9)
    chosen = everything_limits(
        NetworkSettings(sam_predicted_iou=0.0, sam_stability=0.95, sam_mask_overlap=0.6)
    )
    assert (chosen.predicted_iou, chosen.stability, chosen.mask_overlap) == (0.0, 0.95, 0.6)
    assert chosen.share == bundled.share
