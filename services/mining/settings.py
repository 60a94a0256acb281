"""Settings of the mining service."""

from __future__ import annotations

from pydantic import Field

from services.kit.settings import KitSettings
from services.mining.priority import Weights
from services.mining.submission import Limits


class MiningSettings(KitSettings):
    """Leases, undo, limits of a decision, and the weights of active mining (each component is 0..1)."""

    mining_lease_seconds: float = Field(300.0, gt=0, description="How long a task is held without renewal.")
    mining_store_seconds: float = Field(
        60.0, gt=0, description="How long a task stays held while its decision is being written to the log."
    )
    mining_undo_seconds: float = Field(
        900.0,
        ge=0,
        description="How long after a decision its maker may take it back; 0: never.",
    )
    mining_agreement_at_least: float = Field(
        0.7,
        ge=0,
        le=1,
        description="A gold image with a phrase on which its three annotators agree less goes to a lead.",
    )
    mining_lease_scan: int = Field(
        2000,
        ge=1,
        description="Most waiting tasks that a lease call looks at before it finds no work.",
    )
    mining_masks_a_pair: int = Field(300, ge=1, description="Most masks that a decision may give a pair.")
    mining_pairs: int = Field(200, ge=1, description="Most pairs that a decision may give an image.")

    mining_low_score: float = Field(1.0, ge=0, description="Weight of 1 - quality score.")
    mining_uncertainty: float = Field(1.0, ge=0, description="Weight of the verifier's entropy.")
    mining_rarity: float = Field(0.5, ge=0, description="Weight of how rare the phrase is so far.")
    mining_confusion: float = Field(0.75, ge=0, description="Weight of a sibling phrase that scores close.")
    mining_overlap: float = Field(0.5, ge=0, description="Weight of overlapping masks and crowds.")
    mining_small_objects: float = Field(0.25, ge=0, description="Weight of the share of small objects.")
    mining_review_bonus: float = Field(
        4.0, ge=0, description="Added for the verdict review: doubtful pairs before those thought wrong."
    )
    mining_second_look_bonus: float = Field(
        1.0, ge=0, description="Added for audits and second persons' checks."
    )
    mining_rare_below: float = Field(
        10.0, gt=0, description="Accepted images of a phrase at which its rarity has halved."
    )
    mining_crowd_of: int = Field(20, ge=1, description="Instances of a pair that count as a full crowd.")
    mining_well_annotated: int = Field(
        200, ge=0, description="Accepted images from which a phrase's priority may be capped."
    )
    mining_well_handled: float = Field(
        0.95, ge=0, le=1, description="Share of decisions without correction from which it is capped."
    )
    mining_handled_at_least: int = Field(
        20, ge=1, description="Decisions on a phrase before that share counts."
    )
    mining_cap: float = Field(0.1, ge=0, description="Highest priority of a capped phrase.")

    def weights(self) -> Weights:
        """The weights, as the domain takes them."""
        return Weights(
            low_score=self.mining_low_score,
            uncertainty=self.mining_uncertainty,
            rarity=self.mining_rarity,
            confusion=self.mining_confusion,
            overlap=self.mining_overlap,
            small_objects=self.mining_small_objects,
            review_bonus=self.mining_review_bonus,
            second_look_bonus=self.mining_second_look_bonus,
            rare_below=self.mining_rare_below,
            crowd_of=self.mining_crowd_of,
            well_annotated=self.mining_well_annotated,
            well_handled=self.mining_well_handled,
            handled_at_least=self.mining_handled_at_least,
            cap=self.mining_cap,
        )

    def limits(self) -> Limits:
        """What one decision may hold."""
        return Limits(masks_a_pair=self.mining_masks_a_pair, pairs=self.mining_pairs)
