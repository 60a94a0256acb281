"""Scenes with known truth: objects placed one over another on a textured ground."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import find_objects

from services.scenes.grounds import draw_ground
from services.scenes.ontology import ontology
from services.scenes.settings import SceneSettings
from services.scenes.sprites import draw_sprite

Composition = tuple[str, str, str]
PLACEMENTS = 6
SMALLEST_VISIBLE = 45 / 256**2
"""No object is hidden so far that less of it shows than this share of a square image."""


@dataclass(frozen=True)
class Instance:
    """One object: what it is, its visible box xywh and its visible area, in pixels."""

    kind: str
    colour: str
    pattern: str
    box: tuple[int, int, int, int]
    area: int

    @property
    def composition(self) -> Composition:
        """(colour, pattern, kind)."""
        return self.colour, self.pattern, self.kind


@dataclass(frozen=True)
class Scene:
    """`image` uint8 [H, W, 3]; `ids` uint8 [H, W], 0 is ground and i + 1 the visible part of
    `instances[i]`.
    """

    seed: int
    image: npt.NDArray[np.uint8]
    ids: npt.NDArray[np.uint8]
    instances: tuple[Instance, ...]

    def mask(self, index: int) -> npt.NDArray[np.bool_]:
        """The visible mask of an instance, bool [H, W]."""
        return np.equal(self.ids, index + 1)


def _draw_composition(
    rng: np.random.Generator,
    settings: SceneSettings,
    earlier: list[Composition],
    crowd_kind: str | None,
) -> Composition:
    words = ontology()
    held_out = words.held_out
    if settings.held_out == "favour" and rng.random() < 0.12:
        return sorted(held_out)[rng.integers(len(held_out))]
    triples = words.compositions
    while True:
        if settings.long_tail > 0:
            weights = 1.0 / np.arange(1, len(triples) + 1) ** settings.long_tail
            rank = int(np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random()))
            # A fixed shuffle decides which composition has which rank.
            order = np.random.RandomState(1).permutation(len(triples))
            colour, pattern, kind = triples[order[min(rank, len(triples) - 1)]]
        else:
            colour, pattern, kind = triples[rng.integers(len(triples))]
        if crowd_kind is not None and rng.random() < 0.7:
            kind = crowd_kind
        if earlier and rng.random() < settings.near_duplicates:
            colour, pattern, kind = earlier[rng.integers(len(earlier))]
        if settings.held_out != "exclude" or (colour, pattern, kind) not in held_out:
            return colour, pattern, kind


def _finish(
    rng: np.random.Generator, canvas: npt.NDArray[np.float32], settings: SceneSettings
) -> npt.NDArray[np.uint8]:
    """Exposure, noise, rounding and JPEG of a canvas [3, H, W], which is written over."""
    canvas += np.float32(rng.standard_normal() * 4)
    if settings.noise > 0:
        noise = rng.standard_normal((*canvas.shape[1:], 3), np.float32) * np.float32(settings.noise)
        canvas += noise.transpose(2, 0, 1)
    planes = np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)
    image = np.dstack(list(planes))
    if settings.jpeg_quality is not None:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=settings.jpeg_quality)
        image = np.asarray(Image.open(buffer).convert("RGB"))
    return image


def make_scene(seed: int, settings: SceneSettings | None = None) -> Scene:
    """The scene of a seed; the same seed and settings always give the same scene.

    Later objects cover earlier ones. An object is placed only where 60 % of it lies inside the image and
    where every earlier object keeps at least `1 - occlusion` of itself in view; else it is left out.
    """
    settings = settings or SceneSettings()
    rng = np.random.default_rng(seed)
    width, height = settings.width, settings.height
    side = min(width, height)
    canvas = draw_ground(rng, settings)
    ids = np.zeros((height, width), np.uint8)
    crowded = rng.random() < settings.crowding
    crowd_kind = ontology().kinds[rng.integers(len(ontology().kinds))] if crowded else None
    largest = settings.size[1] * (0.5 if crowded else 1.0)
    smallest = min(settings.size[0], largest)
    reach = int(side * 60 / 256)
    keep = SMALLEST_VISIBLE * side * side
    compositions: list[Composition] = []
    whole: list[int] = []
    visible: list[int] = []
    centre = (0, 0)
    for _ in range(int(rng.integers(settings.objects[0], settings.objects[1] + 1))):
        composition = _draw_composition(rng, settings, compositions, crowd_kind)
        size = math.exp(rng.uniform(math.log(smallest * side), math.log(largest * side)))
        rgb, alpha = draw_sprite(rng, *composition, size)
        solid = alpha > 127
        h, w = alpha.shape
        for attempt in range(PLACEMENTS):
            x = int(rng.integers(-(w // 6), max(width - w + w // 6, 1 - w // 6)))
            y = int(rng.integers(-(h // 6), max(height - h + h // 6, 1 - h // 6)))
            if crowded and compositions and attempt < PLACEMENTS // 2:
                x = int(np.clip(centre[0] + rng.integers(-reach, reach + 1) - w // 2, 0, max(width - w, 0)))
                y = int(np.clip(centre[1] + rng.integers(-reach, reach + 1) - h // 2, 0, max(height - h, 0)))
            x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
            if x1 <= x0 or y1 <= y0:
                continue
            part = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
            shown = solid[part]
            area = int(shown.sum())
            if area < 0.6 * solid.sum() or area < keep:
                continue
            hidden = np.bincount(ids[y0:y1, x0:x1][shown], minlength=len(visible) + 1)[1:]
            floor = [max((1 - settings.occlusion) * full, keep) for full in whole]
            if all(have - hide >= least for have, hide, least in zip(visible, hidden, floor, strict=True)):
                break
        else:
            continue
        opacity = alpha[part].astype(np.float32) / 255
        region = canvas[:, y0:y1, x0:x1]
        region += (rgb[:, *part] - region) * opacity
        ids[y0:y1, x0:x1][shown] = len(visible) + 1
        visible = [have - int(hide) for have, hide in zip(visible, hidden, strict=True)] + [area]
        if not compositions:
            centre = ((x0 + x1) // 2, (y0 + y1) // 2)
        compositions.append(composition)
        whole.append(int(solid.sum()))
    instances = []
    for composition, area, (rows, columns) in zip(compositions, visible, find_objects(ids), strict=True):
        colour, pattern, kind = composition
        box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        instances.append(Instance(kind, colour, pattern, box, area))
    return Scene(seed, _finish(rng, canvas, settings), ids, tuple(instances))
