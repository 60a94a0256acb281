"""Dataset files."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from gateway.schemas.words import EXAMPLE_JOB_ID, Answer, ExportFormat, Request


class ExportRequest(Request):
    """Asks for a dataset file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"format": "saco", "job_ids": [EXAMPLE_JOB_ID]}]},
    )

    format: ExportFormat = Field(
        default="saco",
        description="`saco`: SA-Co JSON, one entry for each pair. `coco`: COCO instances with RLE.",
    )
    job_ids: list[str] = Field(
        default_factory=list, max_length=1000, description="Of these jobs; empty: all."
    )


class Export(Answer):
    """A dataset file."""

    id: str = Field(description="Export id: made of the content.", examples=["exp_5d41402abc4b2a76"])
    format: ExportFormat = Field(description="Its format.")
    job_ids: list[str] = Field(description="The jobs in it.", examples=[[EXAMPLE_JOB_ID]])
    images: int = Field(description="Images in it.", examples=[1000])
    pairs: int = Field(description="Pairs in it.", examples=[12610])
    masks: int = Field(description="Masks in it.", examples=[9800])
    size: int = Field(description="Size in bytes.", examples=[1048576])
    sha256: str = Field(description="SHA-256 of the file.")
    created_at: datetime = Field(description="When it was first made.")


class ExportList(Answer):
    """Exports, newest first."""

    items: list[Export] = Field(description="The exports.")
