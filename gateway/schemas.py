"""What goes over REST, as pydantic models: the server's routes, the Python client and the CLI share them.

Requests refuse unknown fields. Answers ignore them, so that an older client reads a newer server. Times are RFC 3339
in UTC; boxes are pixel (left, top, width, height) of the upright image; masks are COCO compressed RLE at its size.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, StringConstraints, model_validator

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

FINAL_STATUSES: frozenset[str] = frozenset({"waiting_for_people", "complete", "cancelled"})
"""Statuses at which the models have nothing more to do, and at which a job's event stream ends."""

PhraseText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
ImageId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
TenantName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]

_IMAGE_ID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_JOB_ID = "job_3k7q2vx5n4m6h2cz8t1w9ray5d"


class Request(BaseModel):
    """A body that clients send: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """A body that the gateway sends."""

    model_config = ConfigDict(extra="ignore", frozen=True)


# --- problems -----------------------------------------------------------------------------------------------------


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


# --- jobs ---------------------------------------------------------------------------------------------------------


class Thresholds(Request):
    """What follows from a pair's quality score."""

    accept_above: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="A pair scoring above this joins the dataset unseen.",
        examples=[0.9],
    )
    reject_below: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="A pair scoring below this is rejected; between the two a person decides.",
        examples=[0.7],
    )

    @model_validator(mode="after")
    def _ordered(self) -> Thresholds:
        if self.reject_below > self.accept_above:
            raise ValueError("reject_below must not be above accept_above")
        return self


class JobOptions(Request):
    """What a job asks for, without its images: the `job` part of a multipart request."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"stage": "automatic", "name": "harbour, week 12", "hard_negatives": 10},
                {
                    "stage": "semi_automatic",
                    "phrases": ["yellow school bus"],
                    "hard_negatives": 30,
                    "tier": "silver",
                },
            ]
        },
    )

    stage: Stage = Field(default="automatic", description="How the images are worked on.")
    name: str | None = Field(
        default=None, max_length=200, description="A name for people.", examples=["harbour"]
    )
    phrases: list[PhraseText] = Field(
        default_factory=list,
        max_length=200,
        description="Your own noun phrases; when empty, the models propose them.",
        examples=[["yellow school bus"]],
    )
    hard_negatives: int = Field(default=10, ge=0, le=30, description="Hard negatives wanted for each image.")
    thresholds: Thresholds = Field(default_factory=Thresholds, description="Score limits of the verdicts.")
    audit_rate: float = Field(
        default=0.05, ge=0, le=1, description="Share of automatically accepted pairs that a person checks."
    )
    exhaustivity_rate: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of stage 2 pairs that a second person checks for completeness.",
    )
    tier: Tier | None = Field(
        default=None,
        description="Human evidence wanted. Default: `synthetic` for stage `automatic`, else `silver`.",
    )
    webhook_url: HttpUrl | None = Field(
        default=None,
        description="Gets a signed POST with the job when its work ends. Must be a public http(s) address.",
        examples=["https://example.org/tercet-hook"],
    )


class ImageSource(Request):
    """Where the gateway gets an image: exactly one of `url` and `uri`."""

    url: HttpUrl | None = Field(
        default=None, description="A public http(s) address.", examples=["https://example.org/pictures/1.jpg"]
    )
    uri: str | None = Field(
        default=None,
        max_length=2048,
        description="An object below a root that the operator allows.",
        examples=["s3://pictures/1.jpg"],
    )
    name: str | None = Field(
        default=None,
        max_length=512,
        description="Your name for it. Default: the last part of the address.",
        examples=["1.jpg"],
    )

    @model_validator(mode="after")
    def _one_source(self) -> ImageSource:
        if (self.url is None) == (self.uri is None):
            raise ValueError("give exactly one of url and uri")
        return self


class JobRequest(JobOptions):
    """A job whose images the gateway fetches: the JSON body of `POST /v1/jobs`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "stage": "automatic",
                    "images": [
                        {"url": "https://example.org/pictures/1.jpg"},
                        {"uri": "s3://pictures/2.png", "name": "second"},
                    ],
                }
            ]
        },
    )

    images: list[ImageSource] = Field(min_length=1, description="The images to fetch.")

    def options(self) -> JobOptions:
        """The same job without its images."""
        return JobOptions.model_validate(self.model_dump(exclude={"images"}))


class ImageFailure(Answer):
    """Why an image has no result."""

    image_id: str = Field(description="Image id.", examples=[_IMAGE_ID])
    name: str = Field(description="The submitter's name for it.", examples=["1.jpg"])
    topic: str = Field(description="The topic whose record failed.", examples=["images.proposed"])
    error: str = Field(description="Error class.", examples=["InvalidInput"])
    reason: str = Field(description="For a person.")
    attempts: int = Field(description="How often it was tried.", examples=[3])


