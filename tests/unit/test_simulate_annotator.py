"""What a simulated person decides, with a segmenter at the desk whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from gateway.schemas import (
    HardNegative,
    Image,
    Mask,
    Model,
    Pair,
    PromptMask,
    PromptPoint,
    Region,
    ReviewTask,
    Rle,
    Segmented,
    Sibling,
)
from gateway.simulate import scenes
from gateway.simulate.annotator import Choice, Sitting, uncovered
from gateway.simulate.costs import read_costs
from gateway.simulate.mistakes import PERFECT, Mistakes, Nature, chance
from gateway.simulate.rules import Rules
from gateway.simulate.truth import TrueImage, TrueObject
from services.core import masks

COSTS = read_costs()


@pytest.fixture(scope="module")
def truth() -> TrueImage:
    """A scene with two objects of one kind, and one that is alone of its label."""
    drawn = scenes.draw(60, 300, difficulty="easy", side=96)
    return next(image for image in drawn if _single(image) is not None and _several(image))


@dataclass
class Desk:
    """A segmenter that answers with the object under the last positive click or box, or with nothing."""

    truth: TrueImage
    good: bool = True
    negatives: Sequence[str] = ()
    asked: list[str] = field(default_factory=list)

    def segment(
        self,
        image_id: str,
        *,
        points: Sequence[PromptPoint] = (),
        boxes: Sequence[tuple[float, float, float, float]] = (),
        mask: PromptMask | None = None,
    ) -> Segmented:
        self.asked.append("box" if boxes else "click")
        found = np.zeros((self.truth.height, self.truth.width), dtype=bool)
        if self.good and points:
            x, y = int(points[-1].x), int(points[-1].y)
            for number in range(len(self.truth.objects)):
                if self.truth.mask(number)[y, x]:
                    found = self.truth.mask(number)
        return Segmented(
            masks=[as_mask(masks.encode(found), self.truth)], model=Model(name="sam", weights="", version="1")
        )

    def hard_negatives(
        self, image_id: str, *, phrases: Sequence[str] = (), limit: int = 10
    ) -> list[HardNegative]:
        named = phrases[0] if phrases else None
        return [HardNegative(phrase=p, confused_with=named, reason="x") for p in self.negatives[:limit]]


def as_mask(counts: bytes, truth: TrueImage) -> Mask:
    return Mask(
        rle=Rle(size=(truth.height, truth.width), counts=counts.decode("ascii")),
        box=masks.box(counts, truth.height, truth.width),
        area=masks.area(counts, truth.height, truth.width),
        predicted_iou=0.9,
        stability=0.9,
        score=0.9,
    )


def task_on(truth: TrueImage, **changes: Any) -> ReviewTask:
    image = Image(
        id=truth.id, name=truth.name, media_type="image/png", width=truth.width, height=truth.height
    )
    common = {
        "id": "t1",
        "type": "review",
        "job_id": "j1",
        "stage": "automatic",
        "tier": "silver",
        "image": image,
        "priority": 1.0,
        "reasons": [],
        "created_at": datetime.now(UTC),
    }
    return ReviewTask.model_validate(common | changes)


def pair_of(phrase: str, found: Sequence[Mask] = (), polarity: str = "positive") -> Pair:
    return Pair.model_validate(
        {
            "phrase": phrase,
            "polarity": polarity,
            "hard_negative": polarity == "negative",
            "confused_with": None,
            "source": "model",
            "masks": list(found),
            "presence": 0.9,
            "score": 0.5,
            "verdict": "review",
            "exhaustive": False,
        }
    )


def decided(
    task: ReviewTask, truth: TrueImage, desk: Desk | None = None, mistakes: Mistakes = PERFECT
) -> Choice:
    return Sitting(
        task,
        truth,
        desk or Desk(truth),
        costs=COSTS,
        nature=Nature(mistakes, chance(task.id)),
        rules=Rules(),
        hard_negatives=10,
        first_look=True,
    ).decide()


def right_masks(truth: TrueImage, phrase: str) -> list[Mask]:
    return [as_mask(truth.objects[n].counts, truth) for n in truth.holding(phrase)]


def absent_label(truth: TrueImage) -> str:
    return next(label for label in truth.nearly_right(0) if not truth.holding(label))


def _single(image: TrueImage) -> int | None:
    singles = [n for n, thing in enumerate(image.objects) if image.holding(thing.label) == [n]]
    return singles[0] if singles else None


def _several(image: TrueImage) -> str:
    return next((thing.kind for thing in image.objects if len(image.holding(thing.kind)) > 1), "")


def same(drawn: Any, truth: TrueImage, numbers: Sequence[int]) -> bool:
    counts = {mask.rle.counts.encode("ascii") for mask in drawn}
    return counts == {truth.objects[n].counts for n in numbers}


def test_a_right_pair_costs_one_key(truth: TrueImage) -> None:
    label = truth.objects[0].label
    choice = decided(task_on(truth, pair=pair_of(label, right_masks(truth, label))), truth)
    assert choice.kind == "accept"
    count = len(truth.holding(label))
    assert dict(choice.effort.actions) == {"look": 1, "judge_mask": count, "judge_coverage": 1, "key": 1}
    assert choice.effort.seconds == pytest.approx(1.35 + 1.6 * count + 7.8 + 0.2)


def test_a_phrase_that_is_absent_is_rejected(truth: TrueImage) -> None:
    wrong = [as_mask(truth.objects[0].counts, truth)]
    task = task_on(truth, pair=pair_of(absent_label(truth), wrong))
    assert decided(task, truth).kind == "reject"
    assert decided(task, truth, mistakes=Mistakes(accept_wrong_mask=1)).kind == "accept"


def test_a_missing_instance_is_clicked_and_added(truth: TrueImage) -> None:
    kind = _several(truth)
    task = task_on(truth, pair=pair_of(kind, right_masks(truth, kind)[1:]))
    choice = decided(task, truth)
    assert (choice.kind, choice.masks_made, choice.effort.clicks) == ("edit", 1, 1)
    assert same(choice.pairs[0].masks, truth, truth.holding(kind))
    assert choice.pairs[0].exhaustive
    overlooked = decided(task, truth, mistakes=Mistakes(miss_instance=1))
    assert overlooked.kind == "accept"


def test_a_mask_of_something_else_is_deleted(truth: TrueImage) -> None:
    single = _single(truth)
    assert single is not None
    other = next(n for n in range(len(truth.objects)) if n != single)
    label = truth.objects[single].label
    wrong = as_mask(truth.objects[other].counts, truth)
    choice = decided(task_on(truth, pair=pair_of(label, [*right_masks(truth, label), wrong])), truth)
    assert choice.kind == "edit"
    assert same(choice.pairs[0].masks, truth, [single])
    assert choice.masks_made == 0


def test_where_clicks_and_a_box_do_not_do_the_mask_is_drawn_by_hand(truth: TrueImage) -> None:
    single = _single(truth)
    assert single is not None
    desk = Desk(truth, good=False)
    choice = decided(task_on(truth, pair=pair_of(truth.objects[single].label)), truth, desk)
    assert desk.asked == ["click", "box"]
    assert choice.by_hand == 1
    assert same(choice.pairs[0].masks, truth, [single])
    assert choice.effort.actions["outline"] == 1
    assert choice.effort.seconds > 79.2 + 7.0


def test_negatives_are_confirmed_or_refused(truth: TrueImage) -> None:
    absent, present = absent_label(truth), truth.objects[0].label
    for phrase, kind, mistaken in ((absent, "accept", "reject"), (present, "reject", "accept")):
        task = task_on(truth, type="negative", pair=pair_of(phrase, polarity="negative"))
        assert decided(task, truth).kind == kind
        assert decided(task, truth, mistakes=Mistakes(wrong_negative=1)).kind == mistaken
        effort = decided(task, truth).effort
        assert effort.negative_seconds == effort.seconds == pytest.approx(1.35 + 1.7 + 0.2)


def test_stage_1_labels_every_object_and_confirms_absent_negatives(truth: TrueImage) -> None:
    absent, present = absent_label(truth), truth.objects[0].kind

    def right(thing: TrueObject) -> Mask:
        return as_mask(thing.counts, truth)

    regions = [Region(box=m.box, mask=m) for m in map(right, truth.objects[:2])]
    task = task_on(truth, type="annotate", stage="assisted_manual", regions=regions)
    choice = decided(task, truth, Desk(truth, negatives=[absent, present]))
    assert choice.kind == "edit"
    positives = {pair.phrase: pair for pair in choice.pairs if pair.polarity == "positive"}
    assert set(positives) == {thing.label for thing in truth.objects}
    for label, pair in positives.items():
        assert same(pair.masks, truth, truth.holding(label))
    assert [pair.phrase for pair in choice.pairs if pair.polarity == "negative"] == [absent]
    assert choice.masks_made == len(truth.objects) - 2
    assert choice.effort.actions["select"] == 2


def test_who_mislabels_gives_wrong_labels_and_who_overlooks_all_rejects(truth: TrueImage) -> None:
    task = task_on(truth, type="annotate", stage="assisted_manual")
    wrong = decided(task, truth, mistakes=Mistakes(wrong_label=1))
    assert wrong.pairs
    assert not {pair.phrase for pair in wrong.pairs} <= {thing.label for thing in truth.objects}
    assert decided(task, truth, mistakes=Mistakes(miss_instance=1)).kind == "reject"


def test_stage_2_adds_what_no_phrase_covers_at_one_task_of_the_image(truth: TrueImage) -> None:
    single = _single(truth)
    assert single is not None
    label = truth.objects[single].label
    rest = sorted({thing.label for thing in truth.objects} - {label})

    def asked(own: str) -> ReviewTask:
        others = [Sibling(phrase=p, polarity="positive", score=0.5, verdict=None) for p in rest if p != own]
        pair = pair_of(own, right_masks(truth, own))
        return task_on(truth, stage="semi_automatic", pair=pair, siblings=others)

    task = asked(rest[0])
    assert uncovered(task, truth) == {label: [single]}
    choice = decided(task, truth)
    assert choice.kind == "edit"
    assert [pair.phrase for pair in choice.pairs] == [rest[0], label]
    assert choice.added == [label]
    assert same(choice.pairs[1].masks, truth, [single])
    if len(rest) > 1:
        assert decided(asked(rest[1]), truth).kind == "accept"


@pytest.mark.parametrize("polarity", ["positive", "negative"])
def test_the_own_pair_of_an_edit_that_adds_says_what_was_decided(truth: TrueImage, polarity: str) -> None:
    task = task_on(truth, stage="semi_automatic", pair=pair_of(absent_label(truth), polarity=polarity))
    choice = decided(task, truth)
    assert choice.kind == "edit"
    assert choice.pairs[0].polarity == "negative"
    assert not choice.pairs[0].masks
    assert {pair.phrase for pair in choice.pairs[1:]} == {thing.label for thing in truth.objects}


def test_the_same_task_is_decided_the_same_again(truth: TrueImage) -> None:
    mistakes = Mistakes(
        miss_instance=0.4, wrong_label=0.4, accept_wrong_mask=0.4, sloppy_click=0.4, sloppy_reach=0.1
    )
    run: Callable[[], Choice] = lambda: decided(  # noqa: E731
        task_on(truth, type="annotate", stage="assisted_manual"), truth, mistakes=mistakes
    )
    first, again = run(), run()
    assert first.pairs == again.pairs
    assert first.effort.actions == again.effort.actions
