"""Encoded images in, pixels out."""

from __future__ import annotations

import hashlib
import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from services.core.rgb import upright_rgb
from services.networks.errors import ModelError

Pixels = npt.NDArray[np.uint8]
MOST_PIXELS = 100_000_000


def decode_image(encoded: bytes) -> Pixels:
    """Upright RGB pixels uint8 [H, W, 3], as the gateway would store them. Raises `ModelError` for what is no
    image, truncated, too large or of an unknown range.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own limit only warns; ours, read from the header, refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded))
            if image.width * image.height > MOST_PIXELS:
                raise ModelError(
                    f"the image has {image.width}x{image.height} pixels; at most {MOST_PIXELS} are taken"
                )
            return np.asarray(upright_rgb(image))
    except UnidentifiedImageError as fault:
        raise ModelError("the image's bytes are of no known format") from fault
    except (ModelError, MemoryError):
        raise
    except Exception as fault:  # Pillow's decoders raise many kinds: AVIF's a RuntimeError
        raise ModelError(f"the image cannot be decoded: {fault}") from fault


def content_hash(encoded: bytes) -> str:
    """SHA-256 of the encoded image, in hex."""
    return hashlib.sha256(encoded).hexdigest()


def fit_longest_side(pixels: Pixels, side: int) -> Pixels:
    """Resize (bilinear, antialiased) so that the longer side is `side`; sizes round as segment-anything's
    do.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    if size == (width, height):
        return pixels
    return np.asarray(
        Image.fromarray(pixels).resize((max(size[0], 1), max(size[1], 1)), Image.Resampling.BILINEAR)
    )


def fit_within(pixels: Pixels, side: int) -> Pixels:
    """As `fit_longest_side`, but never enlarged."""
    return pixels if max(pixels.shape[:2]) <= side else fit_longest_side(pixels, side)


def pad_square(pixels: Pixels) -> Pixels:
    """Black added at the right or bottom until the image is square."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    if height == width:
        return pixels
    square = np.zeros((side, side, 3), np.uint8)
    square[:height, :width] = pixels
    return square
