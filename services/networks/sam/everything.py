"""Everything-mode: a grid of single clicks over the image, and the good and different ones of their masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from services.networks.errors import NotFinite
from services.networks.sam.decoding import DecodedTokens, embed_prompts
from services.networks.sam.postprocessing import Frame, MaskRecords, mask_records
from services.networks.sam.suppression import suppress_boxes, suppress_masks

MULTIMASK = slice(1, 4)


class PromptDecoder(Protocol):
    """An image's decoder, as `factorised.ImageDecoder`."""

    def decode(self, sparse: Tensor) -> DecodedTokens:
        """Output tokens of prompts with sparse embeddings [N, T, C]."""

    def upscale(self, tokens: DecodedTokens, which: slice) -> Tensor:
        """Mask logits [N, len(which), h, w] of some of the mask tokens."""


@dataclass(frozen=True)
class Limits:
    """Which masks are kept. The defaults are those of segment-anything's `SamAutomaticMaskGenerator`."""

    predicted_iou: float = 0.88
    """Only above it."""
    stability: float = 0.95
    """At least."""
    box_overlap: float = 0.7
    """Most IoU of the boxes of two masks."""
    mask_overlap: float | None = None
    """Most IoU of two masks; None does not compare them."""
    share: float | None = None
    """Only masks that cover less of the image, and at least a pixel; None keeps all."""


@dataclass(frozen=True)
class Segments:
    """Masks found with their predicted IoU float32 [M], and the number of their prompt int64 [M]."""

    records: MaskRecords
    predicted_iou: npt.NDArray[np.float32]
    prompt: npt.NDArray[np.int64]

    def take(self, index: npt.NDArray[np.int64]) -> Segments:
        """Some of the masks, in this order."""
        return Segments(self.records.take(index), self.predicted_iou[index], self.prompt[index])


def point_grid(per_side: int, frame: Frame) -> npt.NDArray[np.float64]:
    """Evenly spaced points x, y [per_side^2, 2], row by row, in pixels of the image."""
    offset = 1 / (2 * per_side)
    steps = np.linspace(offset, 1 - offset, per_side)
    grid = np.meshgrid(steps * frame.width, steps * frame.height)
    points: npt.NDArray[np.float64] = np.stack(grid, -1).reshape(-1, 2)
    return points


def segment_everything(
    sam: Sam,
    decoder: PromptDecoder,
    frame: Frame,
    points: npt.NDArray[np.float64],
    limits: Limits,
    prompts_at_once: int,
) -> Segments:
    """The masks at single clicks on `points` [P, 2] (pixels of the image), best predicted IoU first: the
    records of `SamAutomaticMaskGenerator.generate` without crops. Masks whose predicted IoU is too low are
    not upscaled.

    Raises `NotFinite` if the network's output is not finite.
    """
    device = sam.device
    places = torch.from_numpy(points * np.array(frame.scale))[:, None].to(device)
    parts = []
    for start in range(0, len(places), prompts_at_once):
        some = places[start : start + prompts_at_once]
        labels = torch.ones(len(some), 1, dtype=torch.int, device=device)
        sparse, _ = embed_prompts(sam, some, labels, None, None)
        tokens = decoder.decode(sparse)
        scores = tokens.predicted_iou[:, MULTIMASK].float()
        if not bool(scores.isfinite().all()):
            raise NotFinite("SAM's mask decoder")
        good = scores > limits.predicted_iou
        rows = good.any(1).nonzero()[:, 0]
        if not len(rows):
            continue
        which = good[rows]
        records = mask_records(decoder.upscale(tokens.take(rows), MULTIMASK)[which], frame)
        prompts = start + rows[:, None].expand(-1, which.shape[1])[which]
        part = Segments(records, scores[rows][which].cpu().numpy(), prompts.cpu().numpy())
        parts.append(part.take(_fit(records, frame, limits)))
    return different(_joined(parts), limits)


def _fit(records: MaskRecords, frame: Frame, limits: Limits) -> npt.NDArray[np.int64]:
    fit = records.stability >= limits.stability
    if limits.share is not None:
        share = records.areas / (frame.height * frame.width)
        fit &= (share > 0) & (share < limits.share)
    return fit.nonzero()[0]


def _joined(parts: list[Segments]) -> Segments:
    return Segments(
        MaskRecords.joined([part.records for part in parts]),
        np.concatenate([np.zeros(0, np.float32), *[part.predicted_iou for part in parts]]),
        np.concatenate([np.zeros(0, np.int64), *[part.prompt for part in parts]]),
    )


def different(found: Segments, limits: Limits) -> Segments:
    """Those of highest predicted IoU, best first, of masks that overlap more than the limits allow."""
    kept = found.take(suppress_boxes(found.records.boxes, found.predicted_iou, limits.box_overlap))
    if limits.mask_overlap is None:
        return kept
    records = kept.records
    return kept.take(
        suppress_masks(records.rles, records.boxes, records.areas, kept.predicted_iou, limits.mask_overlap)
    )
