"""A picture with its masks on it: one colour a phrase, instances outlined, labelled with phrase and score."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from services.core import masks
from services.core.errors import InvalidInput
from tercet.v1 import concepts_pb2

# Okabe and Ito, "Color Universal Design" (2008), without black: told apart with any kind of colour vision.
PALETTE: Final[tuple[tuple[int, int, int], ...]] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_FILL: Final = 0.45
_Colour = tuple[int, int, int]
_Box = tuple[int, int, int, int]


def render(
    content: bytes, pairs: Sequence[concepts_pb2.Pair], *, phrase: str | None = None, longest_side: int = 2048
) -> bytes:
    """PNG of the image with the masks of its positive pairs, at most `longest_side` pixels a side.

    A phrase has its colour by its place among all the image's positive phrases, also when only `phrase` is
    shown. A pair without instances is named in the corner. Raises `InvalidInput` for masks of another size.
    """
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGB")
    scale = min(1.0, longest_side / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS) if scale < 1 else picture).copy()
    positives = sorted(
        (pair for pair in pairs if pair.polarity == concepts_pb2.POLARITY_POSITIVE),
        key=lambda pair: pair.phrase,
    )
    width = max(2, round(max(size) / 400))
    labels: list[tuple[str, _Colour, _Box]] = []
    shown: list[tuple[concepts_pb2.Pair, concepts_pb2.Mask, _Colour]] = []
    for place, pair in enumerate(positives):
        if phrase is not None and pair.phrase != phrase:
            continue
        colour = PALETTE[place % len(PALETTE)]
        shown += [(pair, mask, colour) for mask in pair.masks]
        if not pair.masks:
            labels.append((f"{pair.phrase}: none", colour, (0, 0, 0, 0)))
    # Large ones first, so that small ones on top of them stay visible.
    for pair, mask, colour in sorted(shown, key=lambda item: -item[1].area):
        box = _paint(pixels, mask, picture.size, colour, width)
        if box is not None:
            labels.append((f"{pair.phrase} {mask.score or pair.score:.2f}", colour, box))
    return _png(_labelled(Image.fromarray(pixels), labels))


def _paint(
    pixels: NDArray[np.uint8], mask: concepts_pb2.Mask, full: tuple[int, int], colour: _Colour, width: int
) -> _Box | None:
    """Tint and outline the mask in place; its box (left, top, right, bottom) in `pixels`, None when empty."""
    if (mask.width, mask.height) != full:
        raise InvalidInput(f"the mask is {mask.width} x {mask.height}, the image {full[0]} x {full[1]}")
    whole = masks.decode(mask.counts, mask.height, mask.width)
    height, breadth = pixels.shape[:2]
    if (breadth, height) != full:
        small = Image.fromarray(whole).resize((breadth, height), Image.Resampling.NEAREST)
        whole = np.asarray(small).astype(np.bool_)
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not len(rows):
        return None
    # Only the box with its outline is worked on: many small masks on a large picture stay cheap.
    top, bottom = max(0, int(rows[0]) - width), min(height, int(rows[-1]) + 1 + width)
    left, right = max(0, int(columns[0]) - width), min(breadth, int(columns[-1]) + 1 + width)
    inside = whole[top:bottom, left:right]
    part = pixels[top:bottom, left:right]
    part[inside] = (part[inside] * (1 - _FILL) + np.array(colour) * _FILL).astype(np.uint8)
    # A dark line around the coloured one keeps the edge visible on a ground of the same colour.
    part[_grown(inside, width) & ~_grown(inside, width // 2)] = (20, 20, 20)
    part[_grown(inside, width // 2) & ~_shrunk(inside, (width + 1) // 2)] = colour
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask and the pixels up to `steps` away (4-neighbours)."""
    grown = mask.copy()
    for _ in range(steps):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        wider[:, 1:] |= grown[:, :-1]
        wider[:, :-1] |= grown[:, 1:]
        grown = wider
    return grown


def _shrunk(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask without the pixels up to `steps` from its edge; the picture's border is an edge too."""
    return ~_grown(~np.pad(mask, 1), steps)[1:-1, 1:-1]


def _labelled(picture: Image.Image, labels: Sequence[tuple[str, _Colour, _Box]]) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(11, round(max(picture.size) / 70)))
    placed: list[tuple[float, float, float, float]] = []
    for text, colour, (left, top, _, bottom) in labels:
        x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
        wide, high = x1 - x0 + 8, y1 - y0 + 6
        at = _free_place(picture.size, wide, high, (left, top, bottom), placed)
        placed.append((*at, at[0] + wide, at[1] + high))
        draw.rectangle((*at, at[0] + wide, at[1] + high), fill=colour, outline=(20, 20, 20))
        ink = (0, 0, 0) if _bright(colour) else (255, 255, 255)
        draw.text((at[0] + 4 - x0, at[1] + 3 - y0), text, font=font, fill=ink)
    return picture


def _free_place(
    size: tuple[int, int],
    wide: float,
    high: float,
    near: tuple[int, int, int],
    placed: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float]:
    """Above the box, else inside its top, else below; then further down until it hides no other label."""
    left, top, bottom = near
    x = min(max(0.0, left), max(0.0, size[0] - wide - 1))
    choices = [float(top) - high, float(top), float(bottom)] + [top + high * step for step in range(1, 40)]
    for y in choices:
        fits = y >= 0 and y + high < size[1]
        free = all(x + wide <= a or x >= c or y + high <= b or y >= d for a, b, c, d in placed)
        if fits and free:
            return x, y
    return x, min(max(0.0, top - high), max(0.0, size[1] - high - 1))


def _bright(colour: _Colour) -> bool:
    """Whether black is easier to read on it than white (relative luminance, ITU-R BT.709)."""
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2] > 115


def _png(picture: Image.Image) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG", compress_level=3)
    return encoded.getvalue()
