"""SAM as a served model: boxes, clicks of one instance, or everything; embeddings cached by image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional

from services.core import masks as rle
from services.core.kept import Kept
from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint
from services.networks.errors import ModelError
from services.networks.precision import choose_device, choose_dtype
from services.networks.sam import postprocessing
from services.networks.sam.allocation import keep_freed_memory
from services.networks.sam.architecture import load_sam
from services.networks.sam.decoding import embed_prompts
from services.networks.sam.encoding import Encoder, make_encoder
from services.networks.sam.everything import (
    MULTIMASK,
    Limits,
    Segments,
    different,
    point_grid,
    segment_everything,
)
from services.networks.sam.factorised import FactorisedDecoder, ImageDecoder
from services.networks.sam.pictures import Picture, Pictures, fitted_mask
from services.networks.sam.postprocessing import Frame, MaskRecords, mask_records
from services.networks.sam.prompts import mask_logits_of
from services.networks.sam.second_look import SecondLook, load_refiner
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor, read_count, read_one, read_rows

PROMPTS_AT_ONCE = {"cpu": 64, "cuda": 1024}
POINTS_PER_SIDE = 16
MOST_PROMPTS = 4096
EVERYTHING = Limits(predicted_iou=0.8, stability=0.9, box_overlap=0.7, share=0.95)
"""Of everything-mode: a little looser than segment-anything's, and no masks of nearly the whole image."""
BUNDLED = replace(EVERYTHING, predicted_iou=0.7, stability=0.8)
"""Of the bundled network. On 16 scenes (seeds from 100,000,000) these find 91 % of the objects at a precision
of 81 %, with a mean IoU of .94; without the second look, from a predicted IoU of .5, 91 % at 43 % with .87.
"""
SECOND_LOOK_OF = "vit_tiny"
"""The network whose masks the refiner was trained to draw again; it would spoil another's."""
FARTHEST = 1000
"""A prompt lies at most so many of the image's longer sides away; what is farther is no place in an image."""
FIRST_LOOK = 0.5
"""Masks of lower predicted IoU are not looked at again; the limits go by the second look."""


@dataclass(frozen=True)
class Prompt:
    """A parsed request; `boxes` xywh [N, 4], `points` x y label [P, 3], both in image pixels."""

    picture: Picture
    boxes: npt.NDArray[np.float32] | None
    points: npt.NDArray[np.float32] | None
    mask: npt.NDArray[np.bool_] | None
    points_per_side: int

    @property
    def frame(self) -> Frame:
        """Of its picture."""
        return self.picture.frame


