"""Small pictures: made once, of the right size, from what an image is kept as."""

from __future__ import annotations

import io
import uuid

import numpy as np
import pytest
from PIL import Image

from gateway.thumbnails import shrink, thumbnail
from services.core.errors import NotFound
from services.kit.blobs.images import ImageStore
from services.kit.blobs.store import connect


def encoded(width: int, height: int, kind: str) -> bytes:
    """A picture that is red at the left and blue at the right."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2] = (220, 20, 20)
    pixels[:, width // 2 :] = (20, 20, 220)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind)
    return written.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("size", "small"),
    [((1600, 900), (256, 144)), ((900, 1600), (144, 256)), ((40, 30), (40, 30)), ((4000, 2), (256, 1))],
)
def test_the_longest_side_is_bounded_and_nothing_is_enlarged(
    kind: str, size: tuple[int, int], small: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(shrink(encoded(*size, kind), 256))) as made:
        assert (made.format, made.mode, made.size) == ("JPEG", "RGB", small)
        left = np.asarray(made)[0, made.width // 8].astype(int)
        right = np.asarray(made)[0, -made.width // 8].astype(int)
    assert left[0] - left[2] > 150
    assert right[2] - right[0] > 150


def test_it_is_made_once_for_each_tenant_and_side() -> None:
    blobs = connect(f"memory://{uuid.uuid4()}")
    key = ImageStore.key("acme", "a" * 64)
    blobs.put(key, encoded(800, 600, "PNG"))
    made = {side: thumbnail(blobs, "acme", "a" * 64, side) for side in (128, 256)}
    assert len(made[128]) < len(made[256])
    with pytest.raises(NotFound):
        thumbnail(blobs, "other", "a" * 64, 128)
    blobs.delete(key)
    assert thumbnail(blobs, "acme", "a" * 64, 128) == made[128]
    with pytest.raises(NotFound):
        thumbnail(blobs, "acme", "a" * 64, 512)


def test_the_colour_profile_stays() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    written = io.BytesIO()
    Image.new("RGB", (600, 400)).save(written, "JPEG", icc_profile=profile)
    with Image.open(io.BytesIO(shrink(written.getvalue(), 128))) as made:
        assert made.info["icc_profile"] == profile
