"""Held-out scenes with everything that is true of them.

Scenes of one seed are numbered from 0 and made when they are needed: the same number, the same scene. Their
settings vary as those of the training's validation scenes do, but no seed is shared with those.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from services.core import masks
from services.core.phrases import normalise
from services.scenes.arrays import HELD_OUT_SEEDS, varied_settings
from services.scenes.ontology import ontology
from services.scenes.scene import Scene, make_scene

SIDE = 256
SEEDS = (3, 4, 5)
"""Seeds of scenes that are measured on, each a range of scenes of its own."""
CALIBRATION_SEED = 2
"""The seed of scenes that thresholds and calibrations are chosen on, and never measured on."""


@dataclass(frozen=True)
class KnownScene:
    """A scene, its PNG, and its truth. `seed` and `number` name it."""

    seed: int
    number: int
    scene: Scene
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the PNG, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.scene.ids.shape
        return height, width

    @cached_property
    def instances(self) -> list[bytes]:
        """RLE of each object's visible mask."""
        return [masks.encode(self.scene.mask(index)) for index in range(len(self.scene.instances))]

    @cached_property
    def full_phrases(self) -> dict[str, list[int]]:
        """Three-word phrases that hold, normalised, with their objects."""
        found: dict[str, list[int]] = {}
        for index, instance in enumerate(self.scene.instances):
            found.setdefault(normalise(" ".join(instance.composition)), []).append(index)
        return found

    def members(self, phrase: str) -> list[int]:
        """The objects that a phrase holds for: those whose colour, pattern and kind, or a more general word
        for the kind, include all of the phrase's words.
        """
        words = set(phrase.split())
        found = []
        for index, instance in enumerate(self.scene.instances):
            general = (normalise(word) for word in ontology().hypernyms[instance.kind])
            own = {instance.colour, instance.pattern}
            names = [normalise(instance.kind), *general]
            if any(words <= own | set(name.split()) for name in names):
                found.append(index)
        return found

    def rng(self, purpose: int) -> np.random.Generator:
        """Chance of its own for each purpose; the same scene, the same chance."""
        return np.random.default_rng([self.seed, self.number, purpose])


def known_scene(seed: int, number: int) -> KnownScene:
    """Scene `number` of a seed. Where a scene came out without any object, the next of its own is taken."""
    of = seed * HELD_OUT_SEEDS + number
    scene = make_scene(of, varied_settings(of, SIDE, measuring=True))
    again = HELD_OUT_SEEDS // 2
    while not scene.instances:
        scene = make_scene(of + again, varied_settings(of, SIDE, measuring=True))
        again += HELD_OUT_SEEDS // 100
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, "PNG", compress_level=1)
    return KnownScene(seed, number, scene, buffer.getvalue())
