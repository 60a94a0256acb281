"""SAM as a served model: boxes, clicks of one instance, or everything; embeddings cached by image."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional

from services.core import masks as rle
from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint
from services.networks.errors import ModelError
from services.networks.geometry import suppress
from services.networks.images import content_hash, decode_image, fit_longest_side
from services.networks.precision import autocast, choose_device, choose_dtype
from services.networks.sam.architecture import load_sam
from services.networks.sam.decoding import DecodedTokens, decode_tokens, embed_prompts, upscale_masks
from services.networks.sam.postprocessing import Frame, mask_records
from services.networks.sam.prompts import mask_logits_of
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor, read_count, read_one, read_rows

PROMPTS_AT_ONCE = 64
POINTS_PER_SIDE = 16
MOST_PROMPTS = 4096
LEAST_PREDICTED_IOU = 0.8
LEAST_STABILITY = 0.9
NMS_IOU = 0.7
WHOLE_IMAGE = 0.95
"""Everything-mode keeps masks above these and drops what covers nearly the whole image (reference defaults,
loosened for the bundled network).
"""

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Prompt:
    """A parsed request; `boxes` xywh [N, 4], `points` x y label [P, 3], both in image pixels."""

    key: str
    frame: Frame
    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32] | None
    points: npt.NDArray[np.float32] | None
    mask: npt.NDArray[np.bool_] | None
    points_per_side: int


@dataclass(frozen=True)
class Found:
    """Low-resolution logits [M, h, w], predicted IoU [M] and prompt number [M]."""

    logits: Tensor
    predicted_iou: Tensor
    prompt: Tensor


class EmbeddingCache:
    """The embeddings of the last images, least recently used first out. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Tensor | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, embedding: Tensor) -> None:
        with self._lock:
            self._kept[key] = embedding
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)


