"""What the verifier looks at: two crops of one mask (MV), or the whole image with the accepted masks (EV,
NV).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CROP_SIDE = 120
CLOSE, WIDE = 1.3, 3.0
"""Side of the zoomed-in and the zoomed-out crop, in sides of the mask's box."""
SMALLEST = 16.0
"""No crop shows fewer pixels along a side."""
SHEET_CHANNELS, SHEET_STRIDE = 4, 3
"""Channels of a mask sheet, and how many pixels of the network's size one of its pixels stands for."""


def rims(masks: Tensor) -> Tensor:
    """The pixels of float masks [N, 1, H, W] that touch the outside."""
    return masks * functional.max_pool2d(functional.pad(1 - masks, [1, 1, 1, 1], value=1.0), 3, stride=1)


def mask_crops(image: Tensor, mask: Tensor) -> Tensor:
    """Two crops [2, 5, 120, 120] of image uint8 [3, H, W] and mask bool [H, W]: near, with the mask and its
    rim as channels 3 and 4; far, with its box and the mask. Colours are 0..255; outside the image all is 0.
    """
    ys, xs = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    height, width = mask.shape
    if len(ys):
        top, bottom, left, right = int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1
    else:
        top, bottom, left, right = 0, height, 0, width
    side = float(max(bottom - top, right - left))
    middle = ((left + right) / 2, (top + bottom) / 2)
    views = []
    for number, zoom in enumerate((CLOSE, WIDE)):
        half = max(side * zoom, SMALLEST) / 2
        x0, y0 = int(middle[0] - half), int(middle[1] - half)
        x1, y1 = max(int(middle[0] + half), x0 + 1), max(int(middle[1] + half), y0 + 1)
        inside = (slice(max(y0, 0), min(y1, height)), slice(max(x0, 0), min(x1, width)))
        window = torch.zeros(5, y1 - y0, x1 - x0)
        place = (
            slice(inside[0].start - y0, inside[0].stop - y0),
            slice(inside[1].start - x0, inside[1].stop - x0),
        )
        window[:3, place[0], place[1]] = image[:, inside[0], inside[1]].float()
        window[3, place[0], place[1]] = mask[inside[0], inside[1]].float()
        small = functional.interpolate(window[None], (CROP_SIDE, CROP_SIDE), mode="bilinear", antialias=True)
        extra = small[:, 3:4].round()
        if number == 0:
            small[:, 4:5] = rims(extra)
        else:
            box = torch.zeros_like(extra)
            scale = CROP_SIDE / (y1 - y0), CROP_SIDE / (x1 - x0)
            box[
                ...,
                max(int((top - y0) * scale[0]), 0) : int((bottom - y0) * scale[0]) + 1,
                max(int((left - x0) * scale[1]), 0) : int((right - x0) * scale[1]) + 1,
            ] = 1
            small[:, 4:5], small[:, 3:4] = extra, box
        views.append(small[0])
    return torch.stack(views)


def mask_sheet(masks: Tensor) -> Tensor:
    """Four channels [4, S / 3, S / 3] of float masks [M, S, S] at the network's size: their union, the rim of
    each, and how far right and below the centre of its mask's box a pixel lies, in quarters of S.

    The last two tell one mask over two objects from two masks: union and rims are the same there. Where masks
    overlap, the smallest counts.
    """
    side = masks.shape[-1]
    sheet = torch.zeros(SHEET_CHANNELS, side // SHEET_STRIDE, side // SHEET_STRIDE)
    union = (masks > 0.5).any(0)
    if not union.any():
        return sheet
    # All is 0 outside the box of the masks, which is most of an image.
    rows, columns = _span(union.any(1)), _span(union.any(0))
    hard = masks[:, rows[0] : rows[1], columns[0] : columns[1]].round()
    seen = torch.cat([hard.amax(0)[None], rims(hard[:, None]).amax(0), _offsets(hard) * 4 / side])
    y, x = (slice(begin // SHEET_STRIDE, end // SHEET_STRIDE) for begin, end in (rows, columns))
    sheet[:, y, x] = functional.avg_pool2d(seen, SHEET_STRIDE)
    return sheet


def _span(shadow: Tensor) -> tuple[int, int]:
    """Where the shadow [S] of masks on an axis begins and ends, in whole pixels of a sheet."""
    shaded = shadow.nonzero()
    begin, end = int(shaded[0]) // SHEET_STRIDE, int(shaded[-1]) // SHEET_STRIDE + 1
    return begin * SHEET_STRIDE, end * SHEET_STRIDE


def _offsets(masks: Tensor) -> Tensor:
    """Offsets [2, h, w], x before y, of each pixel of masks [M, h, w] from its mask's centre, in pixels; 0
    outside the masks.
    """
    down, across = (torch.arange(length, dtype=torch.float32) + 0.5 for length in masks.shape[1:])
    centres = torch.stack([_middles(masks.amax(1), across), _middles(masks.amax(2), down)])
    owner = torch.where(masks > 0, masks.sum((1, 2))[:, None, None], torch.inf).argmin(0)
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"))
    return (places - centres[:, owner]) * masks.amax(0)


def _middles(shadows: Tensor, line: Tensor) -> Tensor:
    """The middle [M] of each mask's shadow [M, S] on an axis; anything where it is empty."""
    ends = [torch.where(shadows > 0, line, sign * torch.inf) for sign in (1, -1)]
    return ((ends[0].amin(1) + ends[1].amax(1)) / 2).nan_to_num()
