"""What a person decides about a task: computed from the truth by the rules, spoilt by their nature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.client.reviews import drawn_mask, edited_pair
from gateway.schemas import DecidedPair, DecisionKind, Mask, Pair, ReviewTask
from gateway.simulate.costs import Costs, Effort
from gateway.simulate.drawing import Desk, Drawing
from gateway.simulate.mistakes import Nature
from gateway.simulate.rules import Rules, is_right, matched
from gateway.simulate.truth import TrueImage
from services.core import masks

Instance = Mask | NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """A decision before it is sent, and what it took."""

    kind: DecisionKind
    effort: Effort
    pairs: Sequence[DecidedPair] = ()
    masks_made: int = 0
    by_hand: int = 0
    added: Sequence[str] = field(default=())
    """Phrases that the person gave the image beside the task's own."""


class Sitting:
    """One person at one task."""

    def __init__(
        self,
        task: ReviewTask,
        truth: TrueImage,
        desk: Desk,
        *,
        costs: Costs,
        nature: Nature,
        rules: Rules,
        hard_negatives: int,
        first_look: bool,
    ) -> None:
        """`hard_negatives`: wanted in stage 1. `first_look`: the person's last task was of another image."""
        self._task, self._truth, self._desk = task, truth, desk
        self._nature, self._rules, self._wanted = nature, rules, hard_negatives
        self.effort = Effort(costs)
        self._drawing = Drawing(desk, task.image.id, self.effort, nature, rules)
        self._last_label = ""
        if first_look:
            self.effort.spend("look", on_negative=task.type == "negative")

    def decide(self) -> Choice:
        """The decision. Raises what the desk raises."""
        task = self._task
        if task.type == "annotate":
            return self._annotate()
        if task.pair is None:
            raise ValueError(f"a task of type {task.type} without a pair is no simulated annotator's")
        is_negative = task.pair.polarity == "negative"
        kind, instances = self._negative(task.pair) if is_negative else self._positive(task.pair)
        added = self._missing() if self._looks_for_more() else []
        if added:
            return self._choice("edit", [self._own(task.pair, kind, instances), *added], added)
        if kind == "edit":
            return self._choice("edit", [edited_pair(task.pair, instances)])
        return self._choice(kind)

    # --- stage 1

    def _annotate(self) -> Choice:
        """Labels every object that is noticed, from the proposals where they are good; then negatives."""
        truth, rules = self._truth, self._rules
        regions = [region.mask for region in self._task.regions if region.mask is not None]
        everything = range(len(truth.objects))
        found = matched(truth.overlaps([_counts(mask) for mask in regions], everything), rules.repair_iou)
        region_of = {number: regions[at] for at, (number, _) in found.items()}
        labelled: dict[str, list[Instance]] = {}
        for number in self._noticed(everything):
            if number in region_of:
                instance = self._taken(number, region_of[number])
            else:
                instance = self._drawing.mask(truth.mask(number))
            labelled.setdefault(self._labelled(number), []).append(instance)
        pairs = []
        for phrase, instances in labelled.items():
            self.effort.spend("think")  # are all instances of it marked?
            self.effort.spend("key")
            drawn = [drawn_mask(one) for one in instances]
            pairs.append(DecidedPair(phrase=phrase, exhaustive=True, masks=drawn))
        pairs += self._hard_negatives(list(labelled))
        self.effort.spend("key")
        return self._choice("edit" if pairs else "reject", pairs)

    def _taken(self, number: int, mask: Mask) -> Instance:
        """A proposal of an object: as it is, or corrected."""
        self.effort.spend("select")
        self.effort.spend("judge_mask")
        if self._is_right(number, mask) or self._nature.accepts_wrong_mask():
            return mask
        return self._drawing.mask(self._truth.mask(number), _array(mask))

    def _labelled(self, number: int) -> str:
        """The label that the person gives an object. The same as the last one costs one key."""
        label = self._truth.objects[number].label
        if self._nature.mislabels():
            wrong = self._truth.nearly_right(number)
            label = wrong[int(self._nature.rng.integers(len(wrong)))]
        if label == self._last_label:
            self.effort.spend("key")
        else:
            self.effort.spend("home", 2)
            self.effort.spend("think")
            self.effort.spend("key", self._rules.label_keys)
        self._last_label = label
        return label

    def _hard_negatives(self, labels: Sequence[str]) -> list[DecidedPair]:
        """The suggested phrases that the person confirms to be absent."""
        if not self._wanted:
            return []
        confirmed = []
        suggested = self._desk.hard_negatives(self._task.image.id, phrases=labels, limit=self._wanted)
        for one in suggested:
            if self._seems_absent(one.phrase) and one.phrase not in labels:
                confused = one.confused_with if one.confused_with in labels else None
                confirmed.append(
                    DecidedPair(
                        phrase=one.phrase, polarity="negative", hard_negative=True, confused_with=confused
                    )
                )
        return confirmed

    # --- pairs

    def _positive(self, pair: Pair) -> tuple[DecisionKind, list[Instance]]:
        """Each mask judged, then whether all instances are marked."""
        truth, rules, nature = self._truth, self._rules, self._nature
        holding = truth.holding(pair.phrase)
        if not holding:
            self.effort.spend("judge_absent")
            self.effort.spend("key")
            taken_for_good = bool(pair.masks) and nature.accepts_wrong_mask()
            return ("accept", list(pair.masks)) if taken_for_good else ("reject", [])
        found = matched(truth.overlaps([_counts(mask) for mask in pair.masks], holding), rules.repair_iou)
        instances: list[Instance] = []
        changed = False
        for at, mask in enumerate(pair.masks):
            self.effort.spend("judge_mask")
            place = found[at][0] if at in found else None
            right = place is not None and self._is_right(holding[place], mask)
            if right or nature.accepts_wrong_mask():
                instances.append(mask)
                continue
            changed = True
            if place is None:
                self.effort.spend("key", 2)  # Tab to it, Del
            else:
                self.effort.spend("select")
                instances.append(self._drawing.mask(truth.mask(holding[place]), _array(mask)))
        self.effort.spend("judge_coverage")
        marked = {place for place, _ in found.values()}
        unmarked = [number for place, number in enumerate(holding) if place not in marked]
        for number in self._noticed(unmarked):
            instances.append(self._drawing.mask(truth.mask(number)))
            changed = True
        self.effort.spend("key")
        if not instances:
            return "reject", []
        return ("edit" if changed else "accept"), instances

    def _negative(self, pair: Pair) -> tuple[DecisionKind, list[Instance]]:
        return ("accept" if self._seems_absent(pair.phrase) else "reject"), []

    def _seems_absent(self, phrase: str) -> bool:
        self.effort.spend("judge_absent", on_negative=True)
        self.effort.spend("key", on_negative=True)
        absent = not self._truth.holding(phrase)
        return absent is not self._nature.misjudges_negative()

    # --- what the models missed (stage 2)

    def _looks_for_more(self) -> bool:
        """One of an image's tasks is the one at which the person looks for objects without any phrase."""
        task = self._task
        if task.stage != "semi_automatic" or task.type not in ("review", "negative") or task.pair is None:
            return False
        return all(task.pair.phrase < one.phrase for one in task.siblings)

    def _missing(self) -> list[DecidedPair]:
        """New pairs for noticed objects that no positive phrase of the image covers."""
        pairs = []
        for label, numbers in uncovered(self._task, self._truth).items():
            noticed = list(self._noticed(numbers))
            if not noticed:
                continue
            drawn = [drawn_mask(self._drawing.mask(self._truth.mask(number))) for number in noticed]
            self.effort.spend("home", 2)
            self.effort.spend("think")
            self.effort.spend("key", self._rules.label_keys)
            pairs.append(DecidedPair(phrase=label, exhaustive=True, masks=drawn))
        return pairs

    def _own(self, pair: Pair, kind: DecisionKind, instances: Sequence[Instance]) -> DecidedPair:
        """The task's pair as the first of an edit that adds others: what `kind` alone would have said."""
        if pair.polarity == "positive" or kind == "accept":
            return edited_pair(pair, instances)  # without instances: a negative
        drawn = [self._drawing.mask(self._truth.mask(n)) for n in self._truth.holding(pair.phrase)]
        return edited_pair(pair, drawn)

    # --- the common part

    def _is_right(self, number: int, mask: Mask) -> bool:
        return is_right(self._truth.mask(number), _array(mask), self._rules)

    def _noticed(self, numbers: Iterable[int]) -> Iterable[int]:
        """Objects that are not overlooked, the largest first."""
        ordered = sorted(numbers, key=lambda number: -self._truth.objects[number].area)
        return [number for number in ordered if not self._nature.misses()]

    def _choice(
        self, kind: DecisionKind, pairs: Sequence[DecidedPair] = (), added: Sequence[DecidedPair] = ()
    ) -> Choice:
        return Choice(
            kind=kind,
            effort=self.effort,
            pairs=pairs,
            masks_made=self._drawing.made,
            by_hand=self._drawing.by_hand,
            added=[pair.phrase for pair in added],
        )


def uncovered(task: ReviewTask, truth: TrueImage) -> dict[str, list[int]]:
    """Labels for the objects that no positive phrase of the task's image holds for, with all their instances.

    Without labels that the image has already: as a negative, which its own task puts right.
    """
    phrases = {one.phrase: one.polarity == "positive" for one in task.siblings}
    if task.pair is not None:
        phrases[task.pair.phrase] = task.pair.polarity == "positive"
    covered = {n for phrase, positive in phrases.items() if positive for n in truth.holding(phrase)}
    found: dict[str, list[int]] = {}
    for number, thing in enumerate(truth.objects):
        if number not in covered and thing.label not in phrases:
            found[thing.label] = truth.holding(thing.label)
    return found


def _counts(mask: Mask) -> bytes:
    return mask.rle.counts.encode("ascii")


def _array(mask: Mask) -> NDArray[np.bool_]:
    height, width = mask.rle.size
    return masks.decode(_counts(mask), height, width)
