"""What a verifier is asked, read from a request: one task about one image, its phrases and their masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core import masks as rle
from services.networks.errors import ModelError
from services.networks.images import content_hash, decode_image, fit_longest_side
from services.networks.tensors import Request, read_bytes, read_indices, read_one, read_text
from services.networks.verifier.architecture import TASKS

MOST_MASKS = 2048
LONGEST_SHOWN = 1024
"""Images and masks larger than this are shrunk to it before crops are cut."""


@dataclass(frozen=True)
class Case:
    """A parsed request; `masks` bool [M, h, w] at the size of `pixels`, `keys` their RLE, `owner` [M] the
    phrase of each.
    """

    task: str
    pixels: npt.NDArray[np.uint8]
    phrases: list[str]
    masks: list[npt.NDArray[np.bool_]]
    keys: list[bytes]
    owner: npt.NDArray[np.int64]
    digest: str


def read_case(request: Request, longest: int = LONGEST_SHOWN) -> Case:
    """The request's case, shrunk so that no side is longer than `longest`. Raises `ModelError` or
    `InvalidInput`.
    """
    encoded = read_one(request, "image")
    pixels = decode_image(encoded)
    task = read_one(request, "task").decode("ascii", errors="replace")
    if task not in TASKS:
        raise ModelError(f"task must be one of {', '.join(TASKS)}, not {task!r}")
    phrases = read_text(request, "phrases")
    counts = read_bytes(request, "rles") if "rles" in request else []
    if len(counts) > MOST_MASKS:
        raise ModelError(f"at most {MOST_MASKS} masks are taken at once, not {len(counts)}")
    owner = read_indices(request, "phrase_index", len(counts), len(phrases))
    height, width = pixels.shape[:2]
    masks = [rle.decode(count, height, width) for count in counts]
    if max(height, width) > longest:
        pixels = fit_longest_side(pixels, longest)
        masks = [fit_longest_side(mask * np.uint8(255), longest) > 127 for mask in masks]
    return Case(task, pixels, phrases, masks, counts, owner, content_hash(encoded))
