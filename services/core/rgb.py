"""Any picture as upright 8-bit RGB: the gateway stores it, and the networks see it, in this one way."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms, ImageOps

from services.core.errors import InvalidImage

_SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})


def upright_rgb(picture: Image.Image) -> Image.Image:
    """EXIF orientation applied, CMYK and LAB by their profile, 16 bits scaled to 8, palettes resolved, alpha
    laid on white. Raises `InvalidImage`, `unsupported_depth`, for pixels whose range is unknown.
    """
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in _SIXTEEN_BIT or upright.mode == "I":
        return _from_sixteen_bits(upright)
    if upright.mode == "F":
        raise InvalidImage(
            "it has floating-point pixels, whose range is unknown; save it with 8 or 16 bits a channel",
            code="unsupported_depth",
        )
    if upright.mode in ("CMYK", "LAB"):
        return _by_profile(upright)
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        layered = upright.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _from_sixteen_bits(picture: Image.Image) -> Image.Image:
    """The full range of 16 bits onto that of 8, rounded (Pillow's own conversion clips at 255)."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise InvalidImage(
            "it has pixels beyond 16 bits, whose range is unknown; save it with 8 or 16 bits a channel",
            code="unsupported_depth",
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _by_profile(picture: Image.Image) -> Image.Image:
    """sRGB by the embedded colour profile; without a usable one by the plain formula."""
    profile = picture.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            converted = None
        if converted is not None:
            converted.info.pop("icc_profile", None)
            return converted
    return picture.convert("RGB")
