"""Non-maximum suppression: of things that overlap too much the best stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def box_iou(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Pairwise IoU [N, M] of xywh boxes [N, 4] and [M, 4]; 0 where both are empty."""
    a, b = (np.asarray(side, dtype=np.float64).reshape(-1, 4) for side in (first, second))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    shared = np.clip(high - low, 0.0, None).prod(axis=2)
    total = a[:, None, 2:].prod(axis=2) + b[None, :, 2:].prod(axis=2) - shared
    found: NDArray[np.float64] = np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)
    return found


def suppress(overlap: NDArray[Any], scores: NDArray[Any], threshold: float) -> list[int]:
    """Indices that stay, best score first (the earlier on a tie); pairwise overlaps [N, N], scores [N].

    Greedy: whatever overlaps a better one that stays by more than the threshold goes.
    """
    kept: list[int] = []
    for at in np.argsort(-np.asarray(scores), kind="stable"):
        if all(overlap[at, other] <= threshold for other in kept):
            kept.append(int(at))
    return kept
