"""Public OWLv2 and GroundingDINO directories load as they are and answer as transformers' own code does; what
cannot serve is refused with the file and the fix.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Owlv2ForObjectDetection,
    Owlv2Processor,
)
from transformers.models.grounding_dino.modeling_grounding_dino import build_label_maps

from services.networks.grounder.architecture import token_features
from services.networks.grounder.grounding_dino import write_texts
from services.networks.serving import ModelError, NetworkSettings, ServedModel, load
from services.networks.tensors import Answer, bytes_tensor
from tests.support.public_grounders import edit_json, picture, save_grounding_dino, save_owlv2

PHRASES = ["yellow bus", "red striped cup", "car"]
SAVERS: dict[str, Callable[[Path], Path]] = {"owlv2": save_owlv2, "grounding-dino": save_grounding_dino}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("public")
    return {name: save(root / name) for name, save in SAVERS.items()}


def serve(folder: Path, **further: Any) -> ServedModel:
    settings = {"concept_grounder_weights": folder, "precision": "float32", "threads": 1, "device": "cpu"}
    return load("concept_grounder", NetworkSettings(**{**settings, **further}))


def ask(model: ServedModel, image: bytes, phrases: list[str], threshold: float | None = None) -> Answer:
    request = {"image": bytes_tensor([image]), "phrases": bytes_tensor(phrases)}
    if threshold is not None:
        request["threshold"] = np.array([threshold], np.float32)
    (answer,) = model.execute([request])
    assert not isinstance(answer, ModelError), answer
    return answer


def as_image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def corners(answer: Answer) -> np.ndarray[Any, Any]:
    return np.concatenate([answer["boxes"][:, :2], answer["boxes"][:, :2] + answer["boxes"][:, 2:]], 1)


def presence_of(best: np.ndarray[Any, Any], threshold: float) -> np.ndarray[Any, Any]:
    """A phrase is as likely there as not when its best box just reaches the threshold."""
    odds = best / (1 - best) * (1 - threshold) / threshold
    return np.asarray(odds / (1 + odds))


def clipped_to(
    boxes: np.ndarray[Any, Any], size: tuple[int, int]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What of the boxes [Q, 4] lies in the image, and of which that is a pixel wide and high."""
    height, width = size
    clipped = np.clip(boxes, 0, [width, height, width, height])
    return clipped, ((clipped[:, 2:] - clipped[:, :2]) >= 1).all(1)


def assert_same_detections(
    answer: Answer, chances: np.ndarray[Any, Any], boxes: np.ndarray[Any, Any], size: tuple[int, int]
) -> None:
    """Every answered box is one of these [Q, 4] with its score of these [P, Q]; none of the best is lost."""
    clipped, solid = clipped_to(boxes, size)
    assert len(answer["scores"]) >= len(chances)
    for phrase, score, box in zip(answer["phrase_index"], answer["scores"], corners(answer), strict=True):
        distance = np.abs(clipped - box).max(1) + 100 * np.abs(chances[phrase] - score)
        assert distance.min() < 0.05
    for phrase, row in enumerate(chances):
        mine = answer["scores"][answer["phrase_index"] == phrase]
        assert mine.max() == pytest.approx(row[solid].max(), abs=1e-4)
        assert (np.diff(mine) <= 1e-6).all()


@torch.inference_mode()
def test_owlv2_answers_as_transformers_does(folders: dict[str, Path]) -> None:
    folder, content = folders["owlv2"], picture()
    answer = ask(serve(folder), content, PHRASES, 0.0)
    processor: Any = Owlv2Processor.from_pretrained(folder)
    kind: Any = Owlv2ForObjectDetection
    network = kind.from_pretrained(folder).eval()
    texts = [[f"a photo of a {phrase}" for phrase in PHRASES]]
    inputs = processor(text=texts, images=as_image(content), return_tensors="pt", padding="max_length")
    outputs = network(**inputs)
    chances = outputs.logits[0].sigmoid().numpy().T
    centre, extent = outputs.pred_boxes[0, :, :2], outputs.pred_boxes[0, :, 2:]
    boxes = torch.cat([centre - extent / 2, centre + extent / 2], 1).numpy() * 90
    assert chances.std() > 0.01
    assert_same_detections(answer, chances, boxes, (60, 90))
    np.testing.assert_allclose(answer["presence"], presence_of(chances.max(1), 0.2), atol=1e-3)
    assert answer["size"].tolist() == [60, 90]


