"""What is measured of single models: one function a part, from a scene to what was found, as JSON.

What is kept of a scene is raw enough that every figure is computed from it later, also over resampled scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.core import masks
from services.core.evaluation.boundary import boundary_iou
from services.core.phrases import normalise
from services.kit.inference.ports import strings
from services.networks.verifier.architecture import CHOICES
from services.quality.scenes import KnownScene
from services.quality.serving import Models, indices
from services.scenes.ontology import ontology
from services.scenes.phrases import hard_negatives
from services.segmenter.settings import SegmenterSettings
from services.trainer.cases import CaseMaker, MaskCase, SetCase

Found = dict[str, Any]

CLICKED = 3
"""Objects of a scene that are clicked."""
LOWEST_SCORE = 0.03
"""Boxes with lower scores do not count in average precision."""
NEAR_MISSES = 10
CASES = {"mv": 5, "ev": 5, "nv": 6}
"""Cases drawn of a scene; some scenes cannot give a kind, so that there are fewer."""


def sam(models: Models, known: KnownScene) -> Found:
    """IoU and boundary IoU of every object from its visible box; IoU from one click on some objects.

    The click is the object's pixel nearest to the median of its pixels.
    """
    height, width = known.size
    image = strings([known.content])
    boxes = np.array([instance.box for instance in known.scene.instances], np.float32)
    answer = models.ask("sam", {"image": image, "boxes": boxes})
    made: list[bytes] = [b""] * len(boxes)
    for row, prompt in enumerate(answer["prompt_index"]):
        made[int(prompt)] = bytes(answer["rles"][row])
    pairs = [
        (mask or masks.union([], height, width), truth)
        for mask, truth in zip(made, known.instances, strict=True)
    ]
    clicked = known.rng(0).permutation(len(boxes))[:CLICKED]
    points = []
    for index in clicked:
        clicks = np.array([[*_inside(known.scene.mask(int(index))), 1]], np.float32)
        found = models.ask("sam", {"image": image, "points": clicks})
        best = bytes(found["rles"][int(np.argmax(found["predicted_iou"]))]) if len(found["rles"]) else None
        points.append(_iou(best, known.instances[int(index)], height, width) if best else 0.0)
    return {
        "box": [_iou(mask, truth, height, width) for mask, truth in pairs],
        "boundary": [round(boundary_iou(mask, truth, height, width), 4) for mask, truth in pairs],
        "point": points,
    }


def grounding(models: Models, known: KnownScene) -> Found:
    """Scored masks of the full phrases that hold (score, whether it hits an instance at IoU .5), the presence
    of these phrases, and the presence of near misses with whether serving would give them a mask.
    """
    height, width = known.size
    image = strings([known.content])
    phrases = list(known.full_phrases)
    answer = models.ask(
        "concept_grounder",
        {
            "image": image,
            "phrases": strings(phrases),
            "threshold": np.array([LOWEST_SCORE], np.float32),
        },
    )
    hits: list[tuple[float, bool]] = []
    if len(answer["boxes"]):
        sized = np.maximum(answer["boxes"], [[-np.inf, -np.inf, 1, 1]]).astype(np.float32)
        segmented = models.ask("sam", {"image": image, "boxes": sized})
        made = {
            int(prompt): bytes(segmented["rles"][row]) for row, prompt in enumerate(segmented["prompt_index"])
        }
        for place, phrase in enumerate(phrases):
            rows = [row for row in np.flatnonzero(answer["phrase_index"] == place) if int(row) in made]
            truth = [known.instances[index] for index in known.full_phrases[phrase]]
            overlaps = masks.iou([made[int(row)] for row in rows], truth, height, width)
            hits += _matched([float(answer["scores"][row]) for row in rows], overlaps)
    absent = [normalise(text) for text in hard_negatives(known.scene, NEAR_MISSES, depths=(3,))]
    refused = models.ask("concept_grounder", {"image": image, "phrases": strings(absent)})
    masked = {int(index) for index in refused["phrase_index"]}
    least = SegmenterSettings().min_presence
    return {
        "hits": [[round(score, 5), hit] for score, hit in hits],
        "wanted": len(known.instances),
        "present": [round(float(p), 5) for p in answer["presence"]],
        "absent": [round(float(p), 5) for p in refused["presence"]],
        "masked": [
            bool(presence >= least and place in masked) for place, presence in enumerate(refused["presence"])
        ],
    }


def verifying(models: Models, known: KnownScene) -> Found:
    """Cases with known answers: [the right choice, the verifier's, its probability, kind of case]."""
    words = ontology()
    rows = [words.number(i.colour, i.pattern, i.kind) for i in known.scene.instances]
    maker = CaseMaker(torch.from_numpy(known.scene.ids).long(), rows, known.rng(1), held_out=True)
    makers = {"mv": maker.mask_case, "ev": maker.set_case, "nv": maker.presence_case}
    found: Found = {}
    for task, make in makers.items():
        drawn = [make() for _ in range(CASES[task])]
        cases: list[MaskCase | SetCase] = [case for case in drawn if case is not None]
        found[task] = _judged(models, known, task, cases) if cases else []
    return found


def _judged(
    models: Models, known: KnownScene, task: str, cases: Sequence[MaskCase | SetCase]
) -> list[tuple[str, str, float, str]]:
    rles: list[bytes] = []
    owner: list[int] = []
    for number, case in enumerate(cases):
        of = [case.mask] if isinstance(case, MaskCase) else list(case.masks)
        rles += [masks.encode(mask.numpy()) for mask in of]
        owner += [number] * len(of)
    answer = models.ask(
        "verifier",
        {
            "image": strings([known.content]),
            "task": strings([task]),
            "phrases": strings([case.phrase for case in cases]),
            "rles": strings(rles),
            "phrase_index": indices(owner),
        },
    )
    choices = CHOICES[task]
    return [
        (case.answer, choices[int(row.argmax())], round(float(row.max()), 5), case.kind)
        for case, row in zip(cases, answer["probabilities"], strict=True)
    ]


def _inside(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """x and y of the mask's pixel nearest to the median of its pixels."""
    ys, xs = np.nonzero(mask)
    nearest = int(np.argmin((xs - np.median(xs)) ** 2 + (ys - np.median(ys)) ** 2))
    return float(xs[nearest]) + 0.5, float(ys[nearest]) + 0.5


def _iou(first: bytes, second: bytes, height: int, width: int) -> float:
    return round(float(np.nan_to_num(masks.iou([first], [second], height, width)[0, 0])), 4)


def _matched(scores: Sequence[float], overlaps: NDArray[np.float64]) -> list[tuple[float, bool]]:
    """Detections of one phrase, best first, each with the free instance that it overlaps most, hit at IoU .5
    (COCO's matching).
    """
    free = np.ones(overlaps.shape[1] if overlaps.ndim == 2 else 0, np.bool_)
    found = []
    for row in np.argsort(-np.array(scores), kind="stable"):
        left = np.where(free, overlaps[row], -1.0)
        best = int(left.argmax()) if len(left) else -1
        hit = best >= 0 and bool(left[best] >= 0.5)
        if hit:
            free[best] = False
        found.append((scores[int(row)], hit))
    return found
