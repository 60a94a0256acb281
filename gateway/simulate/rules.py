"""The rules by which a person sees what a mask is worth, and where they click. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage
from scipy.optimize import linear_sum_assignment


class Rules(BaseModel):
    """What a person with perfect vision does; the same in every stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accept_iou: float = Field(default=0.8, description="A mask with at least this IoU is right as it is.")
    unseen_pixels: int = Field(
        default=1, description="Nor is a mask wrong whose outline is off by so little: nobody sees it."
    )
    repair_iou: float = Field(
        default=0.5, description="A mask with at least this IoU is corrected; a worse one is deleted."
    )
    satisfied_iou: float = Field(default=0.9, description="Who corrects a mask stops at this IoU.")
    most_clicks: int = Field(
        default=6, description="Clicks on one instance before the person does otherwise."
    )
    least_gain: float = Field(
        default=0.02,
        description="A click that gains less IoU is the last one; a box follows, then an outline.",
    )
    label_keys: int = Field(
        default=5,
        description="Keys for a label that is not the last one: four letters, then Enter completes.",
    )
    renew_seconds: float = Field(
        default=60.0, description="A task that takes longer has its lease renewed, once for each such time."
    )


def matched(overlaps: NDArray[np.float64], least: float) -> dict[int, tuple[int, float]]:
    """Mask -> (object, IoU): one to one with the greatest sum of IoU, where that is at least `least`.

    `overlaps`: IoU float [masks, objects].
    """
    # What is too little does not count at all: a bad match must not take an object from a good one.
    counted = np.where(overlaps >= least, overlaps, 0.0)
    rows, columns = linear_sum_assignment(-counted)
    return {
        int(row): (int(column), float(overlaps[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if overlaps[row, column] >= least
    }


def next_click(truth: NDArray[np.bool_], drawn: NDArray[np.bool_]) -> tuple[int, int, bool]:
    """Where a person clicks next: (x, y, positive), in the middle of the largest region that is wrong.

    Of two bool masks [H, W] that differ. The usual robot user of interactive segmentation: the point of the
    largest connected error that is farthest from the error's edge (Sofiiuk et al. 2022, RITM).
    """
    best, place, positive = 0, (0, 0), True
    for errors, is_missing in ((truth & ~drawn, True), (drawn & ~truth, False)):
        parts, count = ndimage.label(errors)
        if not count:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        largest = int(sizes.argmax())
        if sizes[largest] > best:
            inside = np.pad(parts == largest + 1, 1)
            depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
            row, column = np.unravel_index(int(depth.argmax()), depth.shape)
            best, place, positive = int(sizes[largest]), (int(column), int(row)), is_missing
    if not best:
        raise ValueError("the masks do not differ: there is nothing to click on")
    return *place, positive


def outlined(truth: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """A mask bool [H, W] as drawn by hand: so many pixels too wide (positive) or too tight, never empty."""
    if not pixels:
        return truth
    change = ndimage.binary_dilation if pixels > 0 else ndimage.binary_erosion
    drawn: NDArray[np.bool_] = change(truth, iterations=abs(pixels))
    return drawn if drawn.any() else truth


def is_right(truth: NDArray[np.bool_], drawn: NDArray[np.bool_], rules: Rules) -> bool:
    """Whether a person takes the mask for right: by IoU, or because all that is wrong is along the outline.

    Of a small object a single pixel along the outline is much IoU, and still nothing that a person sees.
    """
    found = iou(truth, drawn)
    if found >= rules.accept_iou or found < rules.repair_iou or not rules.unseen_pixels:
        return found >= rules.accept_iou
    widest = ndimage.binary_dilation(truth, iterations=rules.unseen_pixels)
    tightest = ndimage.binary_erosion(truth, iterations=rules.unseen_pixels)
    return not (drawn & ~widest).any() and not (tightest & ~drawn).any()


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """IoU of two bool masks; 0 of two empty ones."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 0.0


def tight_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Box xywh in pixels of a bool mask [H, W] that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return float(left), float(top), float(columns[-1] + 1 - left), float(rows[-1] + 1 - top)


def slipped(meant: Sequence[float], landed: Sequence[float]) -> bool:
    """Whether a click landed a pixel or more beside where it was meant: the person sees that."""
    return max(abs(a - b) for a, b in zip(meant, landed, strict=True)) >= 1