def test_an_image_that_was_seen_lately_is_not_encoded_again(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve(folders["owlv2"], embeddings_kept=1)
    sizes: list[int] = []
    encode = token_features

    def counted(network: Any, pixels: torch.Tensor) -> Any:
        sizes.append(len(pixels))
        return encode(network, pixels)

    monkeypatch.setattr("services.networks.grounder.served.token_features", counted)
    first = ask(model, picture(), PHRASES, 0.0)
    again = ask(model, picture(), ["car", *PHRASES], 0.0)
    assert sizes == [1]
    np.testing.assert_allclose(again["presence"][1:], first["presence"], rtol=1e-5)
    image = Image.new("RGB", (40, 30), (10, 200, 30))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    requests = [
        {"image": bytes_tensor([content]), "phrases": bytes_tensor(PHRASES)}
        for content in (picture(), buffer.getvalue(), picture())
    ]
    answers = model.execute(requests)
    assert sizes == [1, 1]
    shapes = [answer["size"].tolist() for answer in answers if not isinstance(answer, ModelError)]
    assert shapes == [[60, 90], [30, 40], [60, 90]]
    ask(model, picture(), PHRASES)
    assert sizes == [1, 1, 1]


@torch.inference_mode()
def test_grounding_dino_answers_as_transformers_does(folders: dict[str, Path]) -> None:
    folder, content = folders["grounding-dino"], picture()
    answer = ask(serve(folder), content, PHRASES, 0.0)
    processor: Any = GroundingDinoProcessor.from_pretrained(folder)
    kind: Any = GroundingDinoForObjectDetection
    network = kind.from_pretrained(folder).eval()
    inputs = processor(images=as_image(content), text=[PHRASES], return_tensors="pt")
    outputs = network(**inputs)
    label_maps: Any = build_label_maps
    (labels,) = label_maps(outputs.logits, inputs["input_ids"])
    assert labels.shape[0] == len(PHRASES)
    tokens = outputs.logits[0].sigmoid().numpy()
    chances = np.stack([tokens[:, label.bool().numpy()].mean(1) for label in labels])
    centre, extent = outputs.pred_boxes[0, :, :2], outputs.pred_boxes[0, :, 2:]
    boxes = torch.cat([centre - extent / 2, centre + extent / 2], 1).numpy() * [90, 60, 90, 60]
    assert chances.std() > 0.01
    assert_same_detections(answer, chances, boxes, (60, 90))
    seen = chances[:, clipped_to(boxes, (60, 90))[1]]
    np.testing.assert_allclose(answer["presence"], presence_of(seen.max(1), 0.25), atol=1e-3)


@pytest.mark.parametrize("name", SAVERS)
def test_batches_thresholds_and_no_phrases(folders: dict[str, Path], name: str) -> None:
    model = serve(folders[name])
    model.warm_up()
    first, second = picture(), picture(70, 100, seed=3)
    requests = [
        {
            "image": bytes_tensor([one]),
            "phrases": bytes_tensor(PHRASES),
            "threshold": np.zeros(1, np.float32),
        }
        for one in (first, b"no image", second)
    ]
    together = model.execute(requests)
    assert isinstance(together[1], ModelError)
    assert together[1].invalid
    for content, batched in ((first, together[0]), (second, together[2])):
        assert not isinstance(batched, ModelError)
        alone = ask(model, content, PHRASES, 0.0)
        np.testing.assert_allclose(batched["presence"], alone["presence"], atol=1e-4)
        np.testing.assert_allclose(batched["scores"], alone["scores"], atol=1e-4)
    few = ask(model, first, PHRASES, 0.5)
    assert (few["scores"] >= 0.5).all()
    nothing = ask(model, first, [])
    assert nothing["presence"].shape == (0,)
    assert nothing["boxes"].shape == (0, 4)
    assert re.fullmatch(rf"{name}-[0-9a-f]{{8}}", model.version)


def test_more_phrases_than_one_text_holds(folders: dict[str, Path]) -> None:
    phrases = [f"yellow bus {number}" for number in range(30)]
    answer = ask(serve(folders["grounding-dino"]), picture(), phrases, 0.0)
    assert answer["presence"].shape == (30,)
    assert set(answer["phrase_index"].tolist()) == set(range(30))


def test_texts_hold_every_phrase_once() -> None:
    phrases = [[7] * count for count in (1, 5, 2, 30, 3, 3, 1)]
    texts = write_texts(phrases, 12)
    read = [text.ids[span] for text in texts for span in text.spans]
    assert read == [tokens[:9] for tokens in phrases]
    for text in texts:
        assert len(text.ids) <= 12
        assert (text.ids[0], text.ids[-1]) == (101, 102)
        assert all(text.ids[span.stop] == 1012 for span in text.spans)
    assert write_texts([], 12) == []


def test_a_phrase_of_stops_is_refused_and_stops_within_are_spaces(folders: dict[str, Path]) -> None:
    model = serve(folders["grounding-dino"])
    (answer,) = model.execute([{"image": bytes_tensor([picture()]), "phrases": bytes_tensor(["bus", "..?"])}])
    assert isinstance(answer, ModelError)
    assert answer.invalid
    assert "no words" in str(answer)
    dotted, spaced = ask(model, picture(), ["yellow.bus"]), ask(model, picture(), ["yellow bus"])
    assert dotted["presence"] == pytest.approx(spaced["presence"])


def test_a_fitted_presence_and_threshold_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["grounding-dino"], tmp_path / "dino")
    (folder / "tercet.json").write_text('{"name": "ours", "score_threshold": 0.99, "presence_shift": -40}')
    model = serve(folder)
    assert model.version.startswith("ours-")
    answer = ask(model, picture(), PHRASES)
    assert (answer["scores"] >= 0.99).all()
    assert (answer["presence"] < 0.01).all()
    lower = ask(serve(folder, grounder_threshold=0.1), picture(), PHRASES)
    assert len(lower["scores"]) > len(answer["scores"])
    (folder / "tercet.json").write_text('{"nms": "much"}')


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ('{"nms": "much"}', "nms must be a number from 0 to 1, not 'much'"),
        ('{"score_threshold": 2}', "score_threshold must be a number from 0 to 1, not 2"),
        ('{"presence_scale": NaN}', "presence_scale must be a number .*, not nan"),
        ('{"presence_shift": Infinity}', "presence_shift must be a number .*, not inf"),
        ('{"prompt": "{thing}"}', r"the prompt '\{thing\}' has a field other than \{phrase\}"),
        ("[]", "is not a JSON object"),
    ],
)
def test_a_calibration_that_is_none_is_refused(
    folders: dict[str, Path], tmp_path: Path, told: str, reason: str
) -> None:
    folder = shutil.copytree(folders["owlv2"], tmp_path / "model")
    (folder / "tercet.json").write_text(told)
    with pytest.raises(ModelError, match=rf"model/tercet\.json:? {reason}") as caught:
        serve(folder)
    assert not caught.value.invalid


