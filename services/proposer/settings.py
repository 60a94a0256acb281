"""What the proposer can be told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.kit.settings import KitSettings


class ProposerSettings(KitSettings):
    """The proposer's own settings beside every process's."""

    proposer_threads: int = Field(8, ge=1, description="Images of a batch that the proposer works at a time.")
    ontology: Path | None = Field(None, description="Ontology file (JSON); unset: the one of Tercet.")
    sweep: Path | None = Field(
        None,
        description="Sweep file (JSON): phrases that the grounder is asked for in every image, beside those "
        "that the proposer writes; unset: the bundled models' own, which other models do not use.",
    )
    max_phrases: int = Field(20, ge=1, le=100, description="Most phrases that a model may find in an image.")
    max_negatives: int = Field(
        30, ge=0, le=100, description="Hard negatives proposed for a call that does not say how many."
    )
    negative_factor: float = Field(
        2.0, ge=1, description="Hard-negative candidates proposed for each that a job wants."
    )
    max_regions: int = Field(200, ge=1, description="Most class-agnostic regions of an image.")
    region_overlap: float = Field(
        0.8, gt=0, le=1, description="Of regions whose masks overlap (IoU) by more, the best stays."
    )
    region_min_area: float = Field(
        0.0002, ge=0, lt=1, description="Least area of a region, as a share of the image."
    )
    region_max_area: float = Field(
        0.9, gt=0, le=1, description="Largest area of a region, as a share of the image: more is background."
    )
