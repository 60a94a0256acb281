"""From low-resolution mask logits to masks at the image's size, with segment-anything's very results."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from services.networks.errors import NotFinite
from services.networks.sam import resampling, tracing

MASK_THRESHOLD = 0.0
STABILITY_OFFSET = 1.0
LEVELS = np.array(
    [MASK_THRESHOLD - STABILITY_OFFSET, MASK_THRESHOLD, MASK_THRESHOLD + STABILITY_OFFSET], np.float32
)
CHUNK_PIXELS = {"cpu": 4_000_000, "cuda": 256_000_000}
"""Full-size pixels that are made at once where masks are not traced; four bytes and more each."""
MASKS_A_TASK = 8


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


@dataclass(frozen=True)
class MaskRecords:
    """N masks at the image's size: compressed COCO run lengths, tight boxes xywh float32 [N, 4] (zeros for an
    empty mask), areas int64 [N] in pixels, and stability float32 [N], the IoU of the masks at the thresholds
    +1 and -1 (0 where both are empty).
    """

    rles: list[bytes]
    boxes: npt.NDArray[np.float32]
    areas: npt.NDArray[np.int64]
    stability: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rles)

    def take(self, index: npt.NDArray[np.int64]) -> MaskRecords:
        """Some of the masks, in this order."""
        rles = [self.rles[number] for number in index.tolist()]
        return MaskRecords(rles, self.boxes[index], self.areas[index], self.stability[index])

    @staticmethod
    def joined(parts: Sequence[MaskRecords]) -> MaskRecords:
        """All masks of the parts."""
        if not parts:
            empty = np.zeros(0, np.int64)
            return MaskRecords([], np.zeros((0, 4), np.float32), empty, np.zeros(0, np.float32))
        return MaskRecords(
            [rle for part in parts for rle in part.rles],
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.areas for part in parts]),
            np.concatenate([part.stability for part in parts]),
        )


def full_size_logits(logits: Tensor, frame: Frame) -> Tensor:
    """Logits [N, h, w] at the image's size [N, H, W]: to the square input, cropped to the image, to its
    size (`Sam.postprocess_masks`).
    """
    square = functional.interpolate(
        logits[:, None].float(), (frame.side, frame.side), mode="bilinear", align_corners=False
    )
    cropped = square[..., : frame.input_height, : frame.input_width]
    size = (frame.height, frame.width)
    return functional.interpolate(cropped, size, mode="bilinear", align_corners=False)[:, 0]


def mask_records(logits: Tensor, frame: Frame) -> MaskRecords:
    """The masks of logits [N, h, w], equal to the bit with segment-anything's on the same device. Those of
    the CPU are traced where torch interpolates as `tracing` does (see `traceable`), else made at full size.

    Raises `NotFinite` if a logit is not finite.
    """
    if not len(logits):
        return MaskRecords.joined([])
    way = traceable(logits, frame)
    return traced_records(logits, way) if way else rendered_records(logits, frame)


def traceable(logits: Tensor, frame: Frame) -> resampling.Resampling | None:
    """How to trace these masks; None off the CPU, for images of a few pixels (height + width below 129), and
    on processors for which torch was not compiled with fused multiply-add.
    """
    if logits.device.type != "cpu" or not rounds_as_torch():
        return None
    size = (int(logits.shape[1]), int(logits.shape[2]))
    inside, image = (frame.input_height, frame.input_width), (frame.height, frame.width)
    return resampling.plan(size, frame.side, inside, image)


@cache
def rounds_as_torch() -> bool:
    """Whether traced pixels have torch's very values on this machine: tried once, on a whole image."""
    logits = 3 * torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    frame = Frame(height=101, width=143, input_height=68, input_width=96, side=96)
    way = resampling.plan((24, 40), 96, (68, 96), (101, 143))
    if way is None:
        return False
    columns = np.ascontiguousarray(logits.T.numpy())
    pixels = tracing.render(columns, *_arrays(way))
    return np.array_equal(pixels, full_size_logits(logits[None], frame)[0].numpy())