class Job(Answer):
    """One job: what it asks for and how far it is."""

    id: str = Field(description="Job id.", examples=[_JOB_ID])
    name: str = Field(description="A name for people; may be empty.", examples=["harbour"])
    status: JobStatus = Field(description="Where it is.")
    stage: Stage = Field(description="How the images are worked on.")
    phrases: list[str] = Field(description="The submitter's own phrases.", examples=[["yellow school bus"]])
    hard_negatives: int = Field(description="Hard negatives wanted for each image.", examples=[10])
    thresholds: Thresholds = Field(description="Score limits of the verdicts.")
    audit_rate: float = Field(description="Share of accepted pairs that a person checks.", examples=[0.05])
    exhaustivity_rate: float = Field(
        description="Share of stage 2 pairs checked by a second person.", examples=[0.1]
    )
    tier: Tier = Field(description="Human evidence wanted.")
    webhook_url: str | None = Field(description="Where the end is reported.", examples=[None])
    submitted_at: datetime = Field(description="When it was submitted.")
    finished_at: datetime | None = Field(description="When its work ended; null before.", examples=[None])
    images: int = Field(description="Images taken.", examples=[1000])
    counts: dict[ImageState, int] = Field(
        description="Images by state; states without images are left out.",
        examples=[{"submitted": 300, "segmented": 100, "complete": 600}],
    )
    refused: list[RefusedImage] = Field(description="Images refused at submission, with reasons.")
    failures: list[ImageFailure] = Field(description="Images that failed, at most 100.")
    accepted_positives: int = Field(description="Accepted pairs with masks.", examples=[4210])
    accepted_negatives: int = Field(description="Accepted pairs verified to have none.", examples=[8400])
    open_tasks: int = Field(description="Tasks that wait for people.", examples=[37])
    rate: float = Field(description="Images finished by the models a second, lately.", examples=[2.5])
    eta_seconds: float | None = Field(
        description="Seconds until the models are done; null: unknown.", examples=[160.0]
    )


class JobPage(Answer):
    """Jobs, newest first."""

    items: list[Job] = Field(description="The jobs.")
    next_page_token: str | None = Field(description="For the next page; null: no more.", examples=[None])


class JobImage(Answer):
    """An image in a job."""

    image_id: str = Field(description="Image id.", examples=[_IMAGE_ID])
    name: str = Field(description="The submitter's name for it.", examples=["1.jpg"])
    state: ImageState = Field(description="Where it is.")
    failure: ImageFailure | None = Field(description="Only of a failed image.", examples=[None])


class JobImagePage(Answer):
    """A job's images, in order of id."""

    items: list[JobImage] = Field(description="The images.")
    next_page_token: str | None = Field(description="For the next page; null: no more.", examples=[None])


class Report(Answer):
    """Quality, throughput and human cost of a job."""

    pairs_by_verdict: dict[str, int] = Field(
        description="Pairs by verdict.", examples=[{"accept": 4000, "review": 300, "reject": 90}]
    )
    score_histogram: list[int] = Field(description="Pairs by score, 20 bins of 0.05 from 0 to 1.")
    decisions: int = Field(description="Decisions of people.", examples=[120])
    active_seconds: float = Field(description="Active seconds of people.", examples=[431.5])
    corrections: int = Field(description="Decisions that rejected or edited.", examples=[18])


# --- images and annotations ---------------------------------------------------------------------------------------


class Image(Answer):
    """One picture."""

    id: str = Field(description="SHA-256 of the submitted bytes.", examples=[_IMAGE_ID])
    name: str = Field(description="The submitter's name for it.", examples=["1.jpg"])
    media_type: str = Field(description="Of the upright picture that is kept.", examples=["image/jpeg"])
    width: int = Field(description="Upright width in pixels.", examples=[1024])
    height: int = Field(description="Upright height in pixels.", examples=[768])
    job_ids: list[str] = Field(
        default_factory=list, description="Jobs that hold it, oldest first.", examples=[[_JOB_ID]]
    )


class Provenance(Answer):
    """Who made a thing, and when: a model or a person."""

    model: str | None = Field(default=None, description="Model name.", examples=["sam"])
    weights: str | None = Field(
        default=None, description="Architecture and weights.", examples=["vit_tiny-3f9a12cd"]
    )
    version: str | None = Field(default=None, description="Version that served.", examples=["1"])
    annotator: str | None = Field(default=None, description="The person.", examples=[None])
    made_at: datetime | None = Field(default=None, description="When.")


