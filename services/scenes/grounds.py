"""Textured grounds: a gradient of two muted colours, sometimes a horizon or bands, with noise at several
scales.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.core.kept import Kept
from services.scenes.settings import SceneSettings

TEXTURES = 24
TEXTURE_SEED = 7
TEXTURE_BYTES = 64 << 20
"""Textures of the last sizes kept for the next scenes."""
SCALES = ((4, 1.0), (16, 0.6), (64, 0.4), (256, 0.35))
"""Cells a side of each of a texture's layers, and the layer's amplitude."""


@lru_cache(maxsize=1)
def _layers() -> list[list[tuple[Image.Image, np.float32]]]:
    """Of each texture random cells at every scale, with their weights."""
    rng = np.random.default_rng(TEXTURE_SEED)
    return [
        [
            (
                Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32)),
                np.float32(rng.random() * 1.2),
            )
            for cells, _ in SCALES
        ]
        for _ in range(TEXTURES)
    ]


_drawn: Kept[tuple[int, int, int], npt.NDArray[np.float32]] = Kept(
    TEXTURE_BYTES, weigh=lambda one: one.nbytes
)


def _texture(width: int, height: int, number: int) -> npt.NDArray[np.float32]:
    """A smooth random field of the image's size; scenes shift and scale it."""
    field = _drawn.get((width, height, number))
    if field is None:
        field = np.zeros((height, width), np.float32)
        for (cells, weight), (_, amplitude) in zip(_layers()[number], SCALES, strict=True):
            smooth = cells.resize((width, height), Image.Resampling.BICUBIC)
            field += amplitude * np.asarray(smooth) * weight
        _drawn.put((width, height, number), field)
    return field


@lru_cache(maxsize=4)
def _axes(width: int, height: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    side = np.float32(min(width, height))
    return x / side, y / side


def draw_ground(rng: np.random.Generator, settings: SceneSettings) -> npt.NDArray[np.float32]:
    """A ground, float32 [3, height, width] in about 0..255: by channel, which is several times quicker to
    work on than with the channels last.
    """
    width, height = settings.width, settings.height
    x, y = _axes(width, height)
    first = rng.uniform(60, 225, 3)
    second = np.clip(first + rng.uniform(-70, 70, 3), 30, 235)
    first, second = first * 0.5 + first.mean() * 0.5, second * 0.5 + second.mean() * 0.5
    angle = rng.random() * 2 * np.pi
    ramp = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    ramp = (ramp - ramp.min()) / (np.ptp(ramp) + np.float32(1e-6))
    ground = np.empty((3, height, width), np.float32)
    wide = np.empty((height, width))
    for plane, start, step in zip(ground, first, second - first, strict=True):
        np.multiply(ramp, step, out=wide, dtype=np.float64)
        np.add(wide, start, out=plane, casting="same_kind")
    style = rng.integers(4)
    if style == 1:
        horizon = int(height * rng.uniform(0.3, 0.7))
        below = ground[:, horizon:]
        below[:] = np.clip(below + rng.uniform(-45, 45, 3)[:, None, None], 20, 240)
    if style == 2:
        phase = (np.float32(np.cos(angle * 3)) * x + np.float32(np.sin(angle * 3)) * y) * np.float32(
            rng.uniform(15, 70)
        )
        ground += (np.sin(phase) > 0) * np.float32(rng.uniform(-18, 18))
    shift = (int(rng.integers(height)), int(rng.integers(width)))
    texture = np.roll(_texture(width, height, int(rng.integers(TEXTURES))), shift, (0, 1))
    texture *= np.float32(rng.uniform(2, 14))
    ground += texture
    return ground