def test_a_calibration_does_not_change_how_a_public_network_sees(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["owlv2"], tmp_path / "model")
    processor = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    plain = ask(serve(folder), picture(), PHRASES, 0.0)
    (folder / "tercet.json").write_text('{"name": "ours"}')
    named = ask(serve(folder), picture(), PHRASES, 0.0)
    np.testing.assert_array_equal(plain["scores"], named["scores"])


@pytest.mark.parametrize("name", SAVERS)
def test_a_phrase_that_no_box_shows_is_not_present(folders: dict[str, Path], name: str) -> None:
    model = serve(folders[name])
    for size in ((1, 1), (1, 40), (33, 1), (90, 60)):
        answer = ask(model, picture(*size), PHRASES, 0.0)
        for phrase, presence in enumerate(answer["presence"]):
            assert (phrase in answer["phrase_index"]) == (presence > 0), size


def test_a_special_token_within_a_phrase_is_text(folders: dict[str, Path]) -> None:
    owl = serve(folders["owlv2"])
    presence = ask(owl, picture(), ["bus<|endoftext|> red cup", "bus"])["presence"]
    assert presence[0] != pytest.approx(presence[1], abs=1e-6)
    phrases = ["red [SEP] bus", "[CLS] cup", "[MASK] [PAD] car"]
    dino: Any = serve(folders["grounding-dino"])
    parsed = dino.parse({"image": bytes_tensor([picture()]), "phrases": bytes_tensor(phrases)})
    assert not {0, 101, 102, 103} & {token for phrase in parsed.phrases for token in phrase}
    assert ask(dino, picture(), phrases)["presence"].shape == (3,)


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def spoil(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name, value in tensors.items() if value.ndim == 2)
    tensors[name][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def pickle_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Path("/")}, folder / "pytorch_model.bin")


