"""The second look at SAM's masks: where it looks, what it sees, and where its masks end up."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from services.core import masks as rle
from services.networks.checkpoints import save_half
from services.networks.errors import ModelError
from services.networks.sam.architecture import load_sam
from services.networks.sam.encoding import TorchEncoder
from services.networks.sam.pictures import Picture, Pictures
from services.networks.sam.refining import CELLS, Prompted, Refiner, crop, mask_boxes, window_logits
from services.networks.sam.second_look import SecondLook, load_refiner, window_records
from services.networks.sam.served import BUNDLED, ServedSam
from services.networks.settings import NetworkSettings
from services.networks.tensors import bytes_tensor
from services.scenes import SceneSettings, make_scene

SIDE = 320


def prompted(boxes: list[list[float]], clicks: list[list[float]] | None = None) -> Prompted:
    count = len(boxes)
    return Prompted(
        torch.zeros(count, dtype=torch.long),
        torch.full((count, 40, 40), -8.0),
        (0.25, 0.25),
        torch.tensor(boxes),
        torch.full((count,), clicks is None),
        torch.tensor([clicks or [[-1.0, -1.0, -1.0]]] * count),
    )


def picture_of(pixels: npt.NDArray[np.uint8]) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Pictures(1, SIDE).get(buffer.getvalue())


class Copying(torch.nn.Module):
    """In the place of the U-Net: the coarse mask as it is seen, or what the image shows in red."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        seen = crops[:, self.channel]
        return (seen - 0.5 if self.channel == 3 else seen) * 8, torch.full((len(crops),), 0.75)


def test_windows_are_square_whole_and_around_their_boxes() -> None:
    windows = prompted([[10, 20, 50, 40], [100, 100, 103, 102], [-4, -4, 90, 200]]).windows()
    assert windows.tolist() == [[-2, -2, 64], [94, 93, 16], [-120, -66, 327]]


def test_a_window_of_as_many_pixels_as_cells_is_the_image_itself() -> None:
    image = torch.randint(0, 256, (1, 3, 120, 120), generator=torch.Generator().manual_seed(0)).float()
    asked = prompted([[30, 30, 70, 70]])
    window = asked.windows()
    assert window.tolist() == [[18, 18, CELLS]]
    seen = crop(image, asked, window)
    torch.testing.assert_close(seen[0, :3] * 64 + 127.5, image[0, :, 18:82, 18:82])
    assert seen[0, 4].sum() == 40 * 40
    assert seen[0, 4, 12:52, 12:52].min() == 1


def test_beyond_the_image_all_is_black() -> None:
    image = torch.full((1, 3, 60, 60), 255.0)
    asked = prompted([[-10, 20, 30, 60]])
    seen = crop(image, asked, asked.windows())
    assert asked.windows().tolist() == [[-22, 8, CELLS]]
    assert seen[0, 0, 20, :20].max() == -127.5 / 64
    assert seen[0, 0, 20, 23:].min() == pytest.approx(127.5 / 64)


def test_clicks_are_disks_with_a_sign() -> None:
    asked = prompted([[30, 30, 70, 70]], [[50.5, 40.5, 1], [60.5, 60.5, 0], [55, 55, -1]])
    seen = crop(torch.zeros(1, 3, 120, 120), asked, asked.windows())[0]
    assert seen[4].abs().sum() == 0
    assert seen[5, [22, 42], [32, 42]].tolist() == [1, -1]
    assert (seen[5] > 0).sum() == (seen[5] < 0).sum() == 21
    assert seen[5, 37, 37] == 0


def test_boxes_of_coarse_masks() -> None:
    logits = torch.full((2, 20, 30), -1.0)
    logits[0, 4:7, 10:15] = 1
    assert mask_boxes(logits, (0.5, 0.25)).tolist() == [[20, 16, 30, 28], [0, 0, 0, 0]]


