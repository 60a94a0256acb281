"""Settings of the scene generator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Difficulty = Literal["easy", "medium", "hard"]
HeldOut = Literal["exclude", "allow", "favour"]
MOST_INSTANCES = 255
"""Instances are numbered by a byte a pixel."""


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError(f"the first, {span[0]}, is more than the second, {span[1]}")
    return span


Count = Annotated[int, Field(ge=0, le=MOST_INSTANCES)]
Share = Annotated[float, Field(gt=0, le=1)]


class SceneSettings(BaseModel):
    """How a scene is made. Sizes are shares of the shorter side, so that any image size gives the same
    picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(256, ge=32, le=8192, description="image width in pixels")
    height: int = Field(256, ge=32, le=8192, description="image height in pixels")
    objects: Annotated[tuple[Count, Count], AfterValidator(_ordered)] = Field(
        (2, 10), description="fewest and most objects tried in a scene"
    )
    size: Annotated[tuple[Share, Share], AfterValidator(_ordered)] = Field(
        (0.08, 0.47), description="smallest and largest object, share of the shorter side"
    )
    crowding: float = Field(
        0.2, ge=0, le=1, description="share of scenes whose objects cluster, mostly of one kind"
    )
    near_duplicates: float = Field(
        0.2, ge=0, le=1, description="chance that an object repeats an earlier composition"
    )
    occlusion: float = Field(0.6, ge=0, lt=1, description="most of an object that later objects may hide")
    noise: float = Field(0.0, ge=0, description="standard deviation of photographic noise, in grey levels")
    jpeg_quality: int | None = Field(
        None, ge=5, le=100, description="re-encode as JPEG at this quality, if set"
    )
    long_tail: float = Field(0.0, ge=0, description="Zipf exponent of composition frequencies; 0 is uniform")
    held_out: HeldOut = Field(
        "allow", description="the 24 held-out compositions: excluded, allowed, or favoured"
    )

    @classmethod
    def preset(cls, difficulty: Difficulty, **changes: object) -> SceneSettings:
        """A preset by difficulty; `changes` override single settings."""
        presets: dict[str, dict[str, object]] = {
            "easy": {"objects": (2, 5), "size": (0.2, 0.47), "crowding": 0.0, "occlusion": 0.25},
            "medium": {},
            "hard": {
                "objects": (6, 16),
                "size": (0.06, 0.35),
                "crowding": 0.6,
                "near_duplicates": 0.35,
                "noise": 6.0,
                "jpeg_quality": 60,
            },
        }
        return cls.model_validate({**presets[difficulty], **changes})
