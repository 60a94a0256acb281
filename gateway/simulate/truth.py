"""What is truly in an image: its objects, and which phrases hold for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from services.core import masks
from services.core.ontology import Ontology


@dataclass(frozen=True, slots=True)
class TrueObject:
    """One object: what it is, and the COCO run lengths of what is visible of it."""

    kind: str
    colour: str
    pattern: str
    counts: bytes
    area: int

    @property
    def whole_phrase(self) -> str:
        """All that can be said of it: `yellow striped bus`."""
        return f"{self.colour} {self.pattern} {self.kind}"

    @property
    def label(self) -> str:
        """What the guideline of stage 1 calls it, colour and kind: `yellow bus`."""
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class TrueImage:
    """A scene: its name and bytes as submitted, its size in pixels, its objects from back to front."""

    id: str
    name: str
    content: bytes = field(repr=False)
    width: int
    height: int
    objects: tuple[TrueObject, ...]

    def holding(self, phrase: str) -> list[int]:
        """The objects that a normalised phrase holds for; none: it is absent."""
        known = ontology()
        return [
            number
            for number, thing in enumerate(self.objects)
            if known.is_ancestor(phrase, thing.whole_phrase)
        ]

    def mask(self, number: int) -> NDArray[np.bool_]:
        """The visible mask of an object, bool [height, width]."""
        return masks.decode(self.objects[number].counts, self.height, self.width)

    def nearly_right(self, number: int) -> list[str]:
        """Labels that are wrong for an object by one word, nearest first."""
        known, thing = ontology(), self.objects[number]
        others = [*known.swaps(thing.label), *(f"{thing.colour} {k}" for k in known.siblings(thing.kind))]
        return [label for label in others if not known.is_ancestor(label, thing.whole_phrase)]

    def overlaps(self, drawn: Sequence[bytes], numbers: Sequence[int]) -> NDArray[np.float64]:
        """IoU float [drawn, numbers] of masks with objects."""
        return masks.iou(drawn, [self.objects[n].counts for n in numbers], self.height, self.width)


@cache
def ontology() -> Ontology:
    """The ontology by which phrases hold, read once: a yellow bus is a bus and a vehicle."""
    return Ontology.load()
