"""What the verifier can be told."""

from __future__ import annotations

from pydantic import Field

from services.kit.settings import KitSettings

Points = tuple[tuple[float, float], ...]


class VerifierSettings(KitSettings):
    """The verifier's own settings beside every process's."""

    verifier_threads: int = Field(8, ge=1, description="Images of a batch that the verifier works at a time.")
    verifier_masks: int = Field(
        64, ge=1, description="Most masks of one call of the model; more take several calls."
    )
    verifier_phrases: int = Field(64, ge=1, description="Most phrases of one model call; more take several.")
    positive_calibration: Points = Field(
        (),
        description="JSON list of [raw score, share of right pairs] of positive pairs, both rising; "
        "empty: what the verifier's answers tell of their own, else the raw score as it is.",
    )
    negative_calibration: Points = Field((), description="The same of negative pairs.")
    accept_above: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Score above which a pair is accepted, where its job gives no thresholds.",
    )
    reject_below: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Score below which a pair is rejected, where its job gives no thresholds.",
    )
