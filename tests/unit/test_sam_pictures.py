"""SAM's pictures: decoded once, however often they are clicked at."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from services.networks.images import decode_image
from services.networks.sam import pictures
from services.networks.sam.postprocessing import Frame


def test_a_picture_that_was_clicked_at_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def counting(encoded: bytes) -> npt.NDArray[np.uint8]:
        decoded.append(len(encoded))
        return decode_image(encoded)

    monkeypatch.setattr(pictures, "decode_image", counting)
    kept = pictures.Pictures(2, side=64)
    encoded = []
    for shade in (10, 20, 30):
        buffer = io.BytesIO()
        Image.new("RGB", (128, 96), (shade, 0, 0)).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    first = kept.get(encoded[0])
    assert kept.get(encoded[0]) is first
    assert (first.frame.height, first.frame.width, first.pixels.shape) == (96, 128, (48, 64, 3))
    kept.get(encoded[1])
    assert len(decoded) == 2
    kept.get(encoded[0])
    kept.get(encoded[2])  # the second goes, which was used before the first
    assert kept.get(encoded[0]) is first
    kept.get(encoded[1])
    assert len(decoded) == 4


@pytest.mark.parametrize(("height", "width"), [(300, 400), (48, 64), (20, 31)])
def test_a_mask_is_fitted_as_torch_would(height: int, width: int) -> None:
    drawn = np.zeros((height, width), dtype=np.bool_)
    drawn[height // 4 : height // 2, width // 5 : width // 2] = True
    drawn[height // 2 :: 3, ::2] = True
    frame = Frame(height, width, 48, 64, 64)
    full = torch.from_numpy(drawn)[None, None].float()
    expected = torch.nn.functional.interpolate(full, (48, 64), mode="bilinear", antialias=True)[0, 0]
    found = pictures.fitted_mask(drawn, frame)
    assert (found.shape, found.dtype) == ((48, 64), np.dtype(np.float32))
    # Pillow rounds after each of its two passes.
    assert np.abs(found - expected.numpy()).max() <= 1.01 / 255
