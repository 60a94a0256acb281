"""Jobs: what is asked for, and how far it is."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field, HttpUrl, model_validator

from gateway.schemas.problems import RefusedImage
from gateway.schemas.words import (
    EXAMPLE_IMAGE_ID,
    EXAMPLE_JOB_ID,
    Answer,
    ImageState,
    JobStatus,
    PhraseText,
    Request,
    Stage,
    Tier,
)


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

    image_id: str = Field(description="Image id.", examples=[EXAMPLE_IMAGE_ID])
    name: str = Field(description="The submitter's name for it.", examples=["1.jpg"])
    topic: str = Field(description="The topic whose record failed.", examples=["images.proposed"])
    error: str = Field(description="Error class.", examples=["InvalidInput"])
    reason: str = Field(description="For a person.")
    attempts: int = Field(description="How often it was tried.", examples=[3])


class Job(Answer):
    """One job: what it asks for and how far it is."""

    id: str = Field(description="Job id.", examples=[EXAMPLE_JOB_ID])
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

    image_id: str = Field(description="Image id.", examples=[EXAMPLE_IMAGE_ID])
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
