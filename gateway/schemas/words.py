"""The words that the schemas are made of, and their two bases."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

Stage = Literal["assisted_manual", "semi_automatic", "automatic"]
Tier = Literal["gold", "silver", "synthetic"]
JobStatus = Literal["running", "waiting_for_people", "complete", "cancelled"]
ImageState = Literal[
    "submitted", "proposed", "segmented", "verified", "in_review", "complete", "failed", "cancelled"
]
ExportFormat = Literal["saco", "coco"]
Role = Literal["submitter", "annotator", "verifier", "lead", "admin"]
Polarity = Literal["positive", "negative"]
Verdict = Literal["accept", "review", "reject"]
PhraseSource = Literal["model", "caller", "ontology", "person"]
MaskChoice = Literal["accept", "accept_as_text", "flag_label", "whole_image", "reject"]
ExhaustivityChoice = Literal[
    "accept", "reject", "reject_unseparated", "flag_label", "whole_image", "ungroundable"
]

TaskType = Literal["annotate", "review", "exhaustivity", "audit", "negative", "adjudicate"]
DecisionKind = Literal["accept", "reject", "edit"]

FINAL_STATUSES: frozenset[str] = frozenset({"waiting_for_people", "complete", "cancelled"})
"""Statuses at which the models have nothing more to do, and at which a job's event stream ends."""

PhraseText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
ImageId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
TenantName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]

EXAMPLE_IMAGE_ID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
EXAMPLE_JOB_ID = "job_3k7q2vx5n4m6h2cz8t1w9ray5d"


class Request(BaseModel):
    """A body that clients send: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """A body that the gateway sends."""

    model_config = ConfigDict(extra="ignore", frozen=True)
