"""A public SAM 3 directory loads as it is and answers masks as transformers' own code does; the image encoder
runs once an image.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Sam3Model, Sam3Processor

from services.core import masks as rle
from services.networks.sam3.masks import record
from services.networks.sam3.served import ServedSam3
from services.networks.serving import ModelError, NetworkSettings, load
from services.networks.tensors import Answer, bytes_tensor
from tests.support.public_grounders import edit_json, picture, save_sam3

PHRASES = ["yellow bus", "red cup", "striped car", "a photo of a bus"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam3(tmp_path_factory.mktemp("public") / "sam3")


def serve(folder: Path, **further: Any) -> ServedSam3:
    settings = {"concept_grounder_weights": folder, "precision": "float32", "threads": 1, "device": "cpu"}
    model = load("concept_grounder", NetworkSettings(**{**settings, **further}))
    assert isinstance(model, ServedSam3)
    return model


def request(content: bytes, phrases: list[str], threshold: float = 0.0) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "image": bytes_tensor([content]),
        "phrases": bytes_tensor(phrases),
        "threshold": np.array([threshold], np.float32),
    }


def ask(model: ServedSam3, content: bytes, phrases: list[str], threshold: float = 0.0) -> Answer:
    (answer,) = model.execute([request(content, phrases, threshold)])
    assert not isinstance(answer, ModelError), answer
    return answer


@contextmanager
def counted(module: torch.nn.Module) -> Iterator[list[int]]:
    """The batch sizes of a module's passes."""
    sizes: list[int] = []

    def note(_module: torch.nn.Module, given: Any, named: Any) -> None:
        first = given[0] if given else next(iter(named.values()))
        sizes.append(len(first))

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield sizes
    finally:
        handle.remove()


@torch.inference_mode()
def test_masks_scores_and_presence_are_those_of_transformers(folder: Path) -> None:
    content, threshold = picture(), 0.05
    answer = ask(serve(folder, sam3_phrases=3), content, PHRASES, threshold)
    processor: Any = Sam3Processor.from_pretrained(folder)
    kind: Any = Sam3Model
    network = kind.from_pretrained(folder).eval()
    image = Image.open(io.BytesIO(content)).convert("RGB")
    found = 0
    for number, phrase in enumerate(PHRASES):
        outputs = network(**processor(images=image, text=phrase, return_tensors="pt"))
        (expected,) = processor.image_processor.post_process_instance_segmentation(
            outputs, threshold=threshold, target_sizes=[(60, 90)]
        )
        assert answer["presence"][number] == pytest.approx(float(outputs.presence_logits.sigmoid()), abs=1e-5)
        rows = np.flatnonzero(answer["phrase_index"] == number)
        assert (np.diff(answer["scores"][rows]) <= 0).all()
        solid = [at for at, mask in enumerate(expected["masks"]) if mask.any()]
        order = sorted(solid, key=lambda at: -float(expected["scores"][at]))
        assert len(rows) == len(order)
        for row, at in zip(rows, order, strict=True):
            assert answer["scores"][row] == pytest.approx(float(expected["scores"][at]), abs=1e-5)
            mine = rle.decode(answer["rles"][row], 60, 90)
            assert (mine != expected["masks"][at].bool().numpy()).mean() < 1e-3
            assert answer["areas"][row] == mine.sum()
            assert tuple(answer["boxes"][row]) == rle.box(answer["rles"][row], 60, 90)
        found += len(rows)
    assert found >= len(PHRASES)
    assert set(answer) == {
        *("presence", "phrase_index", "scores", "boxes", "size", "model"),
        *("rles", "areas", "predicted_iou", "stability"),
    }
    for name in ("predicted_iou", "stability"):
        assert answer[name].shape == (found,)
        assert ((answer[name] >= 0) & (answer[name] <= 1)).all()


def test_the_release_form_holds_the_image_model_as_its_detector(folder: Path, tmp_path: Path) -> None:
    release = save_sam3(tmp_path / "release", release=True)
    first, second = (ask(serve(one), picture(), PHRASES, 0.05) for one in (folder, release))
    assert first["rles"].tolist() == second["rles"].tolist()
    assert first["model"] != second["model"]