class ServedSam(BatchedModel[Prompt]):
    """Answers are masks as COCO RLE at the image's size with box, area, predicted IoU and stability."""

    name = "sam"

    def __init__(
        self,
        sam: Sam,
        version: str,
        encoder: Encoder,
        dtype: torch.dtype,
        *,
        embeddings_kept: int,
        prompts_at_once: int | None = None,
        limits: Limits = EVERYTHING,
        second_look: SecondLook | None = None,
    ) -> None:
        """`sam` is on its device; `encoder` and the mask decoder compute in `dtype`. Masks of boxes and
        clicks are those of the `second_look` where there is one.
        """
        self.version = version
        self._sam, self._encoder, self._device = sam, encoder, sam.device
        self._decoder = FactorisedDecoder(sam, dtype)
        self._cache: Kept[str, Tensor] = Kept(embeddings_kept)
        self._side = int(sam.image_encoder.img_size)
        self._pictures = Pictures(embeddings_kept, self._side)
        self._prompts_at_once = prompts_at_once or PROMPTS_AT_ONCE.get(self._device.type, 64)
        self._limits = limits
        self._second_look = second_look

    def parse(self, request: Request) -> Prompt:
        encoded = read_one(request, "image")
        picture = self._pictures.get(encoded)
        frame = picture.frame
        boxes, points = read_rows(request, "boxes", 4), read_rows(request, "points", 3)
        mask = None
        for given in (boxes, None if points is None else points[:, :2]):
            _require_near(given, frame)
        if boxes is not None and (boxes[:, 2:] <= 0).any():
            raise ModelError("every box needs a width and a height above 0")
        if boxes is not None and len(boxes) > MOST_PROMPTS:
            raise ModelError(f"at most {MOST_PROMPTS} boxes are taken at once")
        if points is not None and not np.isin(points[:, 2], (0, 1)).all():
            raise ModelError("a point's label is 1 (inside) or 0 (outside)")
        if points is not None and boxes is not None and len(boxes) > 1:
            raise ModelError("points are the clicks of one instance: send at most one box with them")
        if "mask_input" in request and request["mask_input"].size:
            if points is None and (boxes is None or len(boxes) > 1):
                raise ModelError("mask_input needs the clicks or the box of its instance")
            mask = rle.decode(read_one(request, "mask_input"), frame.height, frame.width)
        per_side = read_count(request, "points_per_side", POINTS_PER_SIDE, 64)
        return Prompt(picture, boxes, points, mask, max(per_side, 1))

    def compute(self, batch: Sequence[Prompt]) -> list[Tensors | ModelError]:
        embeddings = self._embed(batch)
        return [self.answered(self._answer, prompt, embeddings[prompt.picture.key]) for prompt in batch]

    def warm_up(self) -> None:
        postprocessing.warm_up()
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (90, 120, 150)).save(buffer, "PNG")
        image = bytes_tensor([buffer.getvalue()])
        self.try_out({"image": image, "boxes": np.array([[8, 8, 24, 24]], np.float32)})
        self.try_out({"image": image, "points": np.array([[20, 20, 1]], np.float32)})
        self.try_out({"image": image, "points_per_side": np.array([1], np.int32)})

    def _embed(self, batch: Sequence[Prompt]) -> dict[str, Tensor]:
        """Embeddings [C, G, G] by image; those unknown are computed in one batch."""
        known = {prompt.picture.key: self._cache.get(prompt.picture.key) for prompt in batch}
        found = {key: embedding for key, embedding in known.items() if embedding is not None}
        unknown = {prompt.picture.key: prompt for prompt in batch if prompt.picture.key not in found}
        if unknown:
            inputs = torch.zeros(len(unknown), 3, self._side, self._side, device=self._device)
            for row, prompt in zip(inputs, unknown.values(), strict=True):
                pixels = (
                    torch.from_numpy(np.array(prompt.picture.pixels))
                    .to(self._device)
                    .permute(2, 0, 1)
                    .float()
                )
                normal = (pixels - self._sam.pixel_mean) / self._sam.pixel_std
                row[:, : normal.shape[1], : normal.shape[2]] = normal
            for key, embedding in zip(unknown, self._encoder(inputs), strict=True):
                found[key] = embedding
                self._cache.put(key, embedding)
        return found

    def _to_input(self, values: npt.NDArray[np.float32], prompt: Prompt) -> Tensor:
        """x, y columns of image pixels, in pixels of the network's input."""
        scale = np.array(prompt.frame.scale, np.float32)
        return torch.from_numpy(values * scale).to(self._device)

    def _corners(self, boxes: npt.NDArray[np.float32], prompt: Prompt) -> Tensor:
        corners = np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        return self._to_input(corners, prompt).reshape(-1, 4)

    def _mask_input(self, prompt: Prompt) -> Tensor | None:
        """The current mask in the square input, averaged down to the size of mask prompts, as logits."""
        if prompt.mask is None:
            return None
        frame = prompt.frame
        fitted = torch.from_numpy(fitted_mask(prompt.mask, frame)).to(self._device)
        placed = torch.zeros(1, 1, self._side, self._side, device=self._device)
        placed[..., : frame.input_height, : frame.input_width] = fitted
        size = self._sam.prompt_encoder.mask_input_size
        return mask_logits_of(functional.interpolate(placed, size, mode="area")[:, 0])

    def _answer(self, prompt: Prompt, embedding: Tensor) -> Tensors:
        self.require_finite(embedding)
        if prompt.points is not None:
            found = self._click(prompt, prompt.points, embedding)
        elif prompt.boxes is not None:
            found = self._boxes(prompt, prompt.boxes, embedding)
        else:
            found = self._everything(prompt, embedding)
        return {
            "rles": bytes_tensor(found.records.rles),
            "boxes": found.records.boxes,
            "areas": found.records.areas,
            "predicted_iou": found.predicted_iou.clip(0, 1),
            "stability": found.records.stability,
            "prompt_index": found.prompt.astype(np.int32),
            "size": np.array([prompt.frame.height, prompt.frame.width], np.int32),
        }

    def _prepared(
        self,
        prompt: Prompt,
        embedding: Tensor,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
    ) -> tuple[ImageDecoder, Tensor]:
        """The image's decoder and the prompts' sparse embeddings. The current mask, if there is one, belongs
        to all prompts of the request, so their dense embedding is one.
        """
        sparse, dense = embed_prompts(self._sam, points, labels, boxes, self._mask_input(prompt))
        return self._decoder.for_image(embedding, dense[0]), sparse

    def _click(self, prompt: Prompt, clicks: npt.NDArray[np.float32], embedding: Tensor) -> Segments:
        points = self._to_input(clicks[:, :2].copy(), prompt)[None]
        labels = torch.from_numpy(clicks[:, 2].copy())[None].to(self._device)
        boxes = None if prompt.boxes is None else self._corners(prompt.boxes, prompt)
        decoder, sparse = self._prepared(prompt, embedding, points, labels, boxes)
        tokens = decoder.decode(sparse)
        self.require_finite(tokens.predicted_iou)
        # One bare click is ambiguous: the best of the three multimask outputs answers; else the single-mask
        # output.
        single = len(clicks) > 1 or boxes is not None or prompt.mask is not None
        which = 0 if single else int(tokens.predicted_iou[0, 1:].argmax()) + 1
        logits = decoder.upscale(tokens, slice(which, which + 1))[:, 0]
        records, scores = self._drawn(
            prompt, logits, tokens.predicted_iou[:, which], prompt.boxes, clicks[None]
        )
        return Segments(records, scores, np.zeros(1, np.int64))

    def _boxes(self, prompt: Prompt, boxes: npt.NDArray[np.float32], embedding: Tensor) -> Segments:
        decoder, sparse = self._prepared(prompt, embedding, None, None, self._corners(boxes, prompt))
        records, scores = [], []
        for begin in range(0, len(boxes), self._prompts_at_once):
            some = slice(begin, begin + self._prompts_at_once)
            tokens = decoder.decode(sparse[some])
            self.require_finite(tokens.predicted_iou)
            logits = decoder.upscale(tokens, slice(0, 1))[:, 0]
            drawn = self._drawn(prompt, logits, tokens.predicted_iou[:, 0], boxes[some], None)
            records.append(drawn[0])
            scores.append(drawn[1])
        return Segments(MaskRecords.joined(records), np.concatenate(scores), np.arange(len(boxes)))

    def _drawn(
        self,
        prompt: Prompt,
        logits: Tensor,
        predicted_iou: Tensor,
        boxes: npt.NDArray[np.float32] | None,
        clicks: npt.NDArray[np.float32] | None,
    ) -> tuple[MaskRecords, npt.NDArray[np.float32]]:
        """The masks of SAM's logits [N, h, w] and their predicted IoU float32 [N], from a second look where
        there is one. `boxes` xywh [N, 4] or `clicks` x y label [N, P, 3] prompted them.
        """
        if self._second_look is not None and (boxes is not None or bool((logits > 0).any())):
            return self._second_look(prompt.picture, logits, boxes, clicks)
        return mask_records(logits, prompt.frame), predicted_iou.float().cpu().numpy()

    def _everything(self, prompt: Prompt, embedding: Tensor) -> Segments:
        _, dense = embed_prompts(self._sam, None, None, torch.zeros(1, 4, device=self._device), None)
        decoder = self._decoder.for_image(embedding, dense[0])
        points = point_grid(prompt.points_per_side, prompt.frame)
        limits = first = self._limits
        if self._second_look is not None:
            first = replace(limits, predicted_iou=min(limits.predicted_iou, FIRST_LOOK))
        found = segment_everything(self._sam, decoder, prompt.frame, points, first, self._prompts_at_once)
        if self._second_look is None or not len(found.records):
            return found
        again = self._clicked_again(prompt, decoder, points[found.prompt], found)
        return different(again.take(np.flatnonzero(again.predicted_iou > limits.predicted_iou)), limits)

    def _clicked_again(
        self, prompt: Prompt, decoder: ImageDecoder, points: npt.NDArray[np.float64], found: Segments
    ) -> Segments:
        """A second look at masks found by clicks on `points` x y [M, 2]: everything-mode keeps no logits."""
        clicks = np.concatenate([points, np.ones((len(points), 1))], 1).astype(np.float32)[:, None]
        places = self._to_input(clicks[..., :2], prompt)
        labels = torch.ones(len(points), 1, device=self._device)
        tokens = decoder.decode(embed_prompts(self._sam, places, labels, None, None)[0])
        scores = torch.from_numpy(found.predicted_iou).to(self._device)
        which = (tokens.predicted_iou[:, MULTIMASK].float() - scores[:, None]).abs().argmin(1)
        rows = torch.arange(len(points), device=self._device)
        logits = decoder.upscale(tokens, MULTIMASK)[rows, which]
        return Segments(*self._drawn(prompt, logits, scores, None, clicks), found.prompt)


