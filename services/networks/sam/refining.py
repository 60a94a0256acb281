"""The bundled SAM's second look: a small U-Net draws each mask again from its own crop of the image.

SAM sees an image once, at its network's side; an object of a few cells has a coarse mask there. As FocalClick
(Chen et al., 2022) does, each mask is drawn again from a crop of the image around it, at the image's own
resolution, together with the coarse mask and the prompts. Public SAMs have no such part.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align  # type: ignore[import-untyped]

from services.networks.stem import Residual

CELLS = 64
"""A crop's side as the U-Net sees it."""
CONTEXT = 1.6
"""A crop's side, in longer sides of its box."""
LEAST_WINDOW = 16
"""The least side of a crop, in pixels of the image."""
CLICK_RADIUS = 2.5
"""Of a click's disk, in cells."""
CHANNELS = 6
"""Red, green, blue, coarse mask, prompted box, clicks."""


@dataclass(frozen=True)
class Prompted:
    """N coarse masks and what they were prompted with, in pixels of their images.

    `owner` int64 [N] is the number of each one's image; `logits` [N, h, w] are SAM's, and `scale` (x, y) the
    factors from an image's pixels to theirs; `boxes` [N, 4] (x0 y0 x1 y1) are the prompted boxes where
    `boxed` bool [N], else the coarse masks' own; `clicks` [N, P, 3] are x, y and label (1 inside, 0 outside,
    -1 none).
    """

    owner: Tensor
    logits: Tensor
    scale: tuple[float, float]
    boxes: Tensor
    boxed: Tensor
    clicks: Tensor

    def windows(self) -> Tensor:
        """Square crops x0, y0, side int64 [N, 3] in whole pixels of the image; they may leave it."""
        longer = (self.boxes[:, 2:] - self.boxes[:, :2]).amax(1)
        side = (CONTEXT * longer).ceil().clamp(min=LEAST_WINDOW)
        corner = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2 - side[:, None] / 2
        return torch.cat([corner.round(), side[:, None]], 1).long()


class Refiner(nn.Module):
    """A U-Net (Ronneberger et al., 2015) of residual blocks: [N, 6, s, s] to mask logits [N, s, s] and
    predicted IoU [N], s a multiple of 8. Its coarser levels have ConvNeXt's blocks, which see farther with
    fewer weights.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 48, 64)) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        first, second, third, fourth = widths
        self.enter = nn.Conv2d(CHANNELS, first, 3, padding=1)
        self.encode = nn.ModuleList(
            [
                Block(first),
                Block(second),
                nn.Sequential(Residual(third), Residual(third)),
                nn.Sequential(Residual(fourth), Residual(fourth)),
            ]
        )
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)
        self.decode = nn.ModuleList([Block(first), Block(second), Residual(third)])
        self.exit = nn.Conv2d(first, 1, 1)
        self.iou = nn.Linear(fourth, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.enter(crops.contiguous(memory_format=torch.channels_last))
        skipped = []
        for block, shrink in zip(self.encode, self.shrink, strict=False):
            skipped.append(block(hidden))
            hidden = shrink(skipped[-1])
        hidden = self.encode[-1](hidden)
        iou = self.iou(hidden.mean((2, 3)))[:, 0].sigmoid()
        for grow, block, skip in reversed(list(zip(self.grow, self.decode, skipped, strict=True))):
            hidden = block(functional.interpolate(grow(hidden), scale_factor=2.0) + skip)
        return self.exit(hidden)[:, 0], iou


def refine(network: nn.Module, crops: Tensor) -> tuple[Tensor, Tensor]:
    """What the U-Net answers of crops and of their mirror images, on average: .005 of mean IoU for boxes on
    40 held-out scenes.
    """
    (logits, iou), (mirrored, its_iou) = network(crops), network(crops.flip(-1))
    return (logits + mirrored.flip(-1)) / 2, (iou + its_iou) / 2


class Block(nn.Module):
    """x + conv(gelu(norm(conv(x)))), 3 x 3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = features + self.second(functional.gelu(self.norm(self.first(features))))
        return added


