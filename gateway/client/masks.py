"""Masks of annotations as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.schemas import Mask, Pair

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def mask_array(mask: Mask) -> NDArray[np.bool_]:
    """Bool [height, width] of the upright image. Raises `services.core.errors.InvalidInput`."""
    # NumPy and pycocotools are loaded only where somebody wants arrays.
    from services.core.masks import decode

    height, width = mask.rle.size
    return decode(mask.rle.counts.encode("ascii"), height, width)


def mask_arrays(pair: Pair) -> NDArray[np.bool_]:
    """Bool [masks, height, width], in the pair's order; [0, 0, 0] for a pair without masks."""
    import numpy as np

    if not pair.masks:
        return np.zeros((0, 0, 0), dtype=np.bool_)
    return np.stack([mask_array(mask) for mask in pair.masks])