def warm_up() -> None:
    """Compile what is compiled at the first call, or read it from the disk."""
    logits = torch.zeros(1, 8, 8)
    logits[0, 2:5, 2:5] = 4
    frame = Frame(100, 100, 100, 100, 100)
    mask_records(logits, frame)
    rendered_records(logits, frame)


def traced_records(logits: Tensor, way: resampling.Resampling) -> MaskRecords:
    """`mask_records` of logits on the CPU without making the masks; on all cores."""
    columns = logits.float().transpose(1, 2).contiguous().numpy()
    arrays = _arrays(way)

    def trace(begin: int) -> MaskRecords:
        runs, ends, figures = tracing.trace(
            columns[begin : begin + MASKS_A_TASK], *arrays, way.first, way.last, way.span, LEVELS
        )
        return _records(runs, ends, figures)

    begins = range(0, len(columns), MASKS_A_TASK)
    # Compiled code holds no interpreter lock, so threads share the work.
    parts = [trace(0)] if len(begins) == 1 else list(_threads().map(trace, begins))
    return MaskRecords.joined(parts)


def rendered_records(logits: Tensor, frame: Frame) -> MaskRecords:
    """`mask_records` by making every pixel, on any device; only figures and run lengths leave it."""
    most = CHUNK_PIXELS.get(logits.device.type, CHUNK_PIXELS["cpu"])
    step = max(1, most // (frame.height * frame.width))
    return MaskRecords.joined(
        [_rendered(logits[start : start + step], frame) for start in range(0, len(logits), step)]
    )


def _rendered(logits: Tensor, frame: Frame) -> MaskRecords:
    if not bool(logits.isfinite().all()):
        raise NotFinite("SAM's mask decoder")
    full = full_size_logits(logits, frame)
    outer, inner = ((full > float(level)).sum((1, 2)) for level in LEVELS[[0, 2]])
    masks = full > MASK_THRESHOLD
    figures = torch.cat([torch.stack([outer, masks.sum((1, 2)), inner], 1), _boxes(masks)], 1)
    # Column by column, as COCO's runs go.
    flat = masks.transpose(1, 2).flatten(1)
    changes = (flat[:, 1:] != flat[:, :-1]).nonzero()
    counts = torch.bincount(changes[:, 0], minlength=len(masks))
    runs, ends = tracing.compress(
        (changes[:, 1] + 1).cpu().numpy(),
        counts.cumsum(0).cpu().numpy(),
        flat[:, 0].cpu().numpy(),
        frame.height * frame.width,
    )
    return _records(runs, ends, figures.cpu().numpy())


def _boxes(masks: Tensor) -> Tensor:
    """Tight boxes xywh int64 [N, 4] of boolean masks [N, H, W]; zeros for empty ones."""
    sides = []
    for along in (masks.any(1), masks.any(2)):
        first = along.byte().argmax(1)
        last = along.shape[1] - 1 - along.flip(1).byte().argmax(1)
        sides.append((first, last - first + 1))
    (x, width), (y, height) = sides
    return torch.stack([x, y, width, height], 1) * masks.flatten(1).any(1)[:, None]


def _records(
    runs: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], figures: npt.NDArray[np.int64]
) -> MaskRecords:
    if (figures[:, 1] < 0).any():
        raise NotFinite("SAM's mask decoder")
    text = runs.tobytes()
    begins = [0, *ends.tolist()]
    outer, areas, inner = figures[:, :3].T
    stability = inner.astype(np.float32) / np.maximum(outer, 1).astype(np.float32)
    return MaskRecords(
        [text[begin:end] for begin, end in pairwise(begins)],
        figures[:, 3:].astype(np.float32),
        np.ascontiguousarray(areas),
        stability,
    )


def _arrays(way: resampling.Resampling) -> tuple[npt.NDArray[np.generic], ...]:
    low, columns = way.low_columns, way.columns
    return low.index, low.weight, columns.index, columns.weight, way.rows, way.row_weights


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="masks")