def mask_boxes(logits: Tensor, scale: tuple[float, float]) -> Tensor:
    """Boxes x0 y0 x1 y1 [N, 4] of the coarse masks of logits [N, h, w], in pixels of the image; of an empty
    mask, zeros.
    """
    sides = []
    for along, factor in zip((1, 2), scale, strict=True):
        hit = (logits > 0).any(along)
        first = hit.byte().argmax(1)
        end = hit.shape[1] - hit.flip(1).byte().argmax(1)
        sides.append((first / factor * hit.any(1), end / factor * hit.any(1)))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], 1)


def crop(
    images: Tensor, prompted: Prompted, windows: Tensor, cells: int = CELLS, detail: float = 1.0
) -> Tensor:
    """What the U-Net sees [N, 6, cells, cells] of images float [B, 3, H, W] (0..255); `detail` is the factor
    from the pixels that `prompted` counts in to theirs. Beyond an image all is black.
    """
    pixels = cut(images, prompted.owner, windows, cells, (detail, detail))
    own = torch.arange(len(windows), device=windows.device)
    coarse = cut(prompted.logits.float().sigmoid()[:, None], own, windows, cells, prompted.scale)
    boxes, clicks = _box_map(prompted, windows, cells), _click_map(prompted, windows, cells)
    return torch.cat([(pixels - 127.5) / 64, coarse, boxes, clicks], 1)


def cut(maps: Tensor, owner: Tensor, windows: Tensor, cells: int, scale: tuple[float, float]) -> Tensor:
    """Windows [N, 3] of the maps [B, D, h, w] that own them, as [N, D, cells, cells]; `scale` (x, y) are the
    factors from the windows' pixels to the maps'. Averaged where there are fewer cells than pixels.
    """
    corners = torch.cat([windows[:, :2], windows[:, :2] + windows[:, 2:]], 1).float()
    places = torch.cat([owner[:, None].float(), corners * corners.new_tensor(scale).repeat(2)], 1)
    found: Tensor = roi_align(maps, places, cells, aligned=True)
    return found


def _box_map(prompted: Prompted, windows: Tensor, cells: int) -> Tensor:
    """How much of each cell the prompted box covers [N, 1, cells, cells]; zeros where none was."""
    places = (prompted.boxes - windows[:, :2].repeat(1, 2)) * (cells / windows[:, 2:])
    line = torch.arange(cells, device=windows.device)
    x, y = (
        (torch.minimum(line + 1, high[:, None]) - torch.maximum(line, low[:, None])).clamp(0, 1)
        for low, high in ((places[:, 0], places[:, 2]), (places[:, 1], places[:, 3]))
    )
    return (y[:, :, None] * x[:, None, :] * prompted.boxed[:, None, None])[:, None]


def _click_map(prompted: Prompted, windows: Tensor, cells: int) -> Tensor:
    """Disks of clicks [N, 1, cells, cells]: 1 inside the instance, -1 outside."""
    places = (prompted.clicks[..., :2] - windows[:, None, :2]) * (cells / windows[:, None, 2:])
    line = torch.arange(cells, device=windows.device) + 0.5
    distance = (line - places[..., 0, None])[:, :, None, :] ** 2 + (line - places[..., 1, None])[
        ..., None
    ] ** 2
    labels = prompted.clicks[..., 2]
    sign = (labels == 1).float() - (labels == 0).float()
    return ((distance <= CLICK_RADIUS**2) * sign[..., None, None]).sum(1, keepdim=True).clamp(-1, 1)


def window_logits(
    logits: Tensor, window: Tensor, height: int, width: int
) -> tuple[Tensor, tuple[slice, slice]]:
    """One mask's logits [s, s] at the image's pixels, and where in an image of height x width those lie."""
    x, y, side = window.tolist()
    left, top = max(0, x), max(0, y)
    right, bottom = max(left, min(x + side, width)), max(top, min(y + side, height))
    rows, columns = _lines(top - y, bottom - y, side, logits), _lines(left - x, right - x, side, logits)
    return rows @ logits @ columns.T, (slice(top, bottom), slice(left, right))


def _lines(begin: int, end: int, side: int, logits: Tensor) -> Tensor:
    """Shares [end - begin, s] that cells have in some of a window's `side` lines: linear interpolation."""
    cells = logits.shape[-1]
    numbers = torch.arange(cells, device=logits.device)
    at = (torch.arange(begin, end, device=logits.device) + 0.5) * (cells / side) - 0.5
    return (1 - (at.clamp(0, cells - 1)[:, None] - numbers).abs()).clamp(min=0)
