"""Images and their annotations of record."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gateway.schemas.words import (
    EXAMPLE_IMAGE_ID,
    EXAMPLE_JOB_ID,
    Answer,
    ExhaustivityChoice,
    MaskChoice,
    PhraseSource,
    Polarity,
    Verdict,
)


class Image(Answer):
    """One picture."""

    id: str = Field(description="SHA-256 of the submitted bytes.", examples=[EXAMPLE_IMAGE_ID])
    name: str = Field(description="The submitter's name for it.", examples=["1.jpg"])
    media_type: str = Field(description="Of the upright picture that is kept.", examples=["image/jpeg"])
    width: int = Field(description="Upright width in pixels.", examples=[1024])
    height: int = Field(description="Upright height in pixels.", examples=[768])
    job_ids: list[str] = Field(
        default_factory=list, description="Jobs that hold it, oldest first.", examples=[[EXAMPLE_JOB_ID]]
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
    job_id: str = Field(description="The job that they come from.", examples=[EXAMPLE_JOB_ID])
    pairs: list[Pair] = Field(description="In order of phrase.")
