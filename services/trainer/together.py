"""The served grounder and SAM together, as the segmenter uses them: phrases to masks, measured on held-out
scenes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.core import masks as rle
from services.networks.errors import ModelError
from services.networks.serving import ServedModel
from services.networks.tensors import Answer, Request, bytes_tensor
from services.scenes.arrays import SceneArrays
from services.scenes.ontology import ontology
from services.trainer.calibration import average_precision
from services.trainer.phrase_bank import phrase_bank
from services.trainer.recipes.base import Metrics

LOWEST_SCORE = 0.03
NEAR_MISSES = 10


def measure_together(grounder: ServedModel, sam: ServedModel, scenes: SceneArrays, limit: int) -> Metrics:
    """AP50 of masks for present full phrases, presence accuracy, and hard negatives refused (presence
    below one half).
    """
    hits: list[tuple[float, bool]] = []
    wanted = 0
    right: dict[bool, list[bool]] = {True: [], False: []}
    for image, ids, numbers in _scenes(scenes, limit):
        present, absent = _phrases(numbers)
        asked = [*present, *absent]
        found = _ask(
            grounder,
            {
                "image": image,
                "phrases": bytes_tensor(asked),
                "threshold": np.array([LOWEST_SCORE], np.float32),
            },
        )
        for place, chance in enumerate(found["presence"]):
            there = place < len(present)
            right[there].append(bool((chance > 0.5) == there))
        keep = found["phrase_index"] < len(present)
        boxes = found["boxes"][keep]
        wanted += sum(len(members) for members in present.values())
        if not len(boxes):
            continue
        masks = _ask(sam, {"image": image, "boxes": boxes})["rles"]
        height, width = ids.shape
        for place, members in enumerate(present.values()):
            mine = np.flatnonzero(found["phrase_index"][keep] == place)
            truth = [rle.encode(np.equal(ids, member + 1)) for member in members]
            overlaps = rle.iou([masks[i] for i in mine], truth, height, width)
            hits += _match(found["scores"][keep][mine], overlaps)
    precision, f1, _ = average_precision(hits, wanted)
    recall, refused = float(np.mean(right[True])), float(np.mean(right[False]))
    return {
        "AP50 of masks, full phrases": precision,
        "best F1 of masks, full phrases": f1,
        "presence balanced accuracy": (recall + refused) / 2,
        "hard negatives refused": refused,
        "presence recall": recall,
    }


def _scenes(
    scenes: SceneArrays, limit: int
) -> Iterator[tuple[npt.NDArray[np.object_], npt.NDArray[np.uint8], list[int]]]:
    """Encoded image, ids and the composition number of each object; padding cut off."""
    for image, ids, objects in zip(scenes.images[:limit], scenes.ids, scenes.objects, strict=False):
        lit = image.any(2)
        height, width = (int(np.flatnonzero(lit.any(axis))[-1]) + 1 for axis in (1, 0))
        buffer = io.BytesIO()
        Image.fromarray(image[:height, :width]).save(buffer, "PNG", compress_level=1)
        rows = objects[objects[:, 0] >= 0].astype(int)
        numbers = ((rows[:, 0] * 4 + rows[:, 1]) * 12 + rows[:, 2]).tolist()
        yield bytes_tensor([buffer.getvalue()]), ids[:height, :width], numbers


def _phrases(numbers: list[int]) -> tuple[dict[str, list[int]], list[str]]:
    """Full phrases that hold with their objects, and near misses that do not."""
    triples = ontology().compositions
    present: dict[str, list[int]] = {}
    for index, number in enumerate(numbers):
        present.setdefault(" ".join(triples[number]), []).append(index)
    bank = phrase_bank()
    near = [
        text
        for text, depth in zip(bank.texts, bank.depth.tolist(), strict=True)
        if depth == 3
        and text not in present
        and any(len(set(text.split()) & set(phrase.split())) == 2 for phrase in present)
    ]
    step = max(1, len(near) // NEAR_MISSES)
    return present, near[::step][:NEAR_MISSES]


def _ask(model: ServedModel, request: Request) -> Answer:
    (answer,) = model.execute([request])
    if isinstance(answer, ModelError):
        raise answer
    return answer


def _match(scores: npt.NDArray[np.float32], overlaps: npt.NDArray[np.float64]) -> list[tuple[float, bool]]:
    """Detections of one phrase, best first, each matched to the free instance that it overlaps most, at
    IoU .5.
    """
    taken: set[int] = set()
    hits = []
    for row in np.argsort(-scores):
        best = int(overlaps[row].argmax())
        hit = float(overlaps[row, best]) >= 0.5 and best not in taken
        if hit:
            taken.add(best)
        hits.append((float(scores[row]), hit))
    return hits
