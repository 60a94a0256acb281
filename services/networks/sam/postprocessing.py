"""From low-resolution mask logits to masks at the image's size, as segment-anything does it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MASK_THRESHOLD = 0.0
STABILITY_OFFSET = 1.0
CHUNK_PIXELS = 16_000_000


@dataclass(frozen=True)
class Frame:
    """An image's size in pixels, and the size it has inside the network's square input."""

    height: int
    width: int
    input_height: int
    input_width: int
    side: int

    @property
    def scale(self) -> tuple[float, float]:
        """Factors from image to input pixels, (x, y)."""
        return self.input_width / self.width, self.input_height / self.height


def full_size_logits(logits: Tensor, frame: Frame) -> Tensor:
    """Logits [N, h, w] at the image's size [N, H, W]: to the square input, cropped to the image, to its
    size.
    """
    square = functional.interpolate(
        logits[:, None].float(), (frame.side, frame.side), mode="bilinear", align_corners=False
    )
    cropped = square[..., : frame.input_height, : frame.input_width]
    size = (frame.height, frame.width)
    return functional.interpolate(cropped, size, mode="bilinear", align_corners=False)[:, 0]


def masks_and_stability(logits: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """Boolean masks [N, H, W] and stability scores [N]: IoU of the masks at thresholds +1 and -1."""
    step = max(1, CHUNK_PIXELS // (frame.height * frame.width))
    masks, scores = [], []
    for start in range(0, len(logits), step):
        full = full_size_logits(logits[start : start + step], frame)
        inner = (full > MASK_THRESHOLD + STABILITY_OFFSET).sum((1, 2))
        outer = (full > MASK_THRESHOLD - STABILITY_OFFSET).sum((1, 2))
        masks.append(full > MASK_THRESHOLD)
        scores.append(inner / outer.clamp(min=1))
    if not masks:
        empty = logits.new_zeros((0, frame.height, frame.width), dtype=torch.bool)
        return empty, logits.new_zeros(0)
    return torch.cat(masks), torch.cat(scores)


def mask_boxes(masks: Tensor) -> Tensor:
    """Tight boxes xywh float32 [N, 4] of boolean masks [N, H, W]; zeros for empty ones."""
    columns, rows = masks.any(1), masks.any(2)
    boxes = []
    for along in (columns, rows):
        first = along.float().argmax(1)
        last = along.shape[1] - 1 - along.flip(1).float().argmax(1)
        boxes.append((first, last - first + 1))
    (x, w), (y, h) = boxes
    stacked = torch.stack([x, y, w, h], 1).float()
    return torch.where(columns.any(1)[:, None], stacked, torch.zeros_like(stacked))
