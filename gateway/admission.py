"""What becomes of a submitted image: sniffed, measured by its header, decoded whole, made upright 8-bit RGB.

Nothing is trusted: not the name, not the media type that came with it, not the header. Cheap checks come
first, so that a small file cannot cost much: bytes, kind, pixels by the header, frames, then the decoding.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base as Exif

from gateway.sniffing import MEDIA_TYPES, sniff
from services.core.errors import InvalidImage
from services.core.rgb import upright_rgb

# Kept as they are, when upright RGB already: what the models' decoders read directly.
_KEPT = frozenset({"JPEG", "PNG", "WEBP"})
_PNG_BIT_DEPTH = 24  # IHDR follows the signature: width, height, bit depth


@dataclass(frozen=True, slots=True)
class Limits:
    """Most bytes of a file, pixels of a picture, and pixels of its longer side."""

    bytes: int
    pixels: int
    side: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """An image that was taken: `content` is upright 8-bit RGB, `id` the SHA-256 of the bytes as submitted."""

    id: str
    content: bytes
    media_type: str
    width: int
    height: int


def image_id(original: bytes) -> str:
    """SHA-256 of the submitted bytes, lower-case hex."""
    return hashlib.sha256(original).hexdigest()


def admit(original: bytes, limits: Limits) -> Admitted:
    """The image, normalised.

    JPEG, PNG and WebP that are upright 8-bit RGB keep their bytes; everything else convertible becomes a PNG:
    EXIF orientation applied, CMYK by its profile, 16 bits scaled to 8, palettes resolved, alpha laid on
    white, of MPO the first frame. Raises `InvalidImage` with a code: empty, too_large, unsupported_type,
    too_many_pixels, multi_frame, truncated, corrupt, unsupported_depth.
    """
    if not original:
        raise InvalidImage("the file is empty; send the picture's bytes", code="empty")
    if len(original) > limits.bytes:
        raise InvalidImage(
            f"the file has {len(original)} bytes; at most {limits.bytes} are taken", code="too_large"
        )
    format_ = sniff(original)
    try:
        picture = _open(original, format_)
        _check_size(picture, limits)
        _check_frames(picture)
        kept = _decode(picture, original)
        upright = picture if kept else upright_rgb(picture)
    except InvalidImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(limits) from error
    except MemoryError:
        raise
    except Exception as error:
        raise _undecodable(error) from error
    content = original if kept else _png(upright)
    width, height = upright.size
    media_type = MEDIA_TYPES[format_] if kept else "image/png"
    return Admitted(image_id(original), content, media_type, width, height)


def _open(original: bytes, format_: str) -> Image.Image:
    # Only the sniffed format's reader runs; JPEG's hands multi-picture files to MPO's.
    formats = ["JPEG", "MPO"] if format_ == "JPEG" else [format_]
    try:
        return Image.open(io.BytesIO(original), formats=formats)
    except UnidentifiedImageError as error:
        raise InvalidImage(
            f"it begins like a {format_} and its header cannot be read; save the picture again",
            code="corrupt",
        ) from error


def _check_size(picture: Image.Image, limits: Limits) -> None:
    width, height = picture.size
    if width < 1 or height < 1:
        raise InvalidImage("the header says that the picture has no pixels", code="corrupt")
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise _too_many_pixels(limits, width, height)


def _check_frames(picture: Image.Image) -> None:
    frames = int(getattr(picture, "n_frames", 1))
    if frames > 1 and picture.format != "MPO":
        raise InvalidImage(
            f"it holds {frames} frames or pages, and an image is one picture; send each as a file of its own",
            code="multi_frame",
        )


def _decode(picture: Image.Image, original: bytes) -> bool:
    """Decode every pixel; whether the bytes can stay as they are. Raises whatever the decoder does."""
    orientation = picture.getexif().get(Exif.Orientation, 1)
    kept = (
        picture.format in _KEPT
        and picture.mode == "RGB"
        and orientation in (0, 1)
        and "transparency" not in picture.info
        and not (picture.format == "PNG" and original[_PNG_BIT_DEPTH] != 8)
    )
    if picture.format == "PNG":
        # Pillow's decoder stops once it has the pixels; this walks every chunk and its checksum.
        with Image.open(io.BytesIO(original), formats=["PNG"]) as whole:
            whole.verify()
    if picture.format == "MPO":
        picture.seek(0)
    picture.load()
    return kept


def _png(upright: Image.Image) -> bytes:
    """Losslessly; an RGB colour profile goes along, every other kind of metadata does not."""
    profile = upright.info.get("icc_profile")
    rgb_profile = profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else None
    encoded = io.BytesIO()
    plain = Image.new("RGB", upright.size)
    plain.paste(upright)
    plain.save(encoded, format="PNG", compress_level=3, icc_profile=rgb_profile)
    return encoded.getvalue()


def _too_many_pixels(limits: Limits, width: int = 0, height: int = 0) -> InvalidImage:
    measured = f"the header says {width} x {height} pixels; " if width else ""
    return InvalidImage(
        f"{measured}at most {limits.pixels} pixels, {limits.side} a side, are taken; send a smaller one",
        code="too_many_pixels",
    )


def _undecodable(error: Exception) -> InvalidImage:
    text = str(error).lower()
    cut_off = any(word in text for word in ("truncated", "unexpected end", "not enough", "eof"))
    if cut_off or isinstance(error, EOFError):
        return InvalidImage("the file ends before the picture does; send the whole file", code="truncated")
    return InvalidImage(
        "the picture cannot be decoded, some of its bytes are wrong; save it again and send that",
        code="corrupt",
    )
