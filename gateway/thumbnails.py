"""Small pictures for lists: made when first asked for, then kept in the object store beside the images."""

from __future__ import annotations

import io
import threading
from typing import Final

from PIL import Image

from services.core.errors import NotFound
from services.kit.blobs.images import ImageStore
from services.kit.blobs.ports import Blobs

MEDIA_TYPE: Final = "image/jpeg"
_QUALITY: Final = 82
# A large picture takes 100 MiB while it is decoded; a page asks for dozens of them at once.
_DECODING: Final = threading.BoundedSemaphore(2)


def thumbnail(blobs: Blobs, tenant: str, image_id: str, side: int) -> bytes:
    """JPEG of the tenant's image, its longest side at most `side` pixels, never enlarged.

    Raises `NotFound` where the object store has no such image.
    """
    key = f"{tenant}/thumbnails/{image_id}/{side}.jpg"
    try:
        return blobs.get(key)
    except NotFound:
        pass
    content = blobs.get(ImageStore.key(tenant, image_id))
    with _DECODING:
        made = shrink(content, side)
    blobs.put(key, made)  # the same bytes, whoever else makes it at this moment
    return made


def shrink(content: bytes, side: int) -> bytes:
    """JPEG of an encoded 8-bit RGB picture, its longest side at most `side` pixels, never enlarged."""
    with Image.open(io.BytesIO(content)) as opened:
        profile = opened.info.get("icc_profile")
        # Of a JPEG this decodes an eighth to a half, where that is twice what is wanted.
        opened.thumbnail((side, side), Image.Resampling.LANCZOS)
        picture = opened.convert("RGB")
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=_QUALITY, icc_profile=profile)
    return written.getvalue()
