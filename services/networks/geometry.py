"""Boxes as tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def centre_to_corners(boxes: Tensor) -> Tensor:
    """cx cy w h to x0 y0 x1 y1, any leading dimensions."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def paired_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., 2019) of corner boxes that broadcast against each
    other.
    """
    low, high = torch.max(first[..., :2], second[..., :2]), torch.min(first[..., 2:], second[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (first, second)]
    union = areas[0] + areas[1] - overlap
    hull_low, hull_high = (
        torch.min(first[..., :2], second[..., :2]),
        torch.max(first[..., 2:], second[..., 2:]),
    )
    hull = (hull_high - hull_low).clamp(min=0).prod(-1)
    iou = overlap / (union + 1e-6)
    return iou, iou - (hull - union) / (hull + 1e-6)


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression of corner boxes [N, 4]; indices kept, best first."""
    order = scores.argsort(descending=True)
    if not len(order):
        return order
    ranked = boxes[order]
    overlaps = paired_iou(ranked[:, None], ranked[None])[0] > threshold
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for position in range(len(order)):
        if alive[position]:
            alive[position + 1 :] &= ~overlaps[position, position + 1 :]
    return order[alive]
