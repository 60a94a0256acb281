"""Average precision of masks, as COCO computes it, with pairs as images and all masks as one category.

Source: pycocotools' `COCOeval` with `iouType="segm"`, area range `all`, at most 100 masks a pair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.evaluation.matching import TAUS
from services.core.evaluation.pairs import Instance

MOST_MASKS = 100
RECALLS = np.linspace(0.0, 1.0, 101)
"""COCO reads precision at these recalls."""

_LARGEST_BLOCK = 4_000_000
"""Numbers in the largest array of a resampling step, to bound memory."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Predicted masks with what became of them.

    `pair` int [D]: row of the pair; `score` float [D]; `hit` bool [D, T]: matched a true mask at tau;
    `ignored` bool [D, T]: matched a crowd and counts neither way.
    """

    pair: NDArray[np.int64]
    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    def of(self, rows: NDArray[np.int64], total: int) -> Ranked:
        """Those of the given pair rows (of `total`), renumbered by place in `rows`."""
        place = np.full(total, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        mine = place[self.pair] >= 0
        return Ranked(place[self.pair[mine]], self.score[mine], self.hit[mine], self.ignored[mine])


def rank(pairs: Iterable[tuple[tuple[Instance, ...], tuple[Instance, ...], NDArray[np.float64]]]) -> Ranked:
    """Match each pair's (predictions, truths, overlaps between them) as COCO does, whatever the scores.

    Best scored first, each prediction takes the free truth that it overlaps most, if by tau at least; crowds
    only where no other is left, and they are never used up.
    """
    rows: list[int] = []
    scores: list[float] = []
    hits: list[NDArray[np.bool_]] = []
    ignored: list[NDArray[np.bool_]] = []
    for row, (predicted, truths, overlaps) in enumerate(pairs):
        certainty = np.array([one.certainty for one in predicted])
        order = np.argsort(-certainty, kind="mergesort")[:MOST_MASKS]
        hit, skipped = _greedy(overlaps[order], np.array([one.crowd for one in truths], dtype=np.bool_))
        rows += [row] * len(order)
        scores += certainty[order].tolist()
        hits.append(hit)
        ignored.append(skipped)
    empty = np.zeros((0, len(TAUS)), dtype=np.bool_)
    return Ranked(
        np.array(rows, dtype=np.int64),
        np.array(scores, dtype=np.float64),
        np.concatenate([empty, *hits]),
        np.concatenate([empty, *ignored]),
    )


def _greedy(
    overlaps: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Hits and ignored, both [D, T], of predictions in order of score with overlaps [D, G]."""
    count, truths = overlaps.shape
    hit = np.zeros((count, len(TAUS)), dtype=np.bool_)
    ignored = np.zeros_like(hit)
    if not truths:
        return hit, ignored
    taken = np.zeros((len(TAUS), truths), dtype=np.bool_)
    enough = np.minimum(TAUS, 1 - 1e-10)[:, None]
    taus = np.arange(len(TAUS))
    for i, row in enumerate(overlaps):
        fits = (row >= enough) & ~taken
        hit[i] = (fits & ~crowd).any(axis=1)
        ignored[i] = fits.any(axis=1) & ~hit[i]
        # Of truths overlapped alike COCO takes the last.
        best = truths - 1 - np.where(fits & ~crowd, row, -1.0)[:, ::-1].argmax(axis=1)
        taken[taus[hit[i]], best[hit[i]]] = True
    return hit, ignored


def average_precision(
    ranked: Ranked, truths: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AP [B, T] with each pair counted `weights` [B, P] times; `truths` [P]: true masks of each pair.

    NaN where there is no true mask.
    """
    order = np.argsort(-ranked.score, kind="mergesort")
    hit, counts = ranked.hit[order], (~ranked.ignored)[order]
    block = max(1, _LARGEST_BLOCK // max(1, len(order)))
    parts = [
        _weighted(hit, counts, weights[start : start + block][:, ranked.pair[order]], total)
        for start in range(0, len(weights), block)
        for total in [weights[start : start + block] @ truths]
    ]
    return np.concatenate(parts)


def _weighted(
    hit: NDArray[np.bool_], counts: NDArray[np.bool_], weight: NDArray[np.float64], total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AP [B, T] of predictions in order of score: hit, counts [D, T], weight [B, D]; total [B] true masks."""
    found = np.zeros((len(weight), hit.shape[1]))
    wanted = np.maximum(total, 1.0)[:, None]
    for tau in range(hit.shape[1]):
        places = np.flatnonzero(hit[:, tau])
        if not places.size:
            continue
        right = np.cumsum(weight[:, places], axis=1)
        named = np.cumsum(weight * counts[:, tau], axis=1)[:, places]
        precision = right / np.maximum(named, 1.0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # Recall rises only at hits: each stands for the recalls that are reached there first.
        reached = np.searchsorted(RECALLS, right / wanted, side="right")
        first = np.diff(reached, axis=1, prepend=0)
        found[:, tau] = (first * envelope).sum(axis=1) / len(RECALLS)
    found[total == 0] = np.nan
    return found