class Rle(Answer):
    """COCO compressed RLE."""

    size: tuple[int, int] = Field(description="Height and width in pixels.", examples=[(768, 1024)])
    counts: str = Field(description="Compressed run lengths, column-major, as pycocotools writes them.")


class MaskVerification(Answer):
    """The judgement on one mask alone."""

    choice: MaskChoice = Field(description="Most probable choice.")
    probabilities: dict[str, float] = Field(description="Probability of each choice.")
    made_by: Provenance | None = Field(default=None, description="Who judged.")


class Mask(Answer):
    """One instance of a phrase."""

    rle: Rle = Field(description="The mask.")
    box: tuple[float, float, float, float] = Field(
        description="Tight box: left, top, width, height in pixels.", examples=[(10.0, 20.0, 64.0, 48.0)]
    )
    area: int = Field(description="Pixels of the mask.", examples=[2210])
    predicted_iou: float = Field(description="The segmenter's own estimate of IoU.", examples=[0.91])
    stability: float = Field(description="IoU of the mask between two thresholds.", examples=[0.96])
    score: float = Field(description="Score of the phrase for this instance.", examples=[0.83])
    verification: MaskVerification | None = Field(default=None, description="Mask verification.")
    made_by: Provenance | None = Field(default=None, description="Who made the mask.")


class ExhaustivityVerification(Answer):
    """The judgement on all masks of a pair."""

    choice: ExhaustivityChoice = Field(description="Most probable choice.")
    probabilities: dict[str, float] = Field(description="Probability of each choice.")
    made_by: Provenance | None = Field(default=None, description="Who judged.")


class NegativeVerification(Answer):
    """The judgement on a negative."""

    absent: float = Field(description="Probability that the phrase is truly absent.", examples=[0.98])
    made_by: Provenance | None = Field(default=None, description="Who judged.")


class Pair(Answer):
    """(image, phrase): the unit of work."""

    phrase: str = Field(description="Normalised noun phrase.", examples=["yellow school bus"])
    polarity: Polarity = Field(description="Positive: has masks. Negative: verified to have none.")
    hard_negative: bool = Field(description="A negative chosen because it is easily confused.")
    confused_with: str | None = Field(description="The present phrase it is confused with.", examples=[None])
    source: PhraseSource | None = Field(description="Where the phrase came from.")
    masks: list[Mask] = Field(description="Instances; of a negative, what the segmenter wrongly masked.")
    presence: float = Field(description="Probability that the phrase is present.", examples=[0.97])
    exhaustivity: ExhaustivityVerification | None = Field(
        default=None, description="Exhaustivity verification."
    )
    negative: NegativeVerification | None = Field(default=None, description="Negative verification.")
    score: float = Field(description="Calibrated quality score, 0..1.", examples=[0.94])
    verdict: Verdict | None = Field(description="What follows from the score.")
    exhaustive: bool = Field(description="Every instance in the image is known to be masked.")
    made_by: Provenance | None = Field(default=None, description="Who proposed the phrase.")


class Annotations(Answer):
    """Annotations of record of an image."""

    image: Image = Field(description="The picture.")
    job_id: str = Field(description="The job that they come from.", examples=[_JOB_ID])
    pairs: list[Pair] = Field(description="In order of phrase.")


# --- exports ------------------------------------------------------------------------------------------------------


class ExportRequest(Request):
    """Asks for a dataset file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"format": "saco", "job_ids": [_JOB_ID]}]},
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
    job_ids: list[str] = Field(description="The jobs in it.", examples=[[_JOB_ID]])
    images: int = Field(description="Images in it.", examples=[1000])
    pairs: int = Field(description="Pairs in it.", examples=[12610])
    masks: int = Field(description="Masks in it.", examples=[9800])
    size: int = Field(description="Size in bytes.", examples=[1048576])
    sha256: str = Field(description="SHA-256 of the file.")
    created_at: datetime = Field(description="When it was first made.")


class ExportList(Answer):
    """Exports, newest first."""

    items: list[Export] = Field(description="The exports.")


# --- operations ---------------------------------------------------------------------------------------------------


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
        description="Where it lies: topic:partition:offset.", examples=["images.proposed.dlq:0:17"]
    )
    topic: str = Field(description="The topic that it was read from.", examples=["images.proposed"])
    partition: int = Field(description="Its partition there.", examples=[2])
    offset: int = Field(description="Its offset there.", examples=[4711])
    key: str = Field(description="Its key: the image id, or the job id.", examples=[_IMAGE_ID])
    job_id: str = Field(description="Its job.", examples=[_JOB_ID])
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
        json_schema_extra={"examples": [{"topic": "images.proposed"}, {"ids": ["images.proposed.dlq:0:17"]}]},
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
