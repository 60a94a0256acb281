"""From SAM 3's mask logits to records: RLE, box, area, predicted IoU and stability."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from services.core import masks as rle

AT_ONCE = 16
"""Masks that are at full size at a time: of a 12-megapixel photograph one takes 48 MB."""
STABILITY_OFFSET = 1.0
"""In logits, segment-anything's default."""


@dataclass
class Records:
    """Of each mask, in order: COCO compressed RLE, xywh box of its pixels, area, predicted IoU, stability."""

    rles: list[bytes] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    predicted_iou: list[float] = field(default_factory=list)
    stability: list[float] = field(default_factory=list)


def record(logits: Tensor, height: int, width: int) -> Records:
    """Records of masks [M, h, w] at the image's size.

    Probabilities are resized (bilinear) and cut at one half, as transformers' post-processing does. SAM 3
    predicts no IoU: it is the expected overlap over the expected union of the mask with the truth, if each
    pixel's probability is right, sum(p inside) / (area + sum(p outside)). Stability is
    segment-anything's, the area at the logit +1 over the area at -1.
    """
    found = Records()
    high, low = (float(torch.sigmoid(torch.tensor(sign * STABILITY_OFFSET))) for sign in (1, -1))
    for start in range(0, len(logits), AT_ONCE):
        chances = functional.interpolate(
            torch.sigmoid(logits[start : start + AT_ONCE].float())[None],
            (height, width),
            mode="bilinear",
            align_corners=False,
        )[0]
        inside = chances > 0.5
        areas = inside.sum((1, 2))
        expected = (chances * inside).sum((1, 2))
        union = areas + (chances * ~inside).sum((1, 2))
        stability = (chances > high).sum((1, 2)) / (chances > low).sum((1, 2)).clamp(min=1)
        for mask in inside.cpu().numpy():
            counts = rle.encode(np.ascontiguousarray(mask))
            found.rles.append(counts)
            found.boxes.append(rle.box(counts, height, width))
        found.areas += areas.tolist()
        found.predicted_iou += (expected / union.clamp(min=1e-6)).clamp(0, 1).tolist()
        found.stability += stability.tolist()
    return found
