"""What the segmenter can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.kit.settings import KitSettings


class SegmenterSettings(KitSettings):
    """The segmenter's own settings beside every process's."""

    segmenter_threads: int = Field(
        8, ge=1, description="Images of a batch that the segmenter works at a time."
    )
    concept_segmenter: Literal["grounded", "text_prompted"] = Field(
        "grounded",
        description="How phrases become masks: `grounded` (the grounder's boxes, then sam) or "
        "`text_prompted` (one model that answers masks, such as SAM 3).",
    )
    text_prompted_model: str = Field(
        "concept_grounder", description="The model of `text_prompted`, as Triton names it."
    )
    ontology: Path | None = Field(None, description="Ontology file (JSON); unset: the one of Tercet.")
    min_score: float | None = Field(
        None, ge=0, le=1, description="Least grounder score of an instance; unset: the model's own threshold."
    )
    min_presence: float = Field(
        0.5, ge=0, le=1, description="Least probability that a phrase is present for its instances to count."
    )
    box_overlap: float = Field(
        0.7, gt=0, le=1, description="Of boxes of one phrase that overlap (IoU) by more, the best stays."
    )
    mask_overlap: float = Field(
        0.7, gt=0, le=1, description="Of masks of one phrase that overlap (IoU) by more, the best stays."
    )
    phrase_overlap: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Of masks of phrases that exclude each other (red bus, yellow bus), overlapping (IoU) by "
        "more, the best stays.",
    )
    negative_overlap: float = Field(
        0.5,
        gt=0,
        le=1,
        description="A hard negative fools the segmenter when its masks overlap (IoU) a positive's by "
        "as much.",
    )
    max_instances: int = Field(100, ge=1, description="Most instances of a phrase.")
    segmenter_phrases: int = Field(
        128, ge=1, description="Most phrases of one model call; more take several."
    )
    points_per_side: int = Field(
        0, ge=0, le=64, description="Grid of everything-mode where a call names none; 0: the model's own."
    )
    click_cache_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="Encoded images of the last clicks that are kept for the next ones, in bytes.",
    )
