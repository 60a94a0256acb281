"""People's work: tasks that are leased, and decisions on them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field, StringConstraints

from gateway.schemas.annotations import Image, Mask, Pair
from gateway.schemas.words import (
    EXAMPLE_JOB_ID,
    Answer,
    DecisionKind,
    PhraseText,
    Polarity,
    Request,
    Stage,
    TaskType,
    Tier,
    Verdict,
)

EXAMPLE_TASK_ID: Final = "5f0c1d9a7b3e4c21a8d6f4e2b1907c35"
EXAMPLE_LEASE_ID: Final = "b1946ac92492d2347c6235b4d2611184"
_MOST_ACTIVE_SECONDS: Final = 24 * 3600.0
_LONGEST_SIDE: Final = 65_535

LeaseId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Pixels = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=_LONGEST_SIDE)]


class LeaseRequest(Request):
    """Asks for work: the most urgent tasks that fit all filters."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"types": ["review", "negative"], "job_id": EXAMPLE_JOB_ID, "max_tasks": 5}]
        },
    )

    types: list[TaskType] = Field(
        default_factory=list, max_length=20, description="Only these types; none: any."
    )
    job_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        default=None, description="Only of this job."
    )
    phrase: PhraseText | None = Field(default=None, description="Only of this phrase; it is normalised.")
    max_tasks: int = Field(
        default=1, ge=1, le=100, description="At most so many; those of one image come together."
    )


class Region(Answer):
    """A class-agnostic proposal of stage 1: something is here, whatever it is called."""

    box: tuple[float, float, float, float] = Field(description="Left, top, width, height in pixels.")
    mask: Mask | None = Field(default=None, description="The proposal's mask.")


class Sibling(Answer):
    """Another pair of the task's image, as it was when the task was made; without its masks."""

    phrase: str = Field(description="Normalised noun phrase.", examples=["red boat"])
    polarity: Polarity = Field(description="Positive or negative.")
    score: float = Field(description="Calibrated quality score, 0..1.", examples=[0.94])
    verdict: Verdict | None = Field(description="What followed from the score.")


class GoldVersion(Answer):
    """What one of the three annotators of a gold image made of it, alone."""

    annotator: str = Field(description="Who: the key's id.", examples=["key_2f1d8c5b9a7e6040"])
    decided_at: datetime = Field(description="When.")
    pairs: list[Pair] = Field(description="In the annotator's order.")


class PhraseAgreement(Answer):
    """How far the three annotators agree about a phrase."""

    phrase: str = Field(description="Normalised noun phrase.", examples=["red boat"])
    agreement: float = Field(
        description="0 (they say the opposite) to 1: the mean over pairs of annotators of the summed IoU of "
        "their matched masks over the mean number of their masks.",
        examples=[0.91],
    )


class AnnotatorAgreement(Answer):
    """How far an annotator of a gold image agrees with the two others."""

    annotator: str = Field(description="Who: the key's id.", examples=["key_2f1d8c5b9a7e6040"])
    agreement: float = Field(description="0..1, the mean over the phrases.", examples=[0.88])


class Agreement(Answer):
    """How far the three versions of a gold image agree."""

    pairs: list[PhraseAgreement] = Field(description="In order of phrase.")
    annotators: list[AnnotatorAgreement] = Field(description="In order of copy.")


