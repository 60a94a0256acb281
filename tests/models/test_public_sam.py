"""SAM's public checkpoints: `.pth` files as facebook's are, of the full ViT-B, ViT-L and ViT-H with random
weights, load through the settings and segment.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything import SamPredictor, sam_model_registry

from services.core import masks as rle
from services.networks.checkpoints import fingerprint
from services.networks.sam.architecture import load_sam
from services.networks.serving import ModelError, NetworkSettings, ServedModel, load
from services.networks.settings import REPOSITORY
from services.networks.tensors import Answer, bytes_tensor
from tests.support.public_sam import save_pth


def picture() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 90, (60, 90, 3), np.uint8)
    pixels[10:40, 20:50] = (220, 200, 30)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def serve(name: str, weights: Path) -> ServedModel:
    settings = NetworkSettings(sam=name, sam_weights=weights, threads=2, device="cpu", precision="float32")
    return load("sam", settings)


def segment(model: ServedModel) -> Answer:
    """The answer to a box; a click is answered likewise."""
    image = bytes_tensor([picture()])
    box = {"image": image, "boxes": np.array([[20, 10, 30, 30]], np.float32)}
    click = {"image": image, "points": np.array([[35, 25, 1]], np.float32)}
    answers = []
    for answer in model.execute([box, click]):
        assert not isinstance(answer, ModelError), answer
        assert answer["size"].tolist() == [60, 90]
        (counts,) = answer["rles"]
        assert rle.area(counts, 60, 90) == answer["areas"][0]
        assert np.isfinite(answer["predicted_iou"]).all()
        assert answer["model"].tolist() == [model.version.encode()]
        answers.append(answer)
    return answers[0]


@pytest.fixture(scope="module")
def vit_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pth("vit_b", tmp_path_factory.mktemp("sam") / "sam_vit_b_01ec64.pth")


@torch.inference_mode()
def test_vit_b_segments_as_the_reference_does_and_shows_its_hash(
    vit_b: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = hashlib.sha256(vit_b.read_bytes()).hexdigest()
    with caplog.at_level(logging.INFO, logger="services.networks"):
        model = serve("vit_b", vit_b)
    assert model.version == f"sam-vit_b-{digest[:8]}"
    assert f"{vit_b} have SHA-256 {digest}" in caplog.text
    answer = segment(model)
    predictor: Any = SamPredictor(sam_model_registry["vit_b"](checkpoint=str(vit_b)).eval())
    predictor.set_image(np.array(Image.open(io.BytesIO(picture())).convert("RGB")))
    expected, score, _ = predictor.predict(box=np.array([20, 10, 50, 40]), multimask_output=False)
    mine = rle.decode(answer["rles"][0], 60, 90)
    assert 0 < mine.mean() < 1
    assert (mine != expected[0]).mean() < 1e-3
    assert answer["predicted_iou"][0] == pytest.approx(np.clip(score[0], 0, 1), abs=1e-3)


def test_the_bundled_second_look_is_not_taken_for_another_network(vit_b: Path) -> None:
    refiner = shutil.copy(REPOSITORY / "sam" / "1" / "refiner.safetensors", vit_b.parent)
    model = serve("vit_b", vit_b)
    assert model.version == f"sam-vit_b-{fingerprint(vit_b)}"
    Path(refiner).unlink()
    tiny = REPOSITORY / "sam" / "1" / "weights.safetensors"
    both = fingerprint(tiny, tiny.with_name("refiner.safetensors"))
    assert serve("vit_tiny", tiny).version == f"sam-vit_tiny-{both}"


def test_vit_b_is_not_vit_tiny(vit_b: Path) -> None:
    with pytest.raises(ModelError, match=r"sam_vit_b_01ec64\.pth is of another architecture.*registry name"):
        serve("vit_tiny", vit_b)


@pytest.mark.parametrize("name", ["vit_l", "vit_h"])
def test_the_large_ones_load_every_tensor(name: str, tmp_path: Path) -> None:
    """They segment, too, with TERCET_TEST_LARGE=1: their encoders take a minute on two cores."""
    weights = save_pth(name, tmp_path / f"sam_{name}.pth")
    try:
        loaded = load_sam(name, weights).state_dict()
        saved = torch.load(weights, weights_only=True, mmap=True)
        assert loaded.keys() == saved.keys()
        assert all(torch.equal(loaded[key], saved[key]) for key in saved)
        if os.environ.get("TERCET_TEST_LARGE"):
            model = serve(name, weights)
            assert model.version == f"sam-{name}-{fingerprint(weights)}"
            segment(model)
    finally:
        weights.unlink()  # up to 2.6 GB