def lose_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def resize(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 48
    (folder / "config.json").write_text(json.dumps(config))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "does not exist"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json.*copy the whole"),
    "config is no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        "config.json is not a JSON",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded|no weights"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer .*copy the whole"),
    "no processor": (
        lambda folder: (folder / "processor_config.json").unlink(),
        "no processor .*copy the whole",
    ),
    "another model": (
        lambda folder: edit_json(folder / "config.json", model_type="bert"),
        "holds a 'bert' model.*owlv2, grounding-dino or sam3",
    ),
    "truncated": (truncate, r"model\.safetensors is damaged or truncated.*fetch it again"),
    "not a number": (spoil, "holds NaN or infinity in .*fetch it again"),
    "pickled code": (pickle_code, r"pytorch_model\.bin holds pickled code.*no code was run"),
    "lost weights": (lose_weights, "lacks weights of its .*the first is"),
    "other sizes": (resize, r"another .*the first is .* has shape \(64.*\), not \(48.*config\.json belongs"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", SAVERS)
def test_a_directory_that_cannot_serve_is_named(
    folders: dict[str, Path], tmp_path: Path, name: str, damage: str
) -> None:
    folder = shutil.copytree(folders[name], tmp_path / "model")
    spoiled, reason = DAMAGES[damage]
    spoiled(folder)
    with pytest.raises(ModelError, match=reason) as caught:
        serve(folder)
    assert str(folder) in str(caught.value)
    assert not caught.value.invalid


def test_a_tokenizer_of_another_model_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["grounding-dino"], tmp_path / "model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders["owlv2"] / file, folder / file)
    with pytest.raises(ModelError, match=r"number .*as bert-base-uncased does"):
        serve(folder)


@pytest.mark.parametrize(
    ("name", "weight"),
    [("owlv2", "class_head.dense0.weight"), ("grounding-dino", "model.text_projection.weight")],
)
def test_logits_that_overflow_fail_the_request_and_the_warm_up(
    folders: dict[str, Path], tmp_path: Path, name: str, weight: str
) -> None:
    folder = shutil.copytree(folders[name], tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors[weight][:] = 3e38
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model = serve(folder)
    (answer,) = model.execute([{"image": bytes_tensor([picture()]), "phrases": bytes_tensor(["bus"])}])
    assert isinstance(answer, ModelError)
    assert not answer.invalid
    assert re.match(rf"{name}-[0-9a-f]{{8}} gave NaN or infinity; its weights in {folder} are", str(answer))
    with pytest.raises(ModelError, match="NaN or infinity"):
        model.warm_up()
