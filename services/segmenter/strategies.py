"""How phrases become instance masks: one small interface, two ways, chosen by a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.core.errors import Internal
from services.kit.clock import Clock
from services.kit.inference.ports import Inference, Tensors, strings
from services.kit.provenance import joined, made_by
from services.segmenter import domain
from services.segmenter.domain import Finding, Limits
from services.segmenter.settings import SegmenterSettings
from tercet.v1 import concepts_pb2

SAM = "sam"
CONCEPT_GROUNDER = "concept_grounder"


class ConceptSegmenter(Protocol):
    """Finds the instances of phrases in an encoded image."""

    @property
    def models(self) -> tuple[str, ...]:
        """The served models that it needs."""

    def find(self, content: bytes, phrases: Sequence[str]) -> tuple[list[Finding], tuple[int, int]]:
        """One finding a phrase, in order, and the image's (height, width). At least one phrase."""


@dataclass(frozen=True)
class Grounded:
    """The grounder's boxes, then sam's mask of each box."""

    inference: Inference
    clock: Clock
    limits: Limits
    models: tuple[str, ...] = (CONCEPT_GROUNDER, SAM)

    def find(self, content: bytes, phrases: Sequence[str]) -> tuple[list[Finding], tuple[int, int]]:
        grounded = self.inference.infer(CONCEPT_GROUNDER, question(content, phrases, self.limits.min_score))
        tensors = grounded.tensors
        rows = domain.detections(tensors, self.limits)
        found: list[list[concepts_pb2.Mask]] = [[] for _ in phrases]
        if len(rows):
            boxes, of = domain.distinct_boxes(tensors["boxes"][rows])
            segmented = self.inference.infer(SAM, {"image": strings([content]), "boxes": boxes})
            provenance = made_by(joined(grounded.model, segmented.model), self.clock)
            prompts = domain.mask_of_each_prompt(segmented.tensors, len(boxes))
            for row, box in zip(rows, of, strict=True):
                at = prompts[box]
                if at is not None:
                    score = float(tensors["scores"][row])
                    mask = domain.instance(segmented.tensors, at, score, provenance)
                    found[int(tensors["phrase_index"][row])].append(mask)
        return _findings(phrases, tensors, found, self.limits)


@dataclass(frozen=True)
class TextPrompted:
    """One model that answers masks for phrases."""

    inference: Inference
    clock: Clock
    limits: Limits
    model: str

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, SAM)

    def find(self, content: bytes, phrases: Sequence[str]) -> tuple[list[Finding], tuple[int, int]]:
        answer = self.inference.infer(self.model, question(content, phrases, self.limits.min_score))
        tensors = answer.tensors
        if "rles" not in tensors:
            raise Internal(
                f"{self.model} ({answer.model.weights}) answers no masks: set "
                "TERCET_CONCEPT_SEGMENTER=grounded, or serve a model that does, such as SAM 3"
            )
        provenance = made_by(answer.model, self.clock)
        found: list[list[concepts_pb2.Mask]] = [[] for _ in phrases]
        for row in domain.detections(tensors, self.limits):
            mask = domain.instance(tensors, int(row), float(tensors["scores"][row]), provenance)
            found[int(tensors["phrase_index"][row])].append(mask)
        return _findings(phrases, tensors, found, self.limits)


def concept_segmenter(inference: Inference, clock: Clock, settings: SegmenterSettings) -> ConceptSegmenter:
    """The strategy that the settings name."""
    limits = Limits(
        min_score=settings.min_score,
        min_presence=settings.min_presence,
        box_overlap=settings.box_overlap,
        mask_overlap=settings.mask_overlap,
        max_instances=settings.max_instances,
    )
    if settings.concept_segmenter == "text_prompted":
        return TextPrompted(inference, clock, limits, settings.text_prompted_model)
    return Grounded(inference, clock, limits)


def question(content: bytes, phrases: Sequence[str], threshold: float | None) -> Tensors:
    """The tensors that ask for phrases in an image."""
    asked: Tensors = {"image": strings([content]), "phrases": strings(phrases)}
    return asked if threshold is None else {**asked, "threshold": np.array([threshold], dtype=np.float32)}


def _findings(
    phrases: Sequence[str],
    tensors: Tensors,
    found: Sequence[Sequence[concepts_pb2.Mask]],
    limits: Limits,
) -> tuple[list[Finding], tuple[int, int]]:
    presence = np.nan_to_num(tensors["presence"])
    findings = [
        domain.finding(phrase, float(presence[at]), found[at], limits) for at, phrase in enumerate(phrases)
    ]
    return findings, (int(tensors["size"][0]), int(tensors["size"][1]))
