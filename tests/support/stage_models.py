"""Small exact models behind the served contract, and pictures that they understand.

A picture is gray with coloured rectangles; each colour is one thing (`THINGS`). The models read the pixels:
what they answer is true of the picture, but for what a test tells them to get wrong.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from services.core import masks
from services.core.ontology import Ontology
from services.kit.blobs.images import ImageStore
from services.kit.blobs.store import connect
from services.kit.clock import ManualClock
from services.kit.inference.embedded import EmbeddedInference
from services.kit.inference.ports import ServedModel
from services.kit.settings import KitSettings
from services.networks.errors import ModelError
from tercet.v1 import concepts_pb2, records_pb2

Tensors = Mapping[str, NDArray[Any]]
Rectangle = tuple[int, int, int, int]

THINGS: dict[str, tuple[int, int, int]] = {
    "red bus": (220, 0, 0),
    "yellow bus": (220, 220, 0),
    "blue car": (0, 0, 220),
    "green striped cup": (0, 220, 0),
}
SIZE = (64, 96)
"""Height and width of the pictures."""


def picture(things: Sequence[tuple[str, Rectangle]]) -> bytes:
    """A PNG with the things at xywh rectangles."""
    pixels = np.full((*SIZE, 3), 128, dtype=np.uint8)
    for thing, (x, y, w, h) in things:
        pixels[y : y + h, x : x + w] = THINGS[thing]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_of(content: bytes, *, tenant: str = "acme", name: str = "a.png") -> records_pb2.Image:
    """The image with its bytes inline."""
    return records_pb2.Image(
        id=hashlib.sha256(content).hexdigest(),
        tenant=tenant,
        name=name,
        media_type="image/png",
        height=SIZE[0],
        width=SIZE[1],
        inline=content,
    )


def run_of(stage: concepts_pb2.Stage.ValueType, **spec: Any) -> records_pb2.Run:
    """A run of job `job-1`."""
    given = {"hard_negatives": 6, "accept_above": 0.9, "reject_below": 0.7} | spec
    run = records_pb2.Run(job_id="job-1", spec=records_pb2.JobSpec(stage=stage, **given))
    run.submitted_at.FromSeconds(1_700_000_000)
    return run


@dataclass
class PixelModel:
    """A served model whose answer is a function of one request."""

    name: str
    answer: Callable[[Mapping[str, NDArray[Any]], NDArray[np.uint8]], dict[str, NDArray[Any]]]
    version: str = "exact-00000000"
    batches: list[int] = field(default_factory=list)
    fails: Exception | None = None

    def execute(self, requests: Sequence[Tensors]) -> list[Tensors | Exception]:
        """One answer or error a request."""
        self.batches.append(len(requests))
        return [self.fails if self.fails is not None else self._one(request) for request in requests]

    def warm_up(self) -> None:
        """Nothing to warm."""

    def _one(self, request: Tensors) -> Tensors | ModelError:
        try:
            pixels = np.asarray(Image.open(io.BytesIO(request["image"][0])).convert("RGB"))
        except (UnidentifiedImageError, OSError):
            return ModelError("the image cannot be read")
        found = self.answer(request, pixels)
        return {**found, "model": _bytes([self.version.encode()])}


def inference_of(models: Mapping[str, ServedModel]) -> EmbeddedInference:
    """The one-process adapter over the models. Its threads are daemons and idle once nobody calls."""
    loaders = {name: partial(_same, model) for name, model in models.items()}
    return EmbeddedInference(loaders, settings=KitSettings())


def _same(model: ServedModel) -> ServedModel:
    return model


@dataclass(frozen=True)
class StagePorts:
    """What a stage's use-cases are built with."""

    inference: EmbeddedInference
    images: ImageStore
    clock: ManualClock


def stage_ports(sight: Sight, extra: Mapping[str, PixelModel] | None = None) -> StagePorts:
    """Ports over the models that see so, images in memory, and a clock that stands still."""
    models = sight.models() | dict(extra or {})
    return StagePorts(inference_of(models), ImageStore(connect("memory://stages")), ManualClock())


