"""Serving the second look: from SAM's coarse masks of one image to refined ones at the image's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from services.core import masks as rle
from services.networks.checkpoints import load_into
from services.networks.errors import NotFinite
from services.networks.precision import autocast
from services.networks.sam.pictures import Picture
from services.networks.sam.postprocessing import MASK_THRESHOLD, STABILITY_OFFSET, MaskRecords
from services.networks.sam.refining import Prompted, Refiner, crop, mask_boxes, refine, window_logits


class SecondLook:
    """Draws the masks of boxes and clicks again. `refiner` is on its device and computes in `dtype`; it was
    loaded from `weights`.
    """

    def __init__(self, refiner: Refiner, dtype: torch.dtype, weights: Path | None = None) -> None:
        self._refiner, self._dtype, self._weights = refiner, dtype, weights

    def __call__(
        self,
        picture: Picture,
        logits: Tensor,
        boxes: npt.NDArray[np.float32] | None,
        clicks: npt.NDArray[np.float32] | None,
    ) -> tuple[MaskRecords, npt.NDArray[np.float32]]:
        """Masks and their predicted IoU float32 [N] for SAM's logits [N, h, w], whose prompts were boxes xywh
        [N, 4], clicks x y label [N, P, 3] or both, in pixels of the image.

        Raises `NotFinite`.
        """
        prompted = _prompted(picture, logits, boxes, clicks)
        windows = prompted.windows()
        pixels = torch.from_numpy(np.array(picture.detail)).to(logits.device).permute(2, 0, 1)[None].float()
        frame = picture.frame
        crops = crop(pixels, prompted, windows, detail=pixels.shape[-1] / frame.width)
        with autocast(logits.device, self._dtype):
            refined, scores = refine(self._refiner, crops)
        if not bool(refined.isfinite().all()):
            raise NotFinite("SAM's refiner", self._weights)
        return window_records(refined, windows, frame.height, frame.width), scores.float().cpu().numpy()


def _prompted(
    picture: Picture,
    logits: Tensor,
    boxes: npt.NDArray[np.float32] | None,
    clicks: npt.NDArray[np.float32] | None,
) -> Prompted:
    frame, device, count = picture.frame, logits.device, len(logits)
    to_map = logits.shape[-1] / frame.side
    scale = frame.scale[0] * to_map, frame.scale[1] * to_map
    if boxes is None:
        corners = mask_boxes(logits, scale)
    else:
        # What lies outside the image would only make the window larger.
        ends = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        corners = torch.from_numpy(ends.clip(0, [frame.width, frame.height] * 2))
    given = np.full((count, 1, 3), -1, np.float32) if clicks is None else clicks
    return Prompted(
        torch.zeros(count, dtype=torch.long, device=device),
        logits,
        scale,
        corners.float().to(device),
        torch.full((count,), boxes is not None, device=device),
        torch.from_numpy(given).float().to(device),
    )


def window_records(logits: Tensor, windows: Tensor, height: int, width: int) -> MaskRecords:
    """The masks of windows' logits [N, s, s], in an image of height x width."""
    rles, boxes, areas, stability = [], [], [], []
    for each, window in zip(logits.float().cpu(), windows.cpu(), strict=True):
        inside, place = window_logits(each, window, height, width)
        mask = np.zeros((height, width), np.bool_)
        mask[place] = (inside > MASK_THRESHOLD).numpy()
        rles.append(rle.encode(mask))
        boxes.append(rle.box(rles[-1], height, width))
        areas.append(int(mask[place].sum()))
        outer, inner = (
            int((inside > MASK_THRESHOLD + by).sum()) for by in (-STABILITY_OFFSET, STABILITY_OFFSET)
        )
        stability.append(inner / max(outer, 1))
    return MaskRecords(
        rles,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(areas, np.int64),
        np.array(stability, np.float32),
    )


def load_refiner(weights: Path) -> Refiner:
    """The U-Net with a file's weights, in evaluation mode. Raises `ModelError` for one that does not fit."""
    network = Refiner()
    load_into(network, weights)
    return network.eval()