def test_the_image_encoder_runs_once_an_image_and_texts_once_a_phrase(folder: Path) -> None:
    model = serve(folder, sam3_phrases=2, sam3_images_kept=1)
    network = model._sam3.network
    with (
        counted(network.vision_encoder) as images,
        counted(network.text_encoder) as texts,
        counted(network.detr_encoder) as passes,
    ):
        ask(model, picture(), PHRASES)
        assert (images, texts, len(passes)) == ([1], [4], 2)
        ask(model, picture(), [*PHRASES, "cup"])
        assert (images, texts) == ([1], [4, 1])
        model.execute([request(picture(seed=seed), ["cup"]) for seed in (4, 5, 4)])
        assert images == [1, 2]
        ask(model, picture(seed=6), [])
        assert images == [1, 2]
        ask(model, picture(), ["cup"])
        assert images == [1, 2, 1]
        assert texts == [4, 1]


def test_a_batch_answers_as_single_requests_do(folder: Path) -> None:
    model = serve(folder)
    model.warm_up()
    contents = [picture(), picture(50, 70, seed=2)]
    together = model.execute([request(one, PHRASES, 0.05) for one in contents] + [request(b"no", ["bus"])])
    for content, batched in zip(contents, together[:2], strict=True):
        assert not isinstance(batched, ModelError)
        alone = ask(serve(folder), content, PHRASES, 0.05)
        np.testing.assert_allclose(batched["scores"], alone["scores"], atol=1e-5)
        assert batched["size"].tolist() == alone["size"].tolist()
    assert isinstance(together[2], ModelError)
    assert together[2].invalid
    nothing = ask(model, contents[0], [])
    assert [len(nothing[name]) for name in ("presence", "rles", "boxes", "areas")] == [0, 0, 0, 0]
    assert nothing["boxes"].shape == (0, 4)


def test_the_default_threshold_and_the_settings(folder: Path) -> None:
    def scores(model: ServedSam3) -> np.ndarray[Any, Any]:
        (answer,) = model.execute(
            [{"image": bytes_tensor([picture()]), "phrases": bytes_tensor(PHRASES)}],
        )
        assert not isinstance(answer, ModelError)
        return np.asarray(answer["scores"])

    assert (scores(serve(folder)) >= 0.5).all()
    assert len(scores(serve(folder, grounder_threshold=0.05))) > len(scores(serve(folder)))


def test_records_of_masks_whose_probabilities_are_known() -> None:
    logits = torch.full((2, 4, 6), -20.0)
    logits[0, 1:3, 2:5] = 20.0
    logits[1, :, :3] = 0.5  # inside, but below the stability's upper cut
    found = record(logits, 4, 6)
    assert found.areas == [6, 12]
    assert found.boxes == [(2.0, 1.0, 3.0, 2.0), (0.0, 0.0, 3.0, 4.0)]
    assert found.predicted_iou[0] == pytest.approx(1, abs=1e-5)
    assert found.predicted_iou[1] == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-5)
    assert found.stability == [1.0, 0.0]
    empty = record(torch.zeros(0, 4, 6), 4, 6)
    assert empty.rles == []
    none = record(torch.full((1, 4, 6), -20.0), 4, 6)
    assert (none.areas, none.stability) == ([0], [0.0])


def test_what_cannot_serve_is_named(folder: Path, tmp_path: Path) -> None:
    def damaged(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    no_processor, small, short = damaged("no-processor"), damaged("small"), damaged("short")
    (no_processor / "processor_config.json").unlink()
    with pytest.raises(ModelError, match="no-processor has no processor"):
        serve(no_processor)
    processor = small / "processor_config.json"
    edit_json(
        processor,
        image_processor={"image_processor_type": "Sam3ImageProcessor", "size": {"height": 56, "width": 56}},
    )
    with pytest.raises(ModelError, match="makes images 56 x 56, its network takes 112 x 112"):
        serve(small)
    (short / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        serve(short)
    broken = damaged("broken")
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"broken/model\.safetensors is damaged or truncated"):
        serve(broken)


def test_logits_that_overflow_fail_the_request_and_the_warm_up(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "overflowing"))
    tensors = load_file(broken / "model.safetensors")
    tensors["mask_decoder.mask_embedder.layers.1.weight"][:] = 3e38
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    model = serve(broken)
    good, bad = request(picture(), []), request(picture(), ["bus"])
    first, second = model.execute([good, bad])
    assert not isinstance(first, ModelError)
    assert isinstance(second, ModelError)
    assert not second.invalid
    assert "gave NaN or infinity" in str(second)
    with pytest.raises(ModelError, match="NaN or infinity"):
        model.warm_up()
