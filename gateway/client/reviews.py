"""Masks and pairs as decisions carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.schemas import DecidedPair, DrawnMask, DrawnRle, Mask, Pair

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def drawn_mask(mask: Mask | NDArray[np.bool_]) -> DrawnMask:
    """A mask of a task as it is, or one drawn anew as bool [height, width] at the image's size."""
    if isinstance(mask, Mask):
        return DrawnMask(rle=DrawnRle(size=mask.rle.size, counts=mask.rle.counts))
    from services.core import masks  # loaded only where somebody draws

    height, width = mask.shape
    counts = masks.encode(mask).decode("ascii")
    return DrawnMask(rle=DrawnRle(size=(height, width), counts=counts))


def edited_pair(
    pair: Pair,
    instances: Sequence[Mask | NDArray[np.bool_]],
    *,
    phrase: str | None = None,
    exhaustive: bool = True,
) -> DecidedPair:
    """The pair with these instances, or as a negative with none; `phrase`: its better name."""
    return DecidedPair(
        phrase=phrase or pair.phrase,
        polarity="positive" if instances else "negative",
        hard_negative=pair.hard_negative and not instances,
        confused_with=pair.confused_with if not instances else None,
        exhaustive=exhaustive and bool(instances),
        masks=[drawn_mask(mask) for mask in instances],
    )
