"""SAM's masks from low-resolution logits: byte for byte and bit for bit those of segment-anything."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from segment_anything.modeling import Sam
from segment_anything.utils.amg import (
    batched_mask_to_box,
    calculate_stability_score,
    coco_encode_rle,
    mask_to_rle_pytorch,
)
from torch import Tensor
from torch.nn import functional

from services.networks.errors import ModelError
from services.networks.sam import resampling, tracing
from services.networks.sam.architecture import build_vit_tiny
from services.networks.sam.postprocessing import (
    Frame,
    MaskRecords,
    full_size_logits,
    mask_records,
    rendered_records,
    rounds_as_torch,
    traceable,
)

SIDES = {"vit_tiny": (160, 320), "vit_b": (256, 1024)}
"""Sides of the logits and of the square input."""
IMAGES = [
    (480, 640),
    (1024, 1024),
    (333, 500),
    (97, 145),
    (601, 37),
    (1, 300),
    (1200, 811),
    (129, 130),
    (40, 50),
]


def frame_of(height: int, width: int, side: int) -> Frame:
    scale = side / max(height, width)
    fitted = [max(1, int(size * scale + 0.5)) for size in (height, width)]
    return Frame(height, width, fitted[0], fitted[1], side)


@pytest.fixture(scope="module")
def tiny() -> Sam:
    return build_vit_tiny().eval()


class Square:
    """What `Sam.postprocess_masks` reads of its encoder."""

    def __init__(self, side: int) -> None:
        self.img_size = side


def postprocessed(tiny: Sam, logits: Tensor, frame: Frame) -> Tensor:
    """Sam.postprocess_masks itself, at any side."""
    stand_in: Any = type("Sized", (), {"image_encoder": Square(frame.side)})()
    inside, image = (frame.input_height, frame.input_width), (frame.height, frame.width)
    full: Tensor = type(tiny).postprocess_masks(stand_in, logits[:, None], inside, image)[:, 0]
    return full


def check(tiny: Sam, logits: Tensor, frame: Frame, found: MaskRecords) -> None:
    """Everything against the reference's functions on the reference's full-size logits."""
    full = postprocessed(tiny, logits, frame)
    masks = full > 0
    assert found.rles == [coco_encode_rle(rle)["counts"].encode() for rle in mask_to_rle_pytorch(masks)]
    assert found.areas.tolist() == masks.sum((1, 2)).tolist()
    stability = calculate_stability_score(full, 0.0, 1.0).nan_to_num(0.0).numpy()
    assert np.array_equal(found.stability, stability)
    corners = batched_mask_to_box(masks).numpy()
    inside = found.areas > 0
    assert np.array_equal(found.boxes[:, :2], corners[:, :2].astype(np.float32))
    sizes = (corners[:, 2:] - corners[:, :2] + 1) * inside[:, None]
    assert np.array_equal(found.boxes[:, 2:], sizes.astype(np.float32))


def smooth(count: int, side: int, seed: int) -> Tensor:
    """Logits as a decoder gives them: some blobs with wobbling rims."""
    noise = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 9, 9, generator=noise) * 6 - 2
    fine = torch.randn(count, 1, side, side, generator=noise) * 0.2
    return (functional.interpolate(coarse, (side, side), mode="bicubic") + fine)[:, 0]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("network", SIDES)
def test_masks_are_those_of_segment_anything(tiny: Sam, network: str, image: tuple[int, int]) -> None:
    low, side = SIDES[network]
    frame = frame_of(*image, side)
    logits = torch.cat(
        [
            smooth(3, low, sum(image)),
            torch.randn(1, low, low) * 4,
            torch.full((1, low, low), -3.0),
            torch.full((1, low, low), 5.0),
        ]
    )
    check(tiny, logits, frame, mask_records(logits, frame))
    check(tiny, logits, frame, rendered_records(logits, frame))


def test_most_images_are_traced() -> None:
    """Else the test above would compare torch with itself."""
    assert rounds_as_torch()
    for low, side in SIDES.values():
        for image in IMAGES[:-1]:
            assert traceable(torch.zeros(1, low, low), frame_of(*image, side)) is not None
    assert traceable(torch.zeros(1, 128, 128), frame_of(40, 50, 256)) is None


@settings(max_examples=60, deadline=None)
@given(
    logits=arrays.arrays(
        np.float32,
        st.tuples(st.just(2), st.integers(2, 40), st.integers(2, 40)),
        # Small whole numbers and halves meet the thresholds exactly, again and again.
        elements=st.one_of(
            st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]),
            st.floats(-40, 40, width=32),
            st.sampled_from([1 + 2.0**-23, 1 - 2.0**-24, 2.0**-126, -(2.0**-126), 2.0**-140, 2.0**125]),
        ),
    ),
    height=st.integers(1, 260),
    width=st.integers(1, 260),
    side=st.integers(65, 200),
)
def test_any_logits_and_sizes(tiny: Sam, logits: Any, height: int, width: int, side: int) -> None:
    frame = frame_of(height, width, side)
    tensor = torch.from_numpy(logits)
    check(tiny, tensor, frame, mask_records(tensor, frame))


@settings(max_examples=30, deadline=None)
@given(
    inputs=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    inside=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    image=st.tuples(st.integers(64, 300), st.integers(65, 300)),
)
def test_every_pixel_has_torchs_bits(
    inputs: tuple[int, int], inside: tuple[int, int], image: tuple[int, int]
) -> None:
    frame = Frame(*image, *inside, side=130)
    logits = torch.randn(inputs) * 5
    way = resampling.plan(inputs, 130, inside, image)
    assert way is not None
    low, columns = way.low_columns, way.columns
    pixels = tracing.render(
        np.ascontiguousarray(logits.T.numpy()),
        low.index,
        low.weight,
        columns.index,
        columns.weight,
        way.rows,
        way.row_weights,
    )
    assert np.array_equal(pixels, full_size_logits(logits[None], frame)[0].numpy())


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_refused(broken: float) -> None:
    logits = smooth(3, 128, 0)
    logits[1, 7, 9] = broken
    for image in ((300, 200), (20, 30)):
        with pytest.raises(ModelError, match=r"NaN or infinity.*PRECISION") as caught:
            mask_records(logits, frame_of(*image, 256))
        assert not caught.value.invalid


def test_no_masks() -> None:
    found = mask_records(torch.zeros(0, 128, 128), frame_of(30, 40, 256))
    assert (len(found), found.boxes.shape, found.areas.shape) == (0, (0, 4), (0,))


def test_runs_longer_than_the_first_buffer() -> None:
    """A checkerboard has as many runs as an image can have."""
    logits = (torch.arange(256)[:, None] + torch.arange(256)) % 2 * 6.0 - 3
    frame = Frame(256, 256, 256, 256, 256)
    found = mask_records(logits[None], frame)
    assert len(found.rles[0]) > tracing.FIRST_CAPACITY
    reference = mask_to_rle_pytorch(full_size_logits(logits[None], frame) > 0)[0]
    assert found.rles[0] == coco_encode_rle(reference)["counts"].encode()


def test_compressed_changes() -> None:
    positions = np.array([3, 9, 1, 2, 5], np.int64)
    runs, ends = tracing.compress(positions, np.array([2, 2, 5]), np.array([False, True, True]), 12)
    expected = [[3, 6, 3], [0, 12], [0, 1, 1, 3, 7]]
    for (begin, end), counts in zip(pairwise([0, *ends.tolist()]), expected, strict=True):
        made = coco_encode_rle({"size": [3, 4], "counts": counts})["counts"]
        assert runs[begin:end].tobytes() == made.encode()


@pytest.mark.parametrize("threads", [1, 2])
def test_masks_are_traced_whatever_the_number_of_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for inputs, outputs in ((40, 96), (96, 143), (128, 256), (256, 1024)):
            assert resampling.agrees_with_torch(resampling.bilinear_taps(inputs, outputs), inputs)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_other_processors_give_the_same_masks_as_their_torch(capability: str) -> None:
    """Where torch multiplies and adds in two roundings, masks are not traced; either way they are torch's."""
    program = (
        "import torch\n"
        "from services.networks.sam.postprocessing import Frame, mask_records, rendered_records\n"
        "logits = torch.randint(-2, 3, (6, 32, 32), generator=torch.Generator().manual_seed(1)).float()\n"
        "frame = Frame(211, 307, 66, 96, 96)\n"
        "assert mask_records(logits, frame).rles == rendered_records(logits, frame).rles\n"
    )
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