def _require_near(places: npt.NDArray[np.float32] | None, frame: Frame) -> None:
    """Raise `ModelError` for coordinates that overflow on their way to the network."""
    most = FARTHEST * max(frame.height, frame.width)
    if places is not None and (np.abs(places) > most).any():
        raise ModelError(
            f"a point or box reaches {np.abs(places).max():g} pixels from the origin of an image of "
            f"{frame.width} x {frame.height}; send coordinates in pixels of the image, at most {most}"
        )


def everything_limits(settings: NetworkSettings) -> Limits:
    """The settings' limits of everything-mode; those not set are the network's own."""
    own = BUNDLED if settings.sam == "vit_tiny" else EVERYTHING
    set_here = {"predicted_iou": settings.sam_predicted_iou, "stability": settings.sam_stability}
    chosen = {name: value for name, value in set_here.items() if value is not None}
    return replace(own, mask_overlap=settings.sam_mask_overlap, **chosen)


def load_served(settings: NetworkSettings) -> ServedSam:
    """SAM of the settings' registry name and weights."""
    weights = settings.weights("sam", "weights.safetensors")
    device = choose_device(settings.device)
    sam = load_sam(settings.sam, weights).to(device)
    dtype = choose_dtype(settings.precision, device)
    beside = weights.with_name("refiner.safetensors")
    refiner = [beside] if settings.sam == SECOND_LOOK_OF and beside.exists() else []
    if device.type == "cpu" and settings.sam_keeps_memory:
        keep_freed_memory()
    return ServedSam(
        sam,
        f"sam-{settings.sam}-{fingerprint(weights, *refiner)}",
        make_encoder(settings.sam_encoder, sam, dtype, compiled=settings.sam_compiled),
        dtype,
        embeddings_kept=settings.embeddings_kept,
        prompts_at_once=settings.sam_prompts_at_once,
        limits=everything_limits(settings),
        second_look=SecondLook(load_refiner(beside).to(device), dtype, beside) if refiner else None,
    )
