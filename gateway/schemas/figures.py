"""What a lead looks at: the pairs of a job, and the figures of the work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.schemas.annotations import Image, Pair
from gateway.schemas.words import Answer, Stage


class GalleryItem(Answer):
    """One pair with its picture."""

    image: Image = Field(description="The picture.")
    pair: Pair = Field(
        description="The pair as it stands. `verdict` says what became of it: `accept` is in the dataset, "
        "`review` waits for people, `reject` waits and the models think it wrong, or a person rejected it."
    )
    waiting: bool = Field(description="It waits for a person.")


class GalleryPage(Answer):
    """Pairs in order of phrase, then image. A page may be short, even empty, and have a next one."""

    items: list[GalleryItem] = Field(description="The pairs.")
    next_cursor: str | None = Field(description="For the next page; null: no more.", examples=[None])


class StageFigures(Answer):
    """A stage's work in the time asked for."""

    stage: Stage = Field(description="The stage.")
    images: int = Field(
        description="Images: with a person's decision (stages 1 and 2), through the models (stage 3).",
        examples=[100],
    )
    pairs: int = Field(
        description="Pairs: decided by a person (stages 1 and 2), through the models (stage 3).",
        examples=[1200],
    )
    images_per_hour: float = Field(
        description="Stages 1 and 2: in an hour of a person's active time. Stage 3: in an hour of the "
        "models' work, counted in minutes in which an image came through.",
        examples=[104.2],
    )
    pairs_per_hour: float = Field(description="Pairs, as images.", examples=[1250.0])
    decisions: int = Field(description="Decisions of people, those of stage 3's leftovers too.")
    active_seconds: float = Field(description="Active seconds of people, undone decisions included.")
    seconds_per_positive: float | None = Field(
        description="People's active seconds for a positive pair; null: there was none. A decision on an "
        "image shares its time out evenly among its pairs.",
        examples=[12.4],
    )
    seconds_per_negative: float | None = Field(description="The same for a negative pair.", examples=[2.1])
    cost: float | None = Field(
        description="Active hours of people times the hourly rate; for leads and admins, else null.",
        examples=[31.2],
    )


class PersonStageFigures(Answer):
    """A person's work in a stage, in the time asked for."""

    stage: Stage = Field(description="The stage.")
    images: int = Field(description="Images, as the person's.", examples=[40])
    pairs: int = Field(description="Pairs decided.", examples=[310])
    active_seconds: float = Field(description="Active seconds, undone decisions included.")
    images_per_hour: float = Field(description="Images in an hour of active time.", examples=[92.9])
    pairs_per_hour: float = Field(description="Pairs in an hour of active time.", examples=[720.0])


class PersonFigures(Answer):
    """A person's work in the time asked for."""

    annotator: str = Field(description="The key's id.", examples=["key_2f1d8c5b9a7e6040"])
    name: str = Field(description="Whose key it is; the id where the key was revoked.", examples=["Ada"])
    decisions: int = Field(description="Decisions that stand.", examples=[310])
    images: int = Field(
        description="Images on which a decision of the person stands, each once for each job, at the "
        "person's first; second looks count too. Two people who worked on one image have it each.",
        examples=[40],
    )
    pairs: int = Field(description="Pairs decided.", examples=[310])
    active_seconds: float = Field(description="Active seconds, undone decisions included.")
    images_per_hour: float = Field(description="Images in an hour of active time.", examples=[92.9])
    pairs_per_hour: float = Field(description="Pairs in an hour of active time.", examples=[720.0])
    stages: list[PersonStageFigures] = Field(description="The same for each stage that the person worked in.")
    seconds_per_pair: float | None = Field(description="Active seconds for a pair; null: no pair yet.")
    rejection_rate: float = Field(
        description="Share of decisions on single pairs that rejected.", examples=[0.08]
    )
    edit_rate: float = Field(description="Share of decisions on single pairs that edited.", examples=[0.21])
    agreement: float | None = Field(
        description="Mean agreement with the two others on gold images, 0..1, of all time; null: no gold.",
        examples=[0.91],
    )


class ScoreHistogram(Answer):
    """Pairs by quality score, as the models judged them."""

    edges: list[float] = Field(description="21 edges of 20 bins, 0 to 1.")
    positive: list[int] = Field(description="Positive pairs in each bin.")
    negative: list[int] = Field(description="Negative pairs in each bin.")


class ScoreThresholds(Answer):
    """What follows from a score: of the job, else of the newest job, else the default."""

    accept: float = Field(description="A pair scoring above is accepted.", examples=[0.9])
    review: float = Field(
        description="A pair scoring between this and `accept` goes to a person; below it is rejected.",
        examples=[0.7],
    )


class Statistics(Answer):
    """Throughput, people, scores and cost."""

    stages: list[StageFigures] = Field(description="Stages in which something was done.")
    people: list[PersonFigures] = Field(description="People who decided something, most decisions first.")
    scores: ScoreHistogram = Field(description="Scores.")
    thresholds: ScoreThresholds = Field(description="Thresholds, to be drawn over the scores.")
    hourly_rate: float | None = Field(
        description="Cost of an hour of a person's active time; for leads and admins, else null.",
        examples=[20.0],
    )
    currency: Literal["USD"] = Field(default="USD", description="Of rate and cost.")