class ServedSam(BatchedModel[Prompt]):
    """Answers are masks as COCO RLE at the image's size with box, area, predicted IoU and stability."""

    name = "sam"

    def __init__(
        self, sam: Sam, version: str, device: torch.device, dtype: torch.dtype, embeddings_kept: int
    ) -> None:
        self.version = version
        self._sam = sam.to(device)
        self._device, self._dtype = device, dtype
        self._cache = EmbeddingCache(embeddings_kept)
        self._side = int(sam.image_encoder.img_size)

    def parse(self, request: Request) -> Prompt:
        encoded = read_one(request, "image")
        pixels = decode_image(encoded)
        height, width = pixels.shape[:2]
        fitted = fit_longest_side(pixels, self._side)
        frame = Frame(height, width, fitted.shape[0], fitted.shape[1], self._side)
        boxes, points = read_rows(request, "boxes", 4), read_rows(request, "points", 3)
        mask = None
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
            mask = rle.decode(read_one(request, "mask_input"), height, width)
        per_side = read_count(request, "points_per_side", POINTS_PER_SIDE, 64)
        return Prompt(content_hash(encoded), frame, fitted, boxes, points, mask, max(per_side, 1))

    def compute(self, batch: Sequence[Prompt]) -> list[Tensors | ModelError]:
        embeddings = self._embed(batch)
        answers: list[Tensors | ModelError] = []
        for prompt in batch:
            embedding = embeddings[prompt.key]
            if not bool(embedding.isfinite().all()):
                answers.append(
                    ModelError(f"{self.version} gave NaN or infinity; its weights are unfit", invalid=False)
                )
                continue
            if prompt.points is not None:
                answers.append(self._answer(prompt, self._click(prompt, embedding)))
            elif prompt.boxes is not None:
                answers.append(self._answer(prompt, self._boxes(prompt, prompt.boxes, embedding)))
            else:
                answers.append(self._answer(prompt, self._everything(prompt, embedding), filtered=True))
        return answers

    def warm_up(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (90, 120, 150)).save(buffer, "PNG")
        self.execute(
            [{"image": bytes_tensor([buffer.getvalue()]), "boxes": np.array([[8, 8, 24, 24]], np.float32)}]
        )

    def _embed(self, batch: Sequence[Prompt]) -> dict[str, Tensor]:
        """Embeddings [C, G, G] by image; those unknown are computed in one batch."""
        known = {prompt.key: self._cache.get(prompt.key) for prompt in batch}
        found = {key: embedding for key, embedding in known.items() if embedding is not None}
        unknown = {prompt.key: prompt for prompt in batch if prompt.key not in found}
        if unknown:
            inputs = torch.zeros(len(unknown), 3, self._side, self._side, device=self._device)
            for row, prompt in zip(inputs, unknown.values(), strict=True):
                pixels = torch.from_numpy(np.array(prompt.pixels)).to(self._device).permute(2, 0, 1).float()
                normal = (pixels - self._sam.pixel_mean) / self._sam.pixel_std
                row[:, : normal.shape[1], : normal.shape[2]] = normal
            with autocast(self._device, self._dtype):
                computed = self._sam.image_encoder(inputs)
            for key, embedding in zip(unknown, computed, strict=True):
                found[key] = embedding
                self._cache.put(key, embedding)
        return found

    def _decode(
        self,
        embedding: Tensor,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> DecodedTokens:
        sparse, dense = embed_prompts(self._sam, points, labels, boxes, masks)
        return decode_tokens(self._sam, embedding[None].expand(len(sparse), -1, -1, -1), sparse, dense)

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
        full = torch.from_numpy(prompt.mask)[None, None].float().to(self._device)
        placed = torch.zeros(1, 1, self._side, self._side, device=self._device)
        placed[..., : frame.input_height, : frame.input_width] = functional.interpolate(
            full, (frame.input_height, frame.input_width), mode="bilinear", antialias=True
        )
        size = self._sam.prompt_encoder.mask_input_size
        return mask_logits_of(functional.interpolate(placed, size, mode="area")[:, 0])

    def _click(self, prompt: Prompt, embedding: Tensor) -> Found:
        assert prompt.points is not None
        points = self._to_input(prompt.points[:, :2].copy(), prompt)[None]
        labels = torch.from_numpy(prompt.points[:, 2].copy())[None].to(self._device)
        boxes = None if prompt.boxes is None else self._corners(prompt.boxes, prompt)
        mask = self._mask_input(prompt)
        with autocast(self._device, self._dtype):
            tokens = self._decode(embedding, points, labels, boxes, mask)
            logits = upscale_masks(self._sam, tokens)
        scores = tokens.predicted_iou.float()
        # One bare click is ambiguous: the best of the three multimask outputs answers; else the single-mask
        # output.
        single = len(prompt.points) > 1 or boxes is not None or mask is not None
        which = 0 if single else int(scores[0, 1:].argmax()) + 1
        return Found(logits[:, which].float(), scores[:, which], torch.zeros(1, dtype=torch.long))

    def _boxes(self, prompt: Prompt, boxes: npt.NDArray[np.float32], embedding: Tensor) -> Found:
        corners = self._corners(boxes, prompt)
        mask = self._mask_input(prompt)
        logits, scores = [], []
        for start in range(0, len(corners), PROMPTS_AT_ONCE):
            with autocast(self._device, self._dtype):
                tokens = self._decode(embedding, None, None, corners[start : start + PROMPTS_AT_ONCE], mask)
                logits.append(upscale_masks(self._sam, tokens, slice(0, 1))[:, 0].float())
            scores.append(tokens.predicted_iou[:, 0].float())
        return Found(torch.cat(logits), torch.cat(scores), torch.arange(len(corners)))

    def _everything(self, prompt: Prompt, embedding: Tensor) -> Found:
        """A grid of single clicks; prompts none of whose masks is good enough are dropped before
        upscaling.
        """
        steps = (np.arange(prompt.points_per_side, dtype=np.float32) + 0.5) / prompt.points_per_side
        grid = np.stack(np.meshgrid(steps * prompt.frame.width, steps * prompt.frame.height), -1).reshape(
            -1, 2
        )
        points = self._to_input(grid.astype(np.float32), prompt)[:, None]
        logits, scores, prompts = [], [], []
        for start in range(0, len(points), PROMPTS_AT_ONCE):
            some = points[start : start + PROMPTS_AT_ONCE]
            with autocast(self._device, self._dtype):
                tokens = self._decode(
                    embedding, some, torch.ones(len(some), 1, device=self._device), None, None
                )
            good = tokens.predicted_iou[:, 1:].float() >= LEAST_PREDICTED_IOU
            rows = good.any(1).nonzero()[:, 0]
            if not len(rows):
                continue
            kept = tokens.take(rows)
            with autocast(self._device, self._dtype):
                upscaled = upscale_masks(self._sam, kept, slice(1, 4)).float()
            which = good[rows]
            logits.append(upscaled[which])
            scores.append(kept.predicted_iou[:, 1:].float()[which])
            prompts.append(rows[which.nonzero()[:, 0]] + start)
        if not logits:
            side = 4 * embedding.shape[-1]
            return Found(torch.zeros(0, side, side), torch.zeros(0), torch.zeros(0, dtype=torch.long))
        return Found(torch.cat(logits), torch.cat(scores), torch.cat(prompts))

    def _answer(self, prompt: Prompt, found: Found, *, filtered: bool = False) -> Tensors:
        frame = prompt.frame
        records = mask_records(found.logits, frame)
        scores, prompts = found.predicted_iou.cpu(), found.prompt.cpu().numpy()
        if filtered:
            share = records.areas / (frame.height * frame.width)
            fit = (records.stability >= LEAST_STABILITY) & (records.areas > 0) & (share < WHOLE_IMAGE)
            good = fit.nonzero()[0]
            boxes = torch.from_numpy(records.boxes[good])
            corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
            kept = good[suppress(corners, scores[torch.from_numpy(good)], NMS_IOU).numpy()]
            records, scores, prompts = records.take(kept), scores[torch.from_numpy(kept)], prompts[kept]
        return {
            "rles": bytes_tensor(records.rles),
            "boxes": records.boxes,
            "areas": records.areas,
            "predicted_iou": scores.clamp(0, 1).numpy().astype(np.float32),
            "stability": records.stability,
            "prompt_index": prompts.astype(np.int32),
            "size": np.array([frame.height, frame.width], np.int32),
        }


def load_served(settings: NetworkSettings) -> ServedSam:
    """SAM of the settings' registry name and weights."""
    weights = settings.weights("sam", "weights.safetensors")
    sam = load_sam(settings.sam, weights)
    device = choose_device(settings.device)
    version = f"sam-{settings.sam}-{fingerprint(weights)}"
    return ServedSam(sam, version, device, choose_dtype(settings.precision, device), settings.embeddings_kept)
