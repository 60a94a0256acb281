"""From boxes and masks to pairs: which instances stay, what is positive, and which negatives are hard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core import masks
from services.core.errors import InvalidImage
from services.core.suppression import box_iou, suppress
from tercet.v1 import concepts_pb2

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Limits:
    """When an instance counts.

    Least score (None: whatever the model answers) and presence, largest IoU of boxes and of masks of one
    phrase, and how many of a phrase at most.
    """

    min_score: float | None
    min_presence: float
    box_overlap: float
    mask_overlap: float
    max_instances: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What the segmenter sees of one phrase: P(present) and its instances, best first."""

    phrase: str
    presence: float
    masks: tuple[concepts_pb2.Mask, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A phrase that may become a hard negative; `score` is how easily it is confused, 0..1."""

    phrase: str
    source: concepts_pb2.PhraseSource.ValueType
    score: float
    confused_with: str = ""
    provenance: concepts_pb2.Provenance = field(default_factory=concepts_pb2.Provenance)


def detections(tensors: Tensors, limits: Limits) -> NDArray[np.int64]:
    """Rows of the grounder's answer that count, by phrase, best first: [K] indices into its N rows."""
    presence = _numbers(tensors["presence"])
    scores, of = _numbers(tensors["scores"]), np.asarray(tensors["phrase_index"], dtype=np.int64)
    boxes = np.asarray(tensors["boxes"], dtype=np.float64).reshape(-1, 4)
    kept: list[int] = []
    for phrase in range(len(presence)):
        if presence[phrase] < limits.min_presence:
            continue
        rows = np.flatnonzero(
            (of == phrase) & (scores >= (limits.min_score or 0.0)) & (boxes[:, 2:] > 0).all(axis=1)
        )
        # Overlaps are counted in squares, and what is far down the list cannot stay anyway.
        rows = rows[np.argsort(-scores[rows], kind="stable")][: 4 * limits.max_instances]
        stay = suppress(box_iou(boxes[rows], boxes[rows]), scores[rows], limits.box_overlap)
        kept += [int(row) for row in rows[stay][: limits.max_instances]]
    return np.array(kept, dtype=np.int64)


def distinct_boxes(boxes: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The boxes without repeats [U, 4], and which of them each box is [N].

    A grounder gives one box to many phrases (`bus`, `yellow bus`, `orange bus`): it is segmented once.
    """
    rows = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    return unique, inverse.reshape(-1).astype(np.int64)


def instance(
    tensors: Tensors, at: int, score: float, provenance: concepts_pb2.Provenance
) -> concepts_pb2.Mask:
    """Mask `at` of a model's answer."""
    height, width = (int(v) for v in tensors["size"])
    x, y, w, h = (float(v) for v in tensors["boxes"][at])
    return concepts_pb2.Mask(
        counts=bytes(tensors["rles"][at]),
        height=height,
        width=width,
        box=concepts_pb2.Box(x=x, y=y, width=w, height=h),
        area=int(tensors["areas"][at]),
        predicted_iou=float(tensors["predicted_iou"][at]),
        stability=float(tensors["stability"][at]),
        score=score,
        provenance=provenance,
    )


def mask_of_each_prompt(tensors: Tensors, prompts: int) -> list[int | None]:
    """For each box prompt the row of its mask: the one of the largest predicted IoU; None where it has
    none.
    """
    found: list[int | None] = [None] * prompts
    order = np.argsort(_numbers(tensors["predicted_iou"]), kind="stable")
    for row in order:  # the best comes last and stays
        found[int(tensors["prompt_index"][row])] = int(row)
    return found


def finding(phrase: str, presence: float, found: Sequence[concepts_pb2.Mask], limits: Limits) -> Finding:
    """The phrase's instances without empty masks and near-repeats, best first."""
    solid = [mask for mask in found if mask.area > 0]
    if not solid:
        return Finding(phrase, presence)
    rles = [mask.counts for mask in solid]
    overlap = masks.iou(rles, rles, solid[0].height, solid[0].width)
    stay = suppress(overlap, np.array([mask.score for mask in solid]), limits.mask_overlap)
    return Finding(phrase, presence, tuple(solid[at] for at in stay[: limits.max_instances]))


def settled(
    findings: Sequence[Finding], excludes: Callable[[str, str], bool], overlap: float
) -> list[Finding]:
    """The findings without instances that a better one rules out.

    One thing is not both a red and a yellow bus, nor both a car and a bus: of masks whose IoU is above
    `overlap` and whose phrases exclude each other, the one with the best score stays. `bus` and `yellow
    bus` do not exclude each other and share their instances.
    """
    entries = [(at, mask) for at, found in enumerate(findings) for mask in found.masks]
    if not entries:
        return list(findings)
    rles = [mask.counts for _, mask in entries]
    overlaps = masks.iou(rles, rles, entries[0][1].height, entries[0][1].width) > overlap
    kept: list[int] = []
    for row in sorted(range(len(entries)), key=lambda r: -entries[r][1].score):
        phrase = findings[entries[row][0]].phrase
        rivals = (k for k in kept if overlaps[row, k] and entries[k][0] != entries[row][0])
        if not any(excludes(phrase, findings[entries[k][0]].phrase) for k in rivals):
            kept.append(row)
    return [
        Finding(found.phrase, found.presence, tuple(entries[k][1] for k in kept if entries[k][0] == at))
        for at, found in enumerate(findings)
    ]


def pair(found: Finding, proposal: concepts_pb2.PhraseProposal) -> concepts_pb2.Pair:
    """The pair of a phrase that was asked for: positive with its instances, negative without any."""
    return concepts_pb2.Pair(
        phrase=found.phrase,
        polarity=concepts_pb2.POLARITY_POSITIVE if found.masks else concepts_pb2.POLARITY_NEGATIVE,
        source=proposal.source,
        masks=found.masks,
        presence=found.presence,
        provenance=proposal.provenance,
    )


def hard_negatives(
    candidates: Sequence[tuple[Candidate, Finding]],
    positives: Sequence[concepts_pb2.Mask],
    *,
    overlap: float,
    wanted: int,
) -> list[concepts_pb2.Pair]:
    """The adversarial filter: at most `wanted` negative pairs, hardest first.

    First come those that fool the current segmenter: it masks the phrase where a positive is (IoU of at least
    `overlap`), ordered by that IoU times the mask's score. The rest fill up by how easily they are
    confused; of these, a phrase that is masked elsewhere in the image comes last, since it may well be
    truly there. The masks stay with the pair as evidence.
    """
    ranked: list[tuple[tuple[float, ...], concepts_pb2.Pair]] = []
    for candidate, found in candidates:
        fooled = _fooled(found.masks, positives, overlap)
        order = (0.0, -fooled) if fooled > 0 else (2.0 if found.masks else 1.0, -candidate.score)
        ranked.append(
            (
                order,
                concepts_pb2.Pair(
                    phrase=candidate.phrase,
                    polarity=concepts_pb2.POLARITY_NEGATIVE,
                    hard_negative=True,
                    confused_with=candidate.confused_with,
                    source=candidate.source,
                    masks=found.masks,
                    presence=found.presence,
                    provenance=candidate.provenance,
                ),
            )
        )
    ranked.sort(key=lambda entry: entry[0])  # stable: on a tie the order of the proposals stays
    return [negative for _, negative in ranked[:wanted]]


def check_size(size: NDArray[Any], height: int, width: int) -> None:
    """Raises `InvalidImage` when the model read the image at another size than its record says."""
    read = (int(size[0]), int(size[1]))
    if height and width and read != (height, width):
        raise InvalidImage(
            f"the image is {read[1]} x {read[0]} pixels, and its record says {width} x {height}",
            code="size_mismatch",
        )


def _fooled(
    found: Sequence[concepts_pb2.Mask], positives: Sequence[concepts_pb2.Mask], overlap: float
) -> float:
    """Largest IoU times score of a mask that covers a positive's; 0 when none does."""
    if not found or not positives:
        return 0.0
    ious = masks.iou(
        [mask.counts for mask in found],
        [mask.counts for mask in positives],
        found[0].height,
        found[0].width,
    ).max(axis=1)
    return max(
        (float(iou) * mask.score for iou, mask in zip(ious, found, strict=True) if iou >= overlap),
        default=0.0,
    )


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Float64 with NaN as 0: what a model cannot say counts as no."""
    return np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