class ReviewTask(Answer):
    """One piece of human work: a pair, or in stage 1 an image."""

    id: str = Field(description="Task id.", examples=[EXAMPLE_TASK_ID])
    type: TaskType = Field(
        description="`annotate`: label and correct the regions (stage 1). `review`: accept, reject or edit "
        "the pair. `exhaustivity`: is every instance masked? A second person's. `audit`: check a pair that "
        "was accepted automatically. `negative`: is the phrase truly absent? `adjudicate`: three gold "
        "versions of the image disagree, and a lead makes the version of record."
    )
    job_id: str = Field(description="Its job.", examples=[EXAMPLE_JOB_ID])
    stage: Stage = Field(description="The job's stage.")
    tier: Tier = Field(description="Human evidence that the job asks for.")
    image: Image = Field(description="The picture; its bytes are at `/v1/images/{id}/content`.")
    pair: Pair | None = Field(
        default=None, description="The pair in question; none for `annotate` and `adjudicate`."
    )
    siblings: list[Sibling] = Field(
        default_factory=list, description="The other pairs of the image as they were when the task was made."
    )
    regions: list[Region] = Field(default_factory=list, description="Proposals; only for `annotate`.")
    priority: float = Field(description="Higher is more urgent.", examples=[5.2])
    reasons: list[str] = Field(
        description="Why it is here and why so urgent.", examples=[["verdict review", "rare phrase"]]
    )
    copy_number: int = Field(
        default=0, description="0-based copy of a gold task; each copy goes to another person."
    )
    created_at: datetime = Field(description="When it was made.")
    round: int = Field(default=0, description="How often a decision on it has been undone.")
    versions: list[GoldVersion] = Field(
        default_factory=list, description="The three versions; only for `adjudicate`."
    )
    agreement: Agreement | None = Field(
        default=None, description="How far the versions agree; only for `adjudicate`."
    )


class Comment(Answer):
    """What a person wrote with an earlier decision on the pair, or on its image."""

    text: str = Field(
        description="As it was typed: plain text, never to be shown as markup.",
        examples=["The one behind the mast is a reflection."],
    )
    annotator: str = Field(description="Who: the key's id.", examples=["key_2f1d8c5b9a7e6040"])
    name: str = Field(description="Whose key it is; the id where the key was revoked.", examples=["Ada"])
    written_at: datetime = Field(description="When the decision was made.")
    kind: DecisionKind = Field(description="What was decided.")
    taken_back: bool = Field(description="The decision was undone later.")
    task_type: TaskType = Field(description="What had been asked.")
    job_id: str = Field(description="In which job.", examples=[EXAMPLE_JOB_ID])
    phrases: list[str] = Field(description="The phrases that it is about; none: the whole image.")


class LeasedTask(Answer):
    """A task that is yours until the lease ends."""

    task: ReviewTask = Field(description="The task.")
    lease_id: str = Field(description="Proof of the lease.", examples=[EXAMPLE_LEASE_ID])
    expires_at: datetime = Field(description="When it goes back to the queue unless renewed or decided.")
    comments: list[Comment] = Field(
        default_factory=list,
        description="What people wrote before with decisions on the pair, in any job, oldest first. Of a "
        "gold image none, but to the lead who adjudicates it.",
    )


class LeasedTaskList(Answer):
    """Tasks that are yours, most urgent first; empty when there is no work."""

    items: list[LeasedTask] = Field(description="The tasks.")


class Earlier(Answer):
    """What had been decided before it was undone."""

    kind: DecisionKind = Field(description="What was decided.")
    pairs: list[Pair] = Field(description="The pairs that stood after the decision; of a rejection, none.")


class Reopened(LeasedTask):
    """A task whose decision was taken back; it is yours again, to be decided anew."""

    earlier: Earlier = Field(description="What had been decided.")


class UndoRequest(Request):
    """Takes back the caller's own decision on a task."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "7a52d1c4-91f0-4e0b-8b0b-5a2b7f0c3d11",
                    "decision_id": "0b9c6d1e-5c1f-4a53-8d0e-5d1f1c7a2b90",
                }
            ]
        },
    )

    id: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="Made by the client, one for each undo, e.g. a UUID: a retry is no second undo."
    )
    decision_id: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="The `id` of the decision to take back."
    )


class LeaseProof(Request):
    """Names the lease that the caller holds on the task."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"lease_id": EXAMPLE_LEASE_ID}]}
    )

    lease_id: LeaseId = Field(description="As leased.")


class Lease(Answer):
    """A lease that was renewed."""

    task_id: str = Field(description="The task.", examples=[EXAMPLE_TASK_ID])
    lease_id: str = Field(description="The same as before.", examples=[EXAMPLE_LEASE_ID])
    expires_at: datetime = Field(description="When it ends unless renewed again.")


