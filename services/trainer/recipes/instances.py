"""Instances of scenes: prompts for them, and how well masks fit them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from services.trainer.scenes import Batch

BOX_JITTER = (0.08, 0.2)
"""Most that a side of a box moves, in sides of the object: as people draw, and as the grounder finds it."""


def all_objects(batch: Batch) -> list[tuple[int, int]]:
    """Numbers of image and object of every object."""
    return [(b, o) for b in range(len(batch.ids)) for o in range(int(batch.present[b].sum()))]


def some_objects(batch: Batch, rng: np.random.Generator, most: int) -> list[tuple[int, int]]:
    """Numbers of image and object of at most so many objects an image."""
    return [
        (b, int(o))
        for b in range(len(batch.ids))
        for o in rng.permutation(int(batch.present[b].sum()))[:most]
    ]


def object_masks(batch: Batch, pairs: list[tuple[int, int]]) -> Tensor:
    """Their masks, bool [N, S, S]."""
    return torch.stack([batch.ids[b] == o + 1 for b, o in pairs])


def box_prompt(batch: Batch, image: int, obj: int, rng: np.random.Generator | None) -> Tensor:
    """The object's visible box x0 y0 x1 y1, jittered with `rng`."""
    box = batch.objects[image, obj, 3:7].float()
    if rng is not None:
        size = (box[2:] - box[:2]).repeat(2)
        most = BOX_JITTER[int(rng.integers(len(BOX_JITTER)))]
        box = box + torch.from_numpy(rng.uniform(-most, most, 4)).float() * size
    return box.clamp(0, batch.ids.shape[-1])


def point_prompt(batch: Batch, image: int, obj: int, rng: np.random.Generator | None) -> Tensor:
    """A pixel of the object: any with `rng`, else the one nearest to its median."""
    ys, xs = np.nonzero(batch.ids[image].numpy() == obj + 1)
    pick = (
        int(rng.integers(len(xs)))
        if rng is not None
        else int(np.argmin((xs - np.median(xs)) ** 2 + (ys - np.median(ys)) ** 2))
    )
    return torch.tensor([xs[pick] + 0.5, ys[pick] + 0.5]).float()


def second_click(masks: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """A click x, y [N, 2] where masks bool [N, h, w] are wrong, in their pixels, and its label [N, 1]: 1
    where the truth bool [N, h, w] has the object, else 0.
    """
    cell = torch.multinomial((masks != truth).flatten(1).float() + 1e-9, 1)
    side = truth.shape[-1]
    place = torch.cat([cell % side + 0.5, cell // side + 0.5], 1)
    return place, truth.flatten(1).gather(1, cell).float()


def mask_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of masks bool [..., H, W], by broadcasting."""
    return (first & second).sum((-2, -1)).float() / (first | second).sum((-2, -1)).clamp(min=1)


def boundary_iou(first: Tensor, second: Tensor) -> Tensor:
    """Boundary IoU (Cheng et al., 2021): IoU of the masks' inner rims, 2 % of the diagonal wide."""
    width = max(1, round(0.02 * float(np.hypot(*second.shape[-2:]))))

    def rim(mask: Tensor) -> Tensor:
        outside = functional.max_pool2d(
            functional.pad((~mask).float()[:, None], [width] * 4, value=1.0), 2 * width + 1, stride=1
        )[:, 0]
        return mask & (outside > 0)

    return mask_iou(rim(first), rim(second))
