"""What helps a person at work: who they are, masks from clicks, phrases to choose from, hard negatives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from gateway.schemas.annotations import Mask
from gateway.schemas.operations import Model
from gateway.schemas.words import Answer, PhraseText, Request, Role

MOST_BOXES = 64
MOST_POINTS = 256
_MOST_PIXELS = 65_535

Pixel = Annotated[float, Field(ge=0, le=_MOST_PIXELS, allow_inf_nan=False)]
Extent = Annotated[float, Field(gt=0, le=_MOST_PIXELS, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=_MOST_PIXELS)]


class Me(Answer):
    """The key that a request was made with."""

    key_id: str = Field(
        description="The key's id: what provenance names a person by.", examples=["key_2f1d8c5b9a7e6040"]
    )
    name: str = Field(description="Whose key it is.", examples=["Ada"])
    tenant: str = Field(description="The tenant.", examples=["default"])
    roles: list[Role] = Field(description="What it may do.", examples=[["annotator"]])


class PromptPoint(Request):
    """A click."""

    x: Pixel = Field(description="Pixels from the left of the upright image.", examples=[120.5])
    y: Pixel = Field(description="Pixels from its top.", examples=[88.0])
    positive: bool = Field(default=True, description="On the instance (true) or beside it (false).")


class PromptMask(Request):
    """COCO compressed RLE of the mask so far."""

    size: tuple[Side, Side] = Field(description="Height and width of the image in pixels.")
    counts: str = Field(
        min_length=1, description="Compressed run lengths, column-major, as pycocotools writes them."
    )


class SegmentRequest(Request):
    """Clicks and at most one box of one instance; or several boxes, each of an instance of its own."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"points": [{"x": 120.5, "y": 88.0, "positive": True}]}]},
    )

    boxes: list[tuple[Pixel, Pixel, Extent, Extent]] = Field(
        default_factory=list,
        max_length=MOST_BOXES,
        description="Left, top, width, height in pixels of the upright image, inside it.",
    )
    points: list[PromptPoint] = Field(
        default_factory=list, max_length=MOST_POINTS, description="All clicks so far, inside the image."
    )
    mask: PromptMask | None = Field(
        default=None, description="The mask so far, of the image's size; with the prompts of one instance."
    )

    @model_validator(mode="after")
    def _one_or_many(self) -> SegmentRequest:
        if not self.boxes and not self.points:
            raise ValueError("send a click or a box: nothing says where the instance is")
        if len(self.boxes) > 1 and (self.points or self.mask is not None):
            raise ValueError("several boxes are several instances: clicks and a mask go with one box at most")
        return self


class Segmented(Answer):
    """One mask for the clicks, or one for each box, in their order; one with area 0 where nothing is."""

    masks: list[Mask] = Field(description="The masks.")
    model: Model = Field(description="The model that made them.")


class PhraseSuggestion(Answer):
    """A phrase to choose."""

    phrase: str = Field(description="Normalised noun phrase.", examples=["yellow school bus"])
    source: Literal["used", "ontology"] = Field(
        description="`used`: a pair of the tenant has it. `ontology`: the ontology knows it."
    )
    count: int = Field(description="The tenant's pairs that have it, rejected ones aside.", examples=[42])


class PhraseSuggestions(Answer):
    """Phrases that fit, most used first, then the ontology's."""

    items: list[PhraseSuggestion] = Field(description="The phrases.")


class HardNegativesRequest(Request):
    """Asks for phrases that look right for an image and are absent."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"phrases": ["yellow school bus"], "limit": 10}]},
    )

    phrases: list[PhraseText] = Field(
        default_factory=list,
        max_length=200,
        description="What is in the image: none of it, nor a synonym or hypernym, is suggested. "
        "Empty: what the models see.",
    )
    limit: int = Field(default=10, ge=1, le=100, description="At most so many.")


class HardNegative(Answer):
    """A phrase that is easily confused with one that is present."""

    phrase: str = Field(description="Normalised noun phrase, believed absent.", examples=["red school bus"])
    confused_with: str | None = Field(
        description="The present phrase that it is confused with.", examples=["yellow school bus"]
    )
    reason: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="Why, in words.",
        examples=["the same thing in another colour: red instead of yellow"],
    )


class HardNegativeList(Answer):
    """Candidates, most confusable first."""

    items: list[HardNegative] = Field(description="The candidates.")
