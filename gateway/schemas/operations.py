"""What operators see: lag, dead letters, models, keys, health; and the body of a webhook."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from gateway.schemas.jobs import Job
from gateway.schemas.words import EXAMPLE_IMAGE_ID, EXAMPLE_JOB_ID, Answer, Request, Role, TenantName


class PartitionLag(Answer):
    """How far a consumer group is behind on one partition."""

    group: str = Field(description="Consumer group.", examples=["segmenter"])
    topic: str = Field(description="Topic.", examples=["images.proposed"])
    partition: int = Field(description="Partition.", examples=[0])
    records: int = Field(description="Unread records.", examples=[12])
    seconds: float = Field(description="Age of the oldest unread record.", examples=[3.4])
    members: int = Field(description="Live members of the group.", examples=[1])
    stalled: bool = Field(description="Records wait and the group has not moved.", examples=[False])


class Lag(Answer):
    """Lag of every consumer group."""

    items: list[PartitionLag] = Field(description="One for each group and partition.")


class DeadLetter(Answer):
    """A record that could not be worked."""

    id: str = Field(
        description="Where it lies: dead-letter topic/partition/offset.",
        examples=["images.proposed.dlq/0/17"],
    )
    topic: str = Field(description="The topic that it was read from.", examples=["images.proposed"])
    partition: int = Field(description="Its partition there.", examples=[2])
    offset: int = Field(description="Its offset there.", examples=[4711])
    key: str = Field(description="Its key: the image id, or the job id.", examples=[EXAMPLE_IMAGE_ID])
    job_id: str = Field(description="Its job.", examples=[EXAMPLE_JOB_ID])
    group: str = Field(default="", description="The consumer group that gave it up.", examples=["segmenter"])
    error: str = Field(description="Error class.", examples=["InvalidInput"])
    message: str = Field(description="Why, for a person.")
    attempts: int = Field(description="How often it was tried.", examples=[3])
    failed_at: datetime = Field(description="When it was given up.")


class DeadLetterList(Answer):
    """Dead letters, oldest first."""

    items: list[DeadLetter] = Field(description="The dead letters.")


class ReplayRequest(Request):
    """Asks that dead letters be worked again, e.g. after a fix."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"topic": "images.proposed"}, {"ids": ["images.proposed.dlq/0/17"]}]},
    )

    topic: str | None = Field(
        default=None, description="Only those read from this topic.", examples=["images.proposed"]
    )
    ids: list[str] = Field(default_factory=list, max_length=10_000, description="Only these; empty: all.")


class Replayed(Answer):
    """What a replay did."""

    replayed: int = Field(description="Records put back on their topics.", examples=[3])


class Model(Answer):
    """A model that serves."""

    name: str = Field(description="Model name.", examples=["sam"])
    weights: str = Field(description="Architecture and weights.", examples=["vit_tiny-3f9a12cd"])
    version: str = Field(description="Version in the model repository.", examples=["1"])


class ModelList(Answer):
    """Models that serve."""

    items: list[Model] = Field(description="The models.")


class KeyRequest(Request):
    """Asks for an API key."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"name": "ci", "roles": ["submitter"]}]}
    )

    name: str = Field(min_length=1, max_length=100, description="Whose key, or for what.", examples=["ci"])
    roles: list[Role] = Field(
        min_length=1,
        description="What it may do. `admin` may do everything within its tenant; `lead` what `submitter`, "
        "`annotator` and `verifier` may.",
        examples=[["submitter"]],
    )
    tenant: TenantName | None = Field(
        default=None,
        description="Owner. Default: your own; another only for the operator's tenant.",
        examples=[None],
    )


class Key(Answer):
    """An API key, without its secret."""

    id: str = Field(description="Key id.", examples=["key_8f14e45fceea167a"])
    name: str = Field(description="Whose key, or for what.", examples=["ci"])
    tenant: str = Field(description="Owner.", examples=["default"])
    roles: list[Role] = Field(description="What it may do.", examples=[["submitter"]])
    created_at: datetime = Field(description="When it was made.")
    created_by: str = Field(description="Key id of who made it, or `bootstrap`.", examples=["bootstrap"])


class NewKey(Key):
    """A key that was just made."""

    token: str = Field(
        description="The secret, shown this once: `Authorization: Bearer <token>`.",
        examples=["tercet_4Jc0w8m1-example-not-a-secret"],
    )


class KeyList(Answer):
    """API keys of the tenant, oldest first."""

    items: list[Key] = Field(description="The keys.")


class Liveness(Answer):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Check(Answer):
    """One part that the gateway needs."""

    name: str = Field(description="The part.", examples=["bus"])
    ok: bool = Field(description="Whether it answers.")
    detail: str = Field(default="", description="What is wrong, when it does not.")


class Readiness(Answer):
    """Whether the gateway can take jobs."""

    status: Literal["ready", "not_ready"] = Field(description="`ready` when every part answers.")
    checks: list[Check] = Field(description="The parts.")


class WebhookBody(Answer):
    """What a job's `webhook_url` gets when the job's work ends."""

    id: str = Field(description="Delivery id: the same for every attempt.")
    event: Literal["job.finished"] = Field(default="job.finished", description="What happened.")
    job: Job = Field(description="The job at that time.")
