"""How urgent a pair is for a person, and why. Pure functions; every weight is a setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.core import masks
from tercet.v1 import concepts_pb2

SMALL_AREA = 32 * 32
"""Pixels below which COCO calls an object small."""
SAME_THING = 0.8
"""Masks of two phrases that overlap more than this show one thing under two names, not one before another."""
NOTEWORTHY = 0.3
"""A component of at least this much is named among the reasons."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What each component, itself 0..1, adds to a priority."""

    low_score: float = 1.0
    uncertainty: float = 1.0
    rarity: float = 0.5
    confusion: float = 0.75
    overlap: float = 0.5
    small_objects: float = 0.25
    review_bonus: float = 4.0
    second_look_bonus: float = 1.0
    rare_below: float = 10.0
    crowd_of: int = 20
    well_annotated: int = 200
    well_handled: float = 0.95
    handled_at_least: int = 20
    cap: float = 0.1


@dataclass(frozen=True, slots=True)
class PhraseHistory:
    """What a tenant has of a phrase: images with an accepted pair, decisions, and corrections among them."""

    accepted: int = 0
    decided: int = 0
    corrected: int = 0


@dataclass(frozen=True, slots=True)
class Priority:
    """Higher first, with the reasons for people. A reason's part before the colon is its kind."""

    value: float
    reasons: tuple[str, ...]


def of_pair(
    pair: concepts_pb2.Pair,
    pairs: Sequence[concepts_pb2.Pair],
    history: PhraseHistory,
    weights: Weights,
    *,
    size: tuple[int, int],
) -> Priority:
    """The priority of one of the image's `pairs`; `size` is the image's (height, width).

    A pair that the models doubt comes before one that they think wrong: by default the verdict's bonus
    outweighs the rest together.
    """
    reasons: list[str] = []
    value = 0.0

    def add(weight: float, component: float, reason: str) -> None:
        nonlocal value
        value += weight * component
        if component >= NOTEWORTHY and weight > 0:
            reasons.append(reason)

    add(weights.low_score, 1.0 - pair.score, f"low score: {pair.score:.2f}")
    doubt = uncertainty(pair)
    add(weights.uncertainty, doubt, f"uncertain verifier: {doubt:.2f}")
    rare = 1.0 / (1.0 + history.accepted / weights.rare_below)
    add(weights.rarity, rare, f"rare phrase: {history.accepted} accepted so far")
    confused, sibling = confusion(pair, pairs)
    add(weights.confusion, confused, f"easily confused: with {sibling}" if sibling else "easily confused")
    crowding = len(pair.masks) / weights.crowd_of
    covered = overlap(pair, pairs, size)
    add(
        weights.overlap,
        min(1.0, max(covered, crowding)),
        f"overlapping: {covered:.2f} IoU" if covered >= crowding else f"crowded: {len(pair.masks)} instances",
    )
    small = sum(mask.area < SMALL_AREA for mask in pair.masks)
    share = small / len(pair.masks) if pair.masks else 0.0
    add(weights.small_objects, share, f"small objects: {small} below 32 x 32 pixels")
    if pair.verdict == concepts_pb2.VERDICT_REVIEW:
        value += weights.review_bonus
    if well_annotated(history, weights) and value > weights.cap:
        kept = 1.0 - history.corrected / history.decided
        return Priority(
            weights.cap, (f"well annotated: {history.accepted} accepted, {kept:.0%} of decisions kept them",)
        )
    return Priority(value, tuple(reasons))


def uncertainty(pair: concepts_pb2.Pair) -> float:
    """0..1: the larger of EV's and the masks' worst MV entropy (normalised), or of a negative's validity."""
    found = [entropy(mask.verification.probabilities) for mask in pair.masks if mask.HasField("verification")]
    if pair.HasField("exhaustivity"):
        found.append(entropy(pair.exhaustivity.probabilities))
    if pair.HasField("negative"):
        found.append(entropy((pair.negative.absent, 1.0 - pair.negative.absent)))
    return max(found, default=0.0)


def entropy(probabilities: Sequence[float]) -> float:
    """Shannon entropy over its largest possible value: 0 for a sure answer, 1 for an even one."""
    total = sum(probabilities)
    if len(probabilities) < 2 or total <= 0:
        return 0.0
    shares = [p / total for p in probabilities if p > 0]
    return min(1.0, max(0.0, -sum(p * math.log(p) for p in shares) / math.log(len(probabilities))))


def confusion(pair: concepts_pb2.Pair, pairs: Sequence[concepts_pb2.Pair]) -> tuple[float, str]:
    """0..1 and the sibling: how close the presence of the phrase most confused with this comes to its own."""
    closest, sibling = 0.0, ""
    for other in pairs:
        if other.phrase == pair.phrase:
            continue
        if other.confused_with == pair.phrase or pair.confused_with == other.phrase:
            close = (1.0 - abs(pair.presence - other.presence)) * max(pair.presence, other.presence)
            if close > closest:
                closest, sibling = close, other.phrase
    return closest, sibling


def overlap(pair: concepts_pb2.Pair, pairs: Sequence[concepts_pb2.Pair], size: tuple[int, int]) -> float:
    """Largest IoU between a mask of the pair and any other mask of the image that shows another thing, 0..1.

    Raises `InvalidInput` for RLE that does not fill the image.
    """
    height, width = size
    mine = [mask.counts for mask in pair.masks]
    others = [mask.counts for other in pairs if other.phrase != pair.phrase for mask in other.masks]
    for counts in (*mine, *others):
        masks.check(counts, height, width)
    worst = 0.0
    if len(mine) > 1:
        among = masks.iou(mine, mine, height, width)
        for row in range(len(mine)):
            among[row, row] = 0.0
        worst = float(among.max())
    if mine and others:
        against = masks.iou(mine, others, height, width)
        against[against >= SAME_THING] = 0.0
        worst = max(worst, float(against.max()))
    return worst


def well_annotated(history: PhraseHistory, weights: Weights) -> bool:
    """Whether there is plenty of the phrase, and people seldom correct it."""
    return (
        history.accepted >= weights.well_annotated
        and history.decided >= weights.handled_at_least
        and 1.0 - history.corrected / history.decided >= weights.well_handled
    )
