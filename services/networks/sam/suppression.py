"""Non-maximum suppression of SAM's masks: by boxes, as segment-anything does it, and by the masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import batched_nms  # type: ignore[import-untyped]

from services.core import masks as rle
from services.networks.sam.tracing import compiled

Boxes = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]


def suppress_boxes(boxes: Boxes, scores: Scores, threshold: float) -> Index:
    """Masks kept, best first, by the boxes' IoU: segment-anything's call of torchvision, on its own corners,
    the last pixel's instead of the one behind. `boxes` are tight, xywh [N, 4].
    """
    last = np.maximum(boxes[:, :2] + boxes[:, 2:] - 1, boxes[:, :2])
    corners = torch.from_numpy(np.concatenate([boxes[:, :2], last], 1))
    kept = batched_nms(corners, torch.from_numpy(scores), torch.zeros(len(corners)), threshold)
    return np.asarray(kept.numpy(), np.int64)


def suppress_masks(
    rles: Sequence[bytes], boxes: Boxes, areas: Index, scores: Scores, threshold: float
) -> Index:
    """Masks kept, best first (equal scores: the earlier): greedily, without those whose IoU with a better
    kept one is above the threshold. `boxes` are tight, xywh [N, 4].

    Two masks overlap at most by their boxes' overlap and by the smaller one's area; only pairs for which that
    bound is above the threshold are compared run by run. The result is as if all were.
    """
    lengths = [rle.run_lengths(counts) for counts in rles]
    ends = np.cumsum([len(runs) for runs in lengths], dtype=np.int64)
    runs = np.array([run for each in lengths for run in each], np.int64)
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    if not len(order):
        return order
    kept: Index = _suppress(runs, ends, boxes.astype(np.float64), areas.astype(np.int64), order, threshold)
    return kept


@compiled
def _suppress(runs, ends, boxes, areas, order, threshold):  # type: ignore[no-untyped-def]
    kept = np.empty(len(order), np.int64)
    size = 0
    for candidate in order:
        alive = True
        for place in range(size):
            better = kept[place]
            width = min(boxes[candidate, 0] + boxes[candidate, 2], boxes[better, 0] + boxes[better, 2]) - max(
                boxes[candidate, 0], boxes[better, 0]
            )
            height = min(
                boxes[candidate, 1] + boxes[candidate, 3], boxes[better, 1] + boxes[better, 3]
            ) - max(boxes[candidate, 1], boxes[better, 1])
            if width <= 0 or height <= 0:
                continue
            both = areas[candidate] + areas[better]
            most = min(width * height, float(min(areas[candidate], areas[better])))
            # IoU grows with the overlap, so the bound's IoU bounds the IoU.
            if most <= threshold * (both - most):
                continue
            overlap = _overlap(
                runs[_begin(ends, candidate) : ends[candidate]], runs[_begin(ends, better) : ends[better]]
            )
            if overlap > threshold * (both - overlap):
                alive = False
                break
        if alive:
            kept[size] = candidate
            size += 1
    return kept[:size]


@compiled
def _begin(ends, number):  # type: ignore[no-untyped-def]
    return ends[number - 1] if number > 0 else 0


@compiled
def _overlap(first, second):  # type: ignore[no-untyped-def]
    """Pixels inside both of two masks given by run lengths, background first."""
    total, i, j = 0, 0, 0
    left, right = first[0], second[0]
    while True:
        step = min(left, right)
        if i & 1 and j & 1:
            total += step
        left -= step
        right -= step
        if left == 0:
            i += 1
            if i == len(first):
                return total
            left = first[i]
        if right == 0:
            j += 1
            if j == len(second):
                return total
            right = second[j]
