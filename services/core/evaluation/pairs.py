"""What an evaluation reads: pairs with their instances, and bare results, before anything is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PairId = int | str


@dataclass(frozen=True, slots=True)
class Instance:
    """One mask: COCO compressed run lengths at its pair's size.

    `score` is 0..1; None where whoever made the mask states it without one, which counts as certain. `crowd`
    marks a segment over several instances that are not separated.
    """

    counts: bytes
    score: float | None = None
    crowd: bool = False

    @property
    def certainty(self) -> float:
        """The score; 1 for a mask stated without one."""
        return 1.0 if self.score is None else self.score


@dataclass(frozen=True, slots=True)
class Pair:
    """An (image, phrase) pair. One without instances says that the phrase is absent.

    `exhaustive` is None where the file does not say. `presence` is the stated probability that the phrase is
    in the image; `quality` the stated probability that the whole pair is right; None where nothing is stated.
    """

    id: PairId
    file_name: str
    phrase: str
    height: int
    width: int
    instances: tuple[Instance, ...] = ()
    exhaustive: bool | None = None
    presence: float | None = None
    quality: float | None = None
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class PairSet:
    """The pairs of one SA-Co file, in its order; `name` is the file's, for messages."""

    name: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """A COCO results file: instances by pair id, with the (height, width) that each mask claims."""

    name: str
    instances: Mapping[PairId, tuple[tuple[Instance, tuple[int, int]], ...]]
