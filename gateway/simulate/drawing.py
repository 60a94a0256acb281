"""A person makes the mask of one instance: by clicks, else by a box and clicks, else by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.schemas import HardNegative, PromptMask, PromptPoint, Segmented
from gateway.simulate.costs import Effort
from gateway.simulate.mistakes import Nature
from gateway.simulate.rules import Rules, iou, is_right, next_click, outlined, slipped, tight_box
from services.core import masks


class Desk(Protocol):
    """What a person's page asks the gateway while they work. `gateway.client.Client` is one."""

    def segment(
        self,
        image_id: str,
        *,
        points: Sequence[PromptPoint] = (),
        boxes: Sequence[tuple[float, float, float, float]] = (),
        mask: PromptMask | None = None,
    ) -> Segmented:
        """Masks from prompts."""

    def hard_negatives(
        self, image_id: str, *, phrases: Sequence[str] = (), limit: int = 10
    ) -> list[HardNegative]:
        """Phrases that may be confused with those present."""


class Drawing:
    """The making of masks on one image: asks the desk, spends effort, errs by nature."""

    def __init__(self, desk: Desk, image_id: str, effort: Effort, nature: Nature, rules: Rules) -> None:
        self._desk, self._image_id = desk, image_id
        self._effort, self._nature, self._rules = effort, nature, rules
        self.made = 0
        """Masks that were made or corrected."""
        self.by_hand = 0
        """Of these, the ones that had to be drawn by hand."""

    def mask(self, truth: NDArray[np.bool_], start: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """The mask of an object, bool [H, W] as `truth`; `start`: a mask of it that is to be corrected."""
        self.made += 1
        rules = self._rules
        best = self._clicked(truth, start)
        if not is_right(truth, best, rules):
            self._effort.spend("key")  # Esc: the clicks are cleared
            self._effort.spend("box")
            boxed = self._ask((), [tight_box(truth)], None, truth.shape)
            best = max(best, boxed, key=lambda one: iou(one, truth))
            if iou(best, truth) >= rules.repair_iou and not is_right(truth, best, rules):
                best = self._clicked(truth, best)
        if not is_right(truth, best, rules) and not (best.any() and self._nature.accepts_wrong_mask()):
            self._effort.spend("outline")
            self.by_hand += 1
            best = outlined(truth, self._nature.outline_error())
        return best

    def _clicked(self, truth: NDArray[np.bool_], start: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """The best mask that clicks give; without any that does good, `start`, else an empty one."""
        rules, (height, width) = self._rules, truth.shape
        best = np.zeros_like(truth) if start is None else start
        quality = iou(best, truth)
        points: list[PromptPoint] = []
        for number in range(rules.most_clicks):
            if quality >= rules.satisfied_iou:
                break
            x, y, positive = next_click(truth, best)
            landed = self._nature.clicked(x, y, width, height)
            self._effort.spend("first_click" if start is None and not number else "next_click")
            points.append(PromptPoint(x=landed[0] + 0.5, y=landed[1] + 0.5, positive=positive))
            answer = self._ask(points, (), best if best.any() else None, truth.shape)
            gain = iou(answer, truth) - quality
            if gain > 0:
                best, quality = answer, quality + gain
            if gain < rules.least_gain:
                self._effort.spend("key")  # Ctrl+Z: the click did no good
                points.pop()
                if not slipped((x, y), landed):
                    break
        return best

    def _ask(
        self,
        points: Sequence[PromptPoint],
        boxes: Sequence[tuple[float, float, float, float]],
        so_far: NDArray[np.bool_] | None,
        shape: tuple[int, ...],
    ) -> NDArray[np.bool_]:
        height, width = shape
        prompt = None
        if so_far is not None:
            prompt = PromptMask(size=(height, width), counts=masks.encode(so_far).decode("ascii"))
        answer = self._desk.segment(self._image_id, points=points, boxes=boxes, mask=prompt).masks[0]
        return masks.decode(answer.rle.counts.encode("ascii"), height, width)
