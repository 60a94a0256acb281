"""Sprites: each kind is a list of polygons in the unit square, filled with the body's colour and pattern or a
fixed colour.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from services.scenes.ontology import ontology

Polygon = npt.NDArray[np.float64]
Fill = tuple[int, int, int] | None
"""None is the body: the sprite's own colour and pattern."""

SUPERSAMPLING = 3
_ANGLES = np.linspace(0, 2 * math.pi, 25)[:-1]
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)


def _oval(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    radii = np.array([(x1 - x0) / 2, (y1 - y0) / 2])
    oval: Polygon = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + _CIRCLE * radii
    return oval


def _rect(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def _poly(*points: tuple[float, float]) -> Polygon:
    return np.array(points, np.float64)


GLASS, DARK, BROWN, SKIN = (170, 215, 235), (25, 25, 28), (110, 70, 35), (235, 190, 155)
GREY, CREAM, COFFEE, EYE = (130, 130, 135), (250, 250, 250), (90, 55, 30), (120, 220, 90)

SPRITES: dict[str, tuple[float, list[tuple[Polygon, Fill]]]] = {
    "bus": (
        1.9,
        [
            (_rect(0, 0.08, 1, 0.82), None),
            *[(_rect(x, 0.18, x + 0.15, 0.44), GLASS) for x in (0.05, 0.25, 0.45, 0.65)],
            (_rect(0.85, 0.18, 0.97, 0.7), GLASS),
            (_oval(0.12, 0.68, 0.28, 1), DARK),
            (_oval(0.7, 0.68, 0.86, 1), DARK),
        ],
    ),
    "car": (
        1.9,
        [
            (
                _poly(
                    (0, 0.5),
                    (0.18, 0.45),
                    (0.32, 0.12),
                    (0.7, 0.12),
                    (0.84, 0.45),
                    (1, 0.52),
                    (1, 0.82),
                    (0, 0.82),
                ),
                None,
            ),
            (_poly((0.25, 0.45), (0.36, 0.2), (0.49, 0.2), (0.49, 0.45)), GLASS),
            (_poly((0.53, 0.45), (0.53, 0.2), (0.67, 0.2), (0.77, 0.45)), GLASS),
            (_oval(0.12, 0.62, 0.32, 1), DARK),
            (_oval(0.68, 0.62, 0.88, 1), DARK),
        ],
    ),
    "tree": (
        0.75,
        [
            (_poly((0.5, 0), (0.82, 0.3), (0.7, 0.3), (1, 0.7), (0, 0.7), (0.3, 0.3), (0.18, 0.3)), None),
            (_rect(0.42, 0.7, 0.58, 1), BROWN),
        ],
    ),
    "house": (
        1.05,
        [
            (_rect(0.08, 0.42, 0.92, 1), None),
            (_poly((0.5, 0), (1, 0.44), (0, 0.44)), BROWN),
            (_rect(0.42, 0.66, 0.6, 1), DARK),
            (_rect(0.16, 0.54, 0.34, 0.74), GLASS),
            (_rect(0.68, 0.54, 0.86, 0.74), GLASS),
        ],
    ),
    "person": (
        0.45,
        [
            (
                _poly(
                    (0.15, 0.26),
                    (0.85, 0.26),
                    (1, 0.6),
                    (0.82, 0.62),
                    (0.75, 0.42),
                    (0.78, 0.64),
                    (0.22, 0.64),
                    (0.25, 0.42),
                    (0.18, 0.62),
                    (0, 0.6),
                ),
                None,
            ),
            (_rect(0.24, 0.62, 0.46, 1), DARK),
            (_rect(0.54, 0.62, 0.76, 1), DARK),
            (_oval(0.28, 0, 0.72, 0.25), SKIN),
        ],
    ),
    "cat": (
        0.85,
        [
            (_oval(0.15, 0.42, 0.85, 1), None),
            (_oval(0.2, 0.08, 0.8, 0.56), None),
            (_poly((0.2, 0.28), (0.2, 0), (0.45, 0.14)), None),
            (_poly((0.8, 0.28), (0.8, 0), (0.55, 0.14)), None),
            (_poly((0.8, 0.9), (1, 0.6), (1, 0.4), (0.93, 0.4), (0.9, 0.6), (0.75, 0.75)), None),
            (_oval(0.32, 0.24, 0.43, 0.36), EYE),
            (_oval(0.57, 0.24, 0.68, 0.36), EYE),
            (_poly((0.45, 0.4), (0.55, 0.4), (0.5, 0.47)), (240, 140, 150)),
        ],
    ),
    "dog": (
        1.3,
        [
            (_oval(0.12, 0.32, 0.78, 0.76), None),
            *[
                (_rect(x0, y, x1, 1), None)
                for x0, x1, y in (
                    (0.18, 0.28, 0.55),
                    (0.33, 0.42, 0.6),
                    (0.55, 0.64, 0.6),
                    (0.67, 0.76, 0.55),
                )
            ],
            (_oval(0.62, 0.06, 0.95, 0.5), None),
            (_rect(0.8, 0.24, 1, 0.44), None),
            (_poly((0.16, 0.5), (0, 0.15), (0.07, 0.12), (0.25, 0.4)), None),
            (_oval(0.64, 0.1, 0.75, 0.48), BROWN),
            (_oval(0.8, 0.16, 0.86, 0.24), DARK),
            (_oval(0.94, 0.22, 1, 0.32), DARK),
        ],
    ),
    "boat": (
        1.15,
        [
            (_poly((0, 0.68), (1, 0.68), (0.82, 1), (0.18, 1)), None),
            (_rect(0.46, 0, 0.51, 0.7), BROWN),
            (_poly((0.54, 0.03), (0.95, 0.6), (0.54, 0.6)), CREAM),
            (_poly((0.43, 0.15), (0.43, 0.6), (0.12, 0.6)), CREAM),
        ],
    ),
    "ball": (1.0, [(_oval(0, 0, 1, 1), None), (_oval(0.2, 0.12, 0.42, 0.32), CREAM)]),
    "cup": (
        0.95,
        [
            (_oval(0.6, 0.3, 1, 0.78), None),
            (_oval(0.7, 0.4, 0.9, 0.68), GREY),
            (_poly((0, 0.12), (0.76, 0.12), (0.66, 1), (0.1, 1)), None),
            (_oval(0, 0, 0.76, 0.22), COFFEE),
        ],
    ),
    "lamp": (
        0.7,
        [
            (_poly((0.28, 0), (0.72, 0), (1, 0.5), (0, 0.5)), None),
            (_rect(0.45, 0.5, 0.55, 0.9), GREY),
            (_oval(0.2, 0.86, 0.8, 1), GREY),
            (_oval(0.4, 0.46, 0.6, 0.58), (255, 240, 150)),
        ],
    ),
    "fish": (
        1.6,
        [
            (_oval(0, 0.1, 0.78, 0.9), None),
            (_poly((0.7, 0.5), (1, 0.08), (0.92, 0.5), (1, 0.92)), None),
            (_poly((0.3, 0.14), (0.5, 0), (0.6, 0.2)), None),
            (_oval(0.12, 0.32, 0.24, 0.5), CREAM),
            (_oval(0.15, 0.36, 0.21, 0.46), DARK),
        ],
    ),
}


def _second_colour(colour: str, body: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The pattern's other colour: lighter on dark bodies, darker on light ones, grey on white."""
    if colour == "white":
        return np.array([125.0, 125.0, 125.0])
    luminance = float(body @ np.array([0.3, 0.59, 0.11]))
    return body * 0.25 + 255 * 0.75 if luminance < 140 else body * 0.22


def _pattern(
    rng: np.random.Generator, pattern: str, width: int, height: int, pitch: float
) -> npt.NDArray[np.bool_]:
    """Where the second colour shows, bool [height, width]."""
    y, x = np.ogrid[0:height, 0:width]
    x = x + rng.integers(50)
    y = y + rng.integers(50)
    if pattern == "striped":
        angle = float(rng.choice([0.0, math.pi / 4, math.pi / 2]))
        stripe = (x * math.cos(angle) + y * math.sin(angle)) / pitch
        return np.asarray(stripe - np.floor(stripe) < 0.48)
    if pattern == "spotted":
        # Every other row of spots is moved by half a pitch.
        across = (x + np.array([[0], [pitch * 0.5]])) % pitch - pitch / 2
        row = (y[:, 0] // pitch).astype(np.int64) % 2
        return np.asarray((across**2)[row] + ((y % pitch) - pitch / 2) ** 2 < (pitch * 0.3) ** 2)
    square = pitch * 0.62
    return np.asarray((x // square % 2) != (y // square % 2))


def draw_sprite(
    rng: np.random.Generator,
    colour: str,
    pattern: str,
    kind: str,
    size: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """One sprite whose longer side is about `size` pixels, slightly turned, stretched, shaded and maybe
    mirrored.

    Returns colours float32 [3, h, w] in 0..255 and opacity uint8 [h, w].
    """
    aspect, shapes = SPRITES[kind]
    aspect *= rng.uniform(0.88, 1.14)
    w, h = (size, size / aspect) if aspect >= 1 else (size * aspect, size)
    angle = math.radians(rng.uniform(-14, 14))
    cos, sin = math.cos(angle), math.sin(angle)
    mirror = -1 if rng.random() < 0.5 else 1
    canvas_w, canvas_h = int(abs(w * cos) + abs(h * sin)) + 3, int(abs(w * sin) + abs(h * cos)) + 3
    turn = np.array([[cos * w * mirror, sin * w * mirror], [-sin * h, cos * h]]) * SUPERSAMPLING
    centre = np.array([canvas_w, canvas_h]) * SUPERSAMPLING / 2
    big = (canvas_w * SUPERSAMPLING, canvas_h * SUPERSAMPLING)

    body = np.clip(np.array(ontology().rgb[colour], np.float64) + rng.uniform(-16, 16, 3), 0, 255)
    canvas = Image.new("RGB", big, _whole(body))
    if pattern != "plain":
        pitch = max(size * rng.uniform(0.15, 0.2), 4.5) * SUPERSAMPLING
        where = _pattern(rng, pattern, big[0], big[1], pitch)
        canvas.paste(_whole(_second_colour(colour, body)), mask=Image.fromarray(where))
    opacity = Image.new("L", big, 0)
    paint, cover = ImageDraw.Draw(canvas), ImageDraw.Draw(opacity)
    tint = rng.uniform(0.85, 1.1)
    for polygon, fill in shapes:
        points = ((polygon - 0.5) @ turn + centre).ravel().tolist()
        cover.polygon(points, fill=255)
        if fill is not None:
            paint.polygon(points, fill=_whole(np.minimum(np.array(fill) * tint, 255)))
    alpha = np.asarray(opacity.reduce(SUPERSAMPLING))
    small = canvas.reduce(SUPERSAMPLING)
    rgb = np.stack([np.asarray(small.getchannel(number), np.float32) for number in range(3)])
    shade = 1 + np.linspace(rng.uniform(0, 0.15), -rng.uniform(0, 0.2), alpha.shape[0], dtype=np.float32)
    return rgb * shade[:, None], alpha


def _whole(colour: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """A colour as Pillow takes it."""
    red, green, blue = colour.tolist()
    return int(red), int(green), int(blue)
