"""Sprites: each kind is a list of polygons in the unit square, filled with the body's colour and pattern or a fixed colour."""
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
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + _CIRCLE * np.array([(x1 - x0) / 2, (y1 - y0) / 2])


def _rect(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def _poly(*points: tuple[float, float]) -> Polygon:
    return np.array(points, np.float64)


GLASS, DARK, BROWN, SKIN = (170, 215, 235), (25, 25, 28), (110, 70, 35), (235, 190, 155)
GREY, CREAM, COFFEE, EYE = (130, 130, 135), (250, 250, 250), (90, 55, 30), (120, 220, 90)

SPRITES: dict[str, tuple[float, list[tuple[Polygon, Fill]]]] = {
    "bus": (1.9, [
        (_rect(0, .08, 1, .82), None),
        *[(_rect(x, .18, x + .15, .44), GLASS) for x in (.05, .25, .45, .65)],
        (_rect(.85, .18, .97, .7), GLASS), (_oval(.12, .68, .28, 1), DARK), (_oval(.7, .68, .86, 1), DARK)]),
    "car": (1.9, [
        (_poly((0, .5), (.18, .45), (.32, .12), (.7, .12), (.84, .45), (1, .52), (1, .82), (0, .82)), None),
        (_poly((.25, .45), (.36, .2), (.49, .2), (.49, .45)), GLASS),
        (_poly((.53, .45), (.53, .2), (.67, .2), (.77, .45)), GLASS),
        (_oval(.12, .62, .32, 1), DARK), (_oval(.68, .62, .88, 1), DARK)]),
    "tree": (.75, [
        (_poly((.5, 0), (.82, .3), (.7, .3), (1, .7), (0, .7), (.3, .3), (.18, .3)), None),
        (_rect(.42, .7, .58, 1), BROWN)]),
    "house": (1.05, [
        (_rect(.08, .42, .92, 1), None), (_poly((.5, 0), (1, .44), (0, .44)), BROWN), (_rect(.42, .66, .6, 1), DARK),
        (_rect(.16, .54, .34, .74), GLASS), (_rect(.68, .54, .86, .74), GLASS)]),
    "person": (.45, [
        (_poly((.15, .26), (.85, .26), (1, .6), (.82, .62), (.75, .42), (.78, .64), (.22, .64), (.25, .42), (.18, .62),
               (0, .6)), None),
        (_rect(.24, .62, .46, 1), DARK), (_rect(.54, .62, .76, 1), DARK), (_oval(.28, 0, .72, .25), SKIN)]),
    "cat": (.85, [
        (_oval(.15, .42, .85, 1), None), (_oval(.2, .08, .8, .56), None),
        (_poly((.2, .28), (.2, 0), (.45, .14)), None), (_poly((.8, .28), (.8, 0), (.55, .14)), None),
        (_poly((.8, .9), (1, .6), (1, .4), (.93, .4), (.9, .6), (.75, .75)), None),
        (_oval(.32, .24, .43, .36), EYE), (_oval(.57, .24, .68, .36), EYE),
        (_poly((.45, .4), (.55, .4), (.5, .47)), (240, 140, 150))]),
    "dog": (1.3, [
        (_oval(.12, .32, .78, .76), None),
        *[(_rect(x0, y, x1, 1), None) for x0, x1, y in
          ((.18, .28, .55), (.33, .42, .6), (.55, .64, .6), (.67, .76, .55))],
        (_oval(.62, .06, .95, .5), None), (_rect(.8, .24, 1, .44), None),
        (_poly((.16, .5), (0, .15), (.07, .12), (.25, .4)), None), (_oval(.64, .1, .75, .48), BROWN),
        (_oval(.8, .16, .86, .24), DARK), (_oval(.94, .22, 1, .32), DARK)]),
    "boat": (1.15, [
        (_poly((0, .68), (1, .68), (.82, 1), (.18, 1)), None), (_rect(.46, 0, .51, .7), BROWN),
        (_poly((.54, .03), (.95, .6), (.54, .6)), CREAM), (_poly((.43, .15), (.43, .6), (.12, .6)), CREAM)]),
    "ball": (1.0, [(_oval(0, 0, 1, 1), None), (_oval(.2, .12, .42, .32), CREAM)]),
    "cup": (.95, [
        (_oval(.6, .3, 1, .78), None), (_oval(.7, .4, .9, .68), GREY),
        (_poly((0, .12), (.76, .12), (.66, 1), (.1, 1)), None), (_oval(0, 0, .76, .22), COFFEE)]),
    "lamp": (.7, [
        (_poly((.28, 0), (.72, 0), (1, .5), (0, .5)), None), (_rect(.45, .5, .55, .9), GREY),
        (_oval(.2, .86, .8, 1), GREY), (_oval(.4, .46, .6, .58), (255, 240, 150))]),
    "fish": (1.6, [
        (_oval(0, .1, .78, .9), None), (_poly((.7, .5), (1, .08), (.92, .5), (1, .92)), None),
        (_poly((.3, .14), (.5, 0), (.6, .2)), None), (_oval(.12, .32, .24, .5), CREAM),
        (_oval(.15, .36, .21, .46), DARK)]),
}


def _second_colour(colour: str, body: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The pattern's other colour: lighter on dark bodies, darker on light ones, grey on white."""
    if colour == "white":
        return np.array([125.0, 125.0, 125.0])
    luminance = float(body @ np.array([0.3, 0.59, 0.11]))
    return body * 0.25 + 255 * 0.75 if luminance < 140 else body * 0.22


def _pattern(rng: np.random.Generator, pattern: str, width: int, height: int, pitch: float) -> npt.NDArray[np.bool_]:
    """Where the second colour shows, bool [height, width]."""
    y, x = np.ogrid[0:height, 0:width]
    x = x + rng.integers(50)
    y = y + rng.integers(50)
    if pattern == "striped":
        angle = float(rng.choice([0.0, math.pi / 4, math.pi / 2]))
        return np.asarray(((x * math.cos(angle) + y * math.sin(angle)) % pitch) < pitch * 0.48)
    if pattern == "spotted":
        row = (y // pitch).astype(np.int64)
        across = (x + (row % 2) * pitch * 0.5) % pitch - pitch / 2
        return np.asarray(across**2 + ((y % pitch) - pitch / 2) ** 2 < (pitch * 0.3) ** 2)
    square = pitch * 0.62
    return np.asarray(((x // square + y // square) % 2) > 0.5)


def draw_sprite(
    rng: np.random.Generator, colour: str, pattern: str, kind: str, size: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """One sprite whose longer side is about `size` pixels, slightly turned, stretched, shaded and maybe mirrored.

    Returns colours float32 [h, w, 3] in 0..255 and opacity uint8 [h, w].
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
    if pattern == "plain":
        canvas = Image.new("RGB", big, (int(body[0]), int(body[1]), int(body[2])))
    else:
        pitch = max(size * rng.uniform(0.15, 0.2), 4.5) * SUPERSAMPLING
        where = _pattern(rng, pattern, big[0], big[1], pitch)
        second = _second_colour(colour, body).astype(np.uint8)
        canvas = Image.fromarray(np.where(where[..., None], second, body.astype(np.uint8)))
    opacity = Image.new("L", big, 0)
    paint, cover = ImageDraw.Draw(canvas), ImageDraw.Draw(opacity)
    tint = rng.uniform(0.85, 1.1)
    for polygon, fill in shapes:
        points = ((polygon - 0.5) @ turn + centre).ravel().tolist()
        cover.polygon(points, fill=255)
        if fill is not None:
            paint.polygon(points, fill=(min(255, int(fill[0] * tint)), min(255, int(fill[1] * tint)),
                                        min(255, int(fill[2] * tint))))
    alpha = np.asarray(opacity.reduce(SUPERSAMPLING))
    rgb = np.asarray(canvas.reduce(SUPERSAMPLING)).astype(np.float32)
    shade = 1 + np.linspace(rng.uniform(0, 0.15), -rng.uniform(0, 0.2), alpha.shape[0], dtype=np.float32)
    return rgb * shade[:, None, None], alpha