@dataclass
class Sight:
    """What the models see, and what they get wrong: `fooled` phrases are grounded on another thing."""

    ontology: Ontology = field(default_factory=Ontology.load)
    proposed: tuple[str, ...] | None = None
    negatives: tuple[tuple[str, float, str], ...] = ()
    fooled: Mapping[str, str] = field(default_factory=dict)
    blind: frozenset[str] = frozenset()
    bad_masks: frozenset[str] = frozenset()
    nan: frozenset[str] = frozenset()

    def models(self) -> dict[str, PixelModel]:
        """The four models by name."""
        return {
            "sam": PixelModel("sam", self._sam),
            "concept_grounder": PixelModel("concept_grounder", self._ground),
            "concept_proposer": PixelModel("concept_proposer", self._propose),
            "verifier": PixelModel("verifier", self._verify),
        }

    def _matching(self, phrase: str, pixels: NDArray[np.uint8]) -> list[tuple[str, NDArray[np.bool_]]]:
        return [(t, m) for t, m in _instances(pixels) if self.ontology.is_ancestor(phrase, t)]

    def _propose(self, request: Tensors, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        seen = [t for t, _ in _instances(pixels)]
        phrases = seen if self.proposed is None else list(self.proposed)
        negatives = self.negatives[: int(request["max_negatives"][0])]
        phrases = phrases[: int(request["max_phrases"][0])]
        return {
            "phrases": _bytes([p.encode() for p in phrases]),
            "phrase_scores": np.linspace(0.9, 0.6, len(phrases), dtype=np.float32),
            "negatives": _bytes([n.encode() for n, _, _ in negatives]),
            "negative_scores": np.array([s for _, s, _ in negatives], dtype=np.float32),
            "confused_with": _bytes([c.encode() for _, _, c in negatives]),
        }

    def _ground(self, request: Tensors, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        presence, index, scores, boxes = [], [], [], []
        for at, text in enumerate(request["phrases"]):
            phrase = text.decode()
            score = 0.6 if phrase in self.fooled else 0.95
            found = [] if phrase in self.blind else self._matching(self.fooled.get(phrase, phrase), pixels)
            presence.append(score if found else 0.05)
            for _, mask in found:
                index.append(at)
                scores.append(score)
                boxes.append(masks.box(masks.encode(mask), *mask.shape))
        return {
            "presence": np.array(presence, dtype=np.float32),
            "phrase_index": np.array(index, dtype=np.int32),
            "scores": np.array(scores, dtype=np.float32),
            "boxes": np.array(boxes, dtype=np.float32).reshape(-1, 4),
            "size": np.array(pixels.shape[:2], dtype=np.int32),
        }

    def _sam(self, request: Tensors, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        found = [mask for _, mask in _instances(pixels)]
        prompts = list(range(len(found)))
        if "boxes" in request:
            prompts = list(range(len(request["boxes"])))
            found = [_inside(pixels, box) for box in request["boxes"]]
        elif "points" in request:
            x, y, _ = request["points"][0]
            found = [mask for mask in found if mask[int(y), int(x)]]
            prompts = [0] * len(found)
        rles = [masks.encode(mask) for mask in found]
        size = pixels.shape[:2]
        return {
            "rles": _bytes(rles),
            "boxes": np.array([masks.box(r, *size) for r in rles], dtype=np.float32).reshape(-1, 4),
            "areas": np.array([masks.area(r, *size) for r in rles], dtype=np.int64),
            "predicted_iou": np.linspace(0.9, 0.95, len(rles), dtype=np.float32),
            "stability": np.full(len(rles), 0.97, dtype=np.float32),
            "prompt_index": np.array(prompts, dtype=np.int32),
            "size": np.array(size, dtype=np.int32),
        }

    def _verify(self, request: Tensors, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        phrases = [text.decode() for text in request["phrases"]]
        task = request["task"][0].decode()
        seen = [masks.decode(rle, *SIZE) for rle in request["rles"]]
        rows: list[list[float]] = []
        if task == "mv":
            for rle, at in zip(seen, request["phrase_index"], strict=True):
                truth = [m for _, m in self._matching(phrases[at], pixels)]
                good = any((m & rle).sum() / (m | rle).sum() > 0.9 for m in truth)
                good = good and phrases[at] not in self.bad_masks
                rows.append([0.96, 0.01, 0.01, 0.01, 0.01] if good else [0.04, 0.0, 0.0, 0.0, 0.96])
        elif task == "ev":
            for at, phrase in enumerate(phrases):
                wanted = _union([m for _, m in self._matching(phrase, pixels)])
                own = [m for m, of in zip(seen, request["phrase_index"], strict=True) if of == at]
                covered = _union(own)
                whole = bool((wanted <= covered).all())
                row = [0.98, 0.02, 0, 0, 0, 0] if whole else [0.05, 0.95, 0, 0, 0, 0]
                rows.append([float("nan")] * 6 if phrase in self.nan else row)
        else:
            for phrase in phrases:
                rows.append([0.03, 0.97] if self._matching(phrase, pixels) else [0.97, 0.03])
        width = {"mv": 5, "ev": 6, "nv": 2}[task]
        return {"probabilities": np.array(rows, dtype=np.float32).reshape(-1, width)}


def _instances(pixels: NDArray[np.uint8]) -> list[tuple[str, NDArray[np.bool_]]]:
    """The picture's things, left to right: connected columns of one colour."""
    found: list[tuple[str, NDArray[np.bool_]]] = []
    for thing, colour in THINGS.items():
        whole = (pixels == np.array(colour, dtype=np.uint8)).all(axis=2)
        columns = whole.any(axis=0)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], columns.astype(np.int8), [0]])))
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            mask = np.zeros_like(whole)
            mask[:, left:right] = whole[:, left:right]
            found.append((thing, mask))
    return found


def _union(found: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    total = np.zeros(SIZE, dtype=np.bool_)
    for mask in found:
        total |= mask
    return total


def _inside(pixels: NDArray[np.uint8], box: NDArray[Any]) -> NDArray[np.bool_]:
    """What is not gray inside the box."""
    x, y, w, h = (round(float(v)) for v in box)
    mask = np.zeros(pixels.shape[:2], dtype=np.bool_)
    mask[y : y + h, x : x + w] = (pixels[y : y + h, x : x + w] != 128).any(axis=2)
    return mask


def _bytes(values: Sequence[bytes]) -> NDArray[np.object_]:
    tensor = np.empty(len(values), dtype=np.object_)
    tensor[:] = list(values)
    return tensor
