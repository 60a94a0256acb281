"""Images as the encoder takes them, kept for the next prompt about the same image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.core.kept import Kept
from services.networks.images import content_hash, decode_image, fit_longest_side, fit_within
from services.networks.sam.postprocessing import Frame

DETAIL_SIDE = 1024
"""Most pixels of the longer side of what a second look sees; an image kept takes at most 3 MB."""


@dataclass(frozen=True)
class Picture:
    """`key` is the SHA-256 of the encoded bytes; `pixels` uint8 [h, w, 3] at the size of `frame`'s input;
    `detail` uint8 [h, w, 3] the image itself, no longer than `DETAIL_SIDE`.
    """

    key: str
    frame: Frame
    pixels: npt.NDArray[np.uint8]
    detail: npt.NDArray[np.uint8]


class Pictures:
    """The last pictures. Thread-safe.

    To decode and shrink a photograph of 12 megapixels takes several times as long as a click on it: with its
    embedding kept, that would be all that the click waits for.
    """

    def __init__(self, capacity: int, side: int) -> None:
        self._side = side
        self._kept: Kept[str, Picture] = Kept(capacity)

    def get(self, encoded: bytes) -> Picture:
        """The picture, its longest side fitted to `side`. Raises `ModelError` for what is no image."""
        key = content_hash(encoded)
        known = self._kept.get(key)
        if known is not None:
            return known
        pixels = decode_image(encoded)
        fitted = fit_longest_side(pixels, self._side)
        frame = Frame(pixels.shape[0], pixels.shape[1], fitted.shape[0], fitted.shape[1], self._side)
        picture = Picture(key, frame, fitted, fit_within(pixels, DETAIL_SIDE))
        self._kept.put(key, picture)
        return picture


def fitted_mask(mask: npt.NDArray[np.bool_], frame: Frame) -> npt.NDArray[np.float32]:
    """The bool mask [H, W] at the size of the frame's input, 0..1: bilinear and antialiased, as the image is.

    To 1/255, which is enough for a prompt: torch's own takes half a second for 12 megapixels, Pillow's
    hundredths.
    """
    size = (frame.input_width, frame.input_height)
    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.float32) / 255
