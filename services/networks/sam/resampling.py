"""Which pixels torch's bilinear interpolation reads and how it weighs them, so that single output pixels can
be computed with torch's very result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Index = npt.NDArray[np.int32]
Weight = npt.NDArray[np.float32]

SMALLEST_EXACT = 129
"""Sum of height and width from which torch interpolates planes dimension by dimension, which `tracing`
repeats; below (`_use_vectorized_kernel_cond_2d` in aten's UpSampleKernel.cpp) it sums four products.
"""


@dataclass(frozen=True)
class Taps:
    """Interpolation along one dimension: output pixel d is `weight[0, d] * in[index[0, d]] + weight[1, d] *
    in[index[1, d]]`; index int32 [2, out], ascending, weight float32 [2, out], from 0 to 1.
    """

    index: Index
    weight: Weight

    @property
    def size(self) -> int:
        """Output pixels."""
        return self.index.shape[1]


@dataclass(frozen=True)
class Resampling:
    """Low-resolution logits to the square input, cropped, to the image's size, in the form `tracing` reads.

    Columns: `low_columns` from logits to the square, `columns` from the square to the image. Rows, both steps
    together: image row y reads square rows r0, r1, which read logit rows `rows[:2, y]`, `rows[2:, y]` with
    weights `row_weights[:2, y]`, `row_weights[2:4, y]`; r0 and r1 weigh `row_weights[4:, y]`.
    Image rows `first[k]` to `last[k]` are those that read logit row k or above and k + 1 or below; none if
    last < first. `span` is the greatest distance of logit rows that one image row reads.
    """

    low_columns: Taps
    columns: Taps
    rows: Index
    row_weights: Weight
    first: Index
    last: Index
    span: int


def bilinear_taps(inputs: int, outputs: int) -> Taps:
    """Taps of `interpolate(mode="bilinear", align_corners=False)` for float32 (aten's
    area_pixel_compute_source_index).
    """
    scale = np.float32(np.float32(inputs) / np.float32(outputs))
    position = scale * (np.arange(outputs, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    position = np.maximum(position, np.float32(0))
    near = np.minimum(position.astype(np.int32), inputs - 1)
    far = np.minimum(near + 1, inputs - 1)
    share = np.clip(position - near.astype(np.float32), 0, 1).astype(np.float32)
    return Taps(np.stack([near, far]).astype(np.int32), np.stack([np.float32(1) - share, share]))


def agrees_with_torch(taps: Taps, inputs: int) -> bool:
    """Whether torch weighs the very same way on this machine: seen in what it makes of the even and of the
    odd inputs, each alone 1, and of the inputs' numbers.
    """
    numbers = torch.arange(inputs, dtype=torch.float32)
    even = (numbers % 2 == 0).float()
    # One channel a plane, as masks have: three channels go another way in torch where it has one thread.
    planes = torch.stack([even, 1 - even, torch.floor(numbers / 2)])[:, None, None]
    # Many rows, for torch to take the way that it takes for images.
    size = (SMALLEST_EXACT, taps.size)
    seen = functional.interpolate(planes, size, mode="bilinear", align_corners=False)[:, 0, 0]
    source = planes[:, 0, 0].numpy().astype(np.float64)
    index, weight = taps.index, taps.weight.astype(np.float64)
    expected = source[:, index[0]] * weight[0] + source[:, index[1]] * weight[1]
    exact = np.array_equal(seen[:2].numpy(), expected[:2].astype(np.float32))
    return exact and bool(np.allclose(seen[2].numpy(), expected[2], rtol=1e-5, atol=1e-5))


@lru_cache(maxsize=256)
def plan(
    logits: tuple[int, int], side: int, inside: tuple[int, int], image: tuple[int, int]
) -> Resampling | None:
    """The way from logits [h, w] to the square of `side`, cropped to `inside`, to the image's size; None
    where torch goes another way than `tracing` can follow (images of a few pixels, other rounding).
    """
    if min(2 * side, sum(image)) < SMALLEST_EXACT:
        return None
    low = [bilinear_taps(size, side) for size in logits]
    full = [bilinear_taps(inside[axis], image[axis]) for axis in range(2)]
    checked = zip([*low, *full], [*logits, *inside], strict=True)
    if not all(agrees_with_torch(taps, inputs) for taps, inputs in checked):
        return None
    first_row, second_row = full[0].index
    rows = np.concatenate([low[0].index[:, first_row], low[0].index[:, second_row]])
    weights = np.concatenate(
        [low[0].weight[:, first_row], low[0].weight[:, second_row], full[0].weight]
    ).astype(np.float32)
    between = np.arange(logits[0])
    # Both rows[0] and rows[3] ascend.
    first = np.searchsorted(rows[3], between, side="right")
    last = np.searchsorted(rows[0], between, side="right") - 1
    return Resampling(
        low_columns=low[1],
        columns=full[1],
        rows=np.ascontiguousarray(rows.T).astype(np.int32),
        row_weights=np.ascontiguousarray(weights.T),
        first=first.astype(np.int32),
        last=last.astype(np.int32),
        span=int((rows[3] - rows[0]).max()),
    )