@pytest.mark.parametrize("size", [(200, 150), (90, 256), (700, 900)])
@torch.inference_mode()
def test_masks_lie_where_the_image_shows_them(size: tuple[int, int]) -> None:
    """A refiner that answers what is red gives the red ellipse, at any size and over the border."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    truth = ((x - 0.9 * width) / (0.2 * width)) ** 2 + ((y - 0.5 * height) / (0.3 * height)) ** 2 < 1
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[truth, 0] = 255
    inside = np.nonzero(truth)
    box = [inside[1].min(), inside[0].min(), np.ptp(inside[1]) + 1, np.ptp(inside[0]) + 1]
    records, scores = SecondLook(Copying(0), torch.float32)(  # type: ignore[arg-type]
        picture_of(pixels), torch.full((1, 160, 160), -8.0), np.array([box], np.float32), None
    )
    mask = rle.decode(records.rles[0], height, width)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.97
    assert records.areas[0] == mask.sum()
    assert np.abs(records.boxes[0] - box).max() <= 0.01 * max(size) + 1
    assert scores.tolist() == [0.75]
    assert 0.8 < records.stability[0] <= 1


@torch.inference_mode()
def test_the_coarse_mask_is_seen_at_its_place() -> None:
    """Through a click, whose window follows from the coarse mask; in an image that is not square."""
    logits = torch.full((1, 160, 160), -8.0)
    logits[0, 30:60, 40:80] = 8  # of an input of 320 pixels: 60..120, 80..160; half that in the image
    picture = picture_of(np.zeros((100, 160, 3), np.uint8))
    click = np.array([[[60, 45, 1]]], np.float32)
    look = SecondLook(Copying(3), torch.float32)  # type: ignore[arg-type]
    records, _ = look(picture, logits, None, click)
    expected = np.zeros((100, 160), np.bool_)
    expected[30:60, 40:80] = True
    found = rle.decode(records.rles[0], 100, 160)
    assert (found & expected).sum() / (found | expected).sum() > 0.95


def test_logits_of_a_window_are_interpolated_as_torch_does() -> None:
    logits = torch.randn(CELLS, CELLS, generator=torch.Generator().manual_seed(1))
    for side in (16, 64, 203):
        full = torch.nn.functional.interpolate(logits[None, None], (side, side), mode="bilinear")[0, 0]
        inside, place = window_logits(logits, torch.tensor([-5, 7, side]), 40, 90)
        torch.testing.assert_close(inside, full[: 40 - 7, 5 : 5 + 90], atol=1e-5, rtol=1e-4)
        assert place == (slice(7, min(40, 7 + side)), slice(0, min(90, side - 5)))


@torch.inference_mode()
def test_a_box_beyond_measure_costs_no_more_than_the_image() -> None:
    picture = picture_of(np.full((60, 60, 3), 255, np.uint8))
    look = SecondLook(Copying(0), torch.float32)  # type: ignore[arg-type]
    records, _ = look(picture, torch.zeros(1, 160, 160), np.array([[-1e7, -1e7, 2e7, 2e7]], np.float32), None)
    assert records.areas.tolist() == [3600]


class Sure(torch.nn.Module):
    """In the place of the U-Net: the coarse mask as it is seen, with a predicted IoU that is given."""

    def __init__(self, iou: float) -> None:
        super().__init__()
        self.iou = iou

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        return (crops[:, 3] - 0.5) * 8, torch.full((len(crops),), self.iou)


def everything(second_look: SecondLook | None) -> dict[str, Any]:
    """The bundled SAM's answer about a drawn scene."""
    sam = load_sam("vit_tiny", NetworkSettings().weights("sam", "weights.safetensors"))
    encoder = TorchEncoder(sam, torch.float32)
    served = ServedSam(
        sam, "sam-test", encoder, torch.float32, embeddings_kept=1, limits=BUNDLED, second_look=second_look
    )
    buffer = io.BytesIO()
    Image.fromarray(make_scene(7, SceneSettings()).image).save(buffer, "PNG")
    (answer,) = served.execute([{"image": bytes_tensor([buffer.getvalue()])}])
    assert not isinstance(answer, ModelError)
    return dict(answer)


def test_everything_mode_goes_by_the_second_looks_predicted_iou() -> None:
    alone = everything(None)
    sure = everything(SecondLook(Sure(0.9), torch.float32))  # type: ignore[arg-type]
    assert (alone["predicted_iou"] > BUNDLED.predicted_iou).all()
    assert len(sure["rles"]) > 1
    assert sure["predicted_iou"].tolist() == pytest.approx([0.9] * len(sure["rles"]))
    # Such a second look changes no mask by much.
    overlaps = rle.iou(alone["rles"].tolist(), sure["rles"].tolist(), *alone["size"].tolist())
    assert np.median(overlaps.max(0)) > 0.9
    doubtful = everything(SecondLook(Sure(0.6), torch.float32))  # type: ignore[arg-type]
    assert len(doubtful["rles"]) == 0


def test_windows_outside_give_an_empty_mask_there() -> None:
    records = window_records(torch.full((1, CELLS, CELLS), 5.0), torch.tensor([[-70, 5, 64]]), 40, 50)
    assert records.areas.tolist() == [0]
    assert records.boxes.tolist() == [[0, 0, 0, 0]]


@torch.inference_mode()
def test_what_is_not_finite_is_an_error() -> None:
    network = Refiner().eval()
    network.exit.weight.fill_(float("nan"))
    look = SecondLook(network, torch.float32)
    picture = picture_of(np.zeros((60, 60, 3), np.uint8))
    with pytest.raises(ModelError, match="refiner gave NaN"):
        look(picture, torch.zeros(1, 160, 160), np.array([[5, 5, 20, 20]], np.float32), None)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_half(Refiner((16, 24, 32, 40)), tmp_path / "refiner.safetensors")
    with pytest.raises(ModelError, match=r"refiner\.safetensors is of another architecture"):
        load_refiner(tmp_path / "refiner.safetensors")
