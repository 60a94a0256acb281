"""What goes wrong, as RFC 9457 tells it."""

from __future__ import annotations

from pydantic import Field

from gateway.schemas.words import Answer


class FieldError(Answer):
    """One wrong field of a request."""

    field: str = Field(description="Where, as a dotted path.", examples=["thresholds.accept_above"])
    detail: str = Field(description="What is wrong.", examples=["Input should be less than or equal to 1"])


class RefusedImage(Answer):
    """An image that was not taken."""

    name: str = Field(description="The submitter's name for it.", examples=["broken.jpg"])
    code: str = Field(description="Machine-readable reason.", examples=["truncated"])
    reason: str = Field(
        description="What is wrong and what to do.",
        examples=["the file ends before the picture does; send the whole file"],
    )


class Problem(Answer):
    """RFC 9457 problem details, with Tercet's `code`."""

    type: str = Field(
        description="Identifies the kind of problem.", examples=["urn:tercet:problem:not_found"]
    )
    title: str = Field(description="The kind of problem, for a person.", examples=["Not found"])
    status: int = Field(description="HTTP status.", examples=[404])
    detail: str = Field(description="This occurrence, for a person.", examples=["no job job_x"])
    code: str = Field(description="Machine-readable kind or reason.", examples=["not_found"])
    instance: str = Field(description="Path of the request.", examples=["/v1/jobs/job_x"])
    request_id: str = Field(description="Quote it when you ask for help.", examples=["4f1c0a6e9b2d"])
    errors: list[FieldError] = Field(
        default_factory=list, description="Wrong fields, for a request that is malformed."
    )
    refused: list[RefusedImage] = Field(
        default_factory=list, description="Refused images, for a job that lost every image."
    )