class DrawnRle(Request):
    """COCO compressed RLE."""

    size: tuple[Side, Side] = Field(description="Height and width of the image in pixels.")
    counts: str = Field(
        min_length=1, description="Compressed run lengths, column-major, as pycocotools writes them."
    )


class DrawnMask(Request):
    """One instance as the person left it. Box and area of what is kept are read off the mask."""

    rle: DrawnRle = Field(description="The mask, of the image's size, not empty.")
    box: tuple[Pixels, Pixels, Pixels, Pixels] | None = Field(
        default=None, description="Left, top, width, height in pixels; checked where given."
    )


class DecidedPair(Request):
    """A pair as the person left it. What the person made is told from what the task had by the masks."""

    phrase: PhraseText = Field(description="Noun phrase; it is normalised.", examples=["yellow school bus"])
    polarity: Polarity = Field(
        default="positive", description="Positive: with masks. Negative: truly absent, without masks."
    )
    hard_negative: bool = Field(default=False, description="Of a negative: it is easily confused.")
    confused_with: PhraseText | None = Field(
        default=None, description="Of a hard negative: the present phrase that it is confused with."
    )
    exhaustive: bool = Field(default=False, description="Of a positive: every instance is masked.")
    masks: list[DrawnMask] = Field(default_factory=list, max_length=1000, description="Instances.")


class DecisionRequest(Request):
    """What a person decided about a task that they hold."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "0b9c6d1e-5c1f-4a53-8d0e-5d1f1c7a2b90",
                    "lease_id": EXAMPLE_LEASE_ID,
                    "kind": "edit",
                    "active_seconds": 6.4,
                    "pairs": [
                        {
                            "phrase": "yellow school bus",
                            "exhaustive": True,
                            "masks": [{"rle": {"size": [4, 4], "counts": "52203"}}],
                        }
                    ],
                }
            ]
        },
    )

    id: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="Made by the client, one for each decision, e.g. a UUID: a retry is no second decision."
    )
    lease_id: LeaseId = Field(description="As leased.")
    kind: DecisionKind = Field(
        description="`accept`: right as it is. `reject`: wrong, dropped. `edit`: as in `pairs` from now on. "
        "For `annotate` the pairs come with `edit`; `reject` says that there is nothing to annotate."
    )
    pairs: list[DecidedPair] = Field(
        default_factory=list,
        max_length=1000,
        description="With `edit`: any number for `annotate` and `adjudicate`. For a pair's task "
        "its own pair first, then new pairs, of phrases that the image does not have yet.",
    )
    active_seconds: float = Field(
        ge=0,
        le=_MOST_ACTIVE_SECONDS,
        allow_inf_nan=False,
        description="Seconds of active time on this task, idle time excluded.",
        examples=[2.5],
    )
    comment: str = Field(default="", max_length=2000, description="A word for whoever has the pair next.")


class Decided(Answer):
    """A decision that is safe: the log has it."""

    id: str = Field(description="The decision's id.", examples=["0b9c6d1e-5c1f-4a53-8d0e-5d1f1c7a2b90"])
    task_id: str = Field(description="The task.", examples=[EXAMPLE_TASK_ID])
    kind: DecisionKind = Field(description="What was decided.")
    annotator: str = Field(description="Who decided: the key's id.", examples=["key_2f1d8c5b9a7e6040"])


class QueueDepth(Answer):
    """How many tasks of a type there are."""

    type: TaskType = Field(description="The type.")
    waiting: int = Field(description="Waiting for someone.", examples=[120])
    leased: int = Field(description="Held by someone.", examples=[4])
    decided: int = Field(description="Decided.", examples=[310])


class Queues(Answer):
    """The work that there is for people."""

    queues: list[QueueDepth] = Field(description="One for each type that has any task.")
    waiting_by_reason: dict[str, int] = Field(
        description="Waiting tasks by reason; a task with several counts under each.",
        examples=[{"verdict review": 80, "rare phrase": 12}],
    )
