"""The four bundled models through `services.networks.serving`: tensors, types, errors, batches,
provenance.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from services.core import masks as rle
from services.networks.serving import NAMES, ModelError, NetworkSettings, ServedModel, load
from services.networks.settings import REPOSITORY
from services.networks.tensors import Answer, bytes_tensor
from services.scenes import Scene, SceneSettings, make_scene, phrases

Tensors = Mapping[str, np.ndarray[Any, Any]]


def encode(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(100_000_007, SceneSettings(width=320, height=240, objects=(6, 6)))


@pytest.fixture(scope="module")
def models() -> dict[str, ServedModel]:
    return {name: load(name, NetworkSettings(threads=2)) for name in NAMES}


def answer(model: ServedModel, **tensors: np.ndarray[Any, Any]) -> Answer:
    (found,) = model.execute([tensors])
    assert not isinstance(found, ModelError), found
    (version,) = found["model"]
    assert version.decode() == model.version
    return found


def refusal(model: ServedModel, **tensors: np.ndarray[Any, Any]) -> str:
    (found,) = model.execute([tensors])
    assert isinstance(found, ModelError)
    assert found.invalid
    return str(found)


def image_of(scene: Scene) -> np.ndarray[Any, Any]:
    return bytes_tensor([encode(scene)])


def boxes_of(scene: Scene) -> np.ndarray[Any, Any]:
    return np.array([instance.box for instance in scene.instances], np.float32)


def test_versions_name_the_weights(models: dict[str, ServedModel]) -> None:
    for name, model in models.items():
        assert model.name == name
        registry_name, digest = model.version.rsplit("-", 1)
        assert registry_name
        assert int(digest, 16) >= 0
        assert len(digest) == 8


def test_sam_answers_each_box(models: dict[str, ServedModel], scene: Scene) -> None:
    found = answer(models["sam"], image=image_of(scene), boxes=boxes_of(scene))
    count = len(scene.instances)
    assert found["prompt_index"].tolist() == list(range(count))
    for name, kind in (("areas", np.int64), ("predicted_iou", np.float32), ("stability", np.float32)):
        assert found[name].shape == (count,)
        assert found[name].dtype == kind
    assert found["size"].tolist() == [240, 320]
    for counts, box, area in zip(found["rles"], found["boxes"], found["areas"], strict=True):
        assert rle.area(counts, 240, 320) == area
        assert rle.box(counts, 240, 320) == tuple(box)


def test_sams_masks_lie_on_the_objects(models: dict[str, ServedModel], scene: Scene) -> None:
    found = answer(models["sam"], image=image_of(scene), boxes=boxes_of(scene))
    overlaps = rle.iou(
        list(found["rles"]), [rle.encode(scene.mask(i)) for i in range(len(scene.instances))], 240, 320
    )
    assert float(np.diag(overlaps).mean()) > 0.5


def test_clicks_refine_one_instance(models: dict[str, ServedModel], scene: Scene) -> None:
    ys, xs = np.nonzero(scene.mask(0))
    inside = [float(np.median(xs)), float(np.median(ys)), 1.0]
    one = answer(models["sam"], image=image_of(scene), points=np.array([inside], np.float32))
    assert one["prompt_index"].tolist() == [0]
    more = np.array([inside, [2.0, 2.0, 0.0]], np.float32)
    two = answer(models["sam"], image=image_of(scene), points=more, mask_input=one["rles"])
    assert len(two["rles"]) == 1
    boxed = answer(models["sam"], image=image_of(scene), points=more, boxes=boxes_of(scene)[:1])
    assert len(boxed["rles"]) == 1


def test_everything_mode_needs_no_prompt(models: dict[str, ServedModel], scene: Scene) -> None:
    found = answer(models["sam"], image=image_of(scene), points_per_side=np.array([8], np.int32))
    assert set(found["prompt_index"].tolist()) <= set(range(64))
    assert len(found["rles"]) == len(found["boxes"]) == len(found["stability"])


def test_the_grounder_scores_every_phrase(models: dict[str, ServedModel], scene: Scene) -> None:
    wanted = list(phrases(scene))
    model = models["concept_grounder"]
    found = answer(
        model, image=image_of(scene), phrases=bytes_tensor(wanted), threshold=np.array([0.0], np.float32)
    )
    assert found["presence"].shape == (len(wanted),)
    assert ((found["presence"] >= 0) & (found["presence"] <= 1)).all()
    assert set(found["phrase_index"].tolist()) <= set(range(len(wanted)))
    assert found["boxes"].shape == (len(found["scores"]), 4)
    x, y, w, h = found["boxes"].T
    assert (x >= 0).all()
    assert (y >= 0).all()
    assert (x + w <= 320.01).all()
    assert (y + h <= 240.01).all()
    few = answer(
        model, image=image_of(scene), phrases=bytes_tensor(wanted), threshold=np.array([0.5], np.float32)
    )
    assert len(few["scores"]) < len(found["scores"])
    assert (few["scores"] >= 0.5).all()
    nothing = answer(model, image=image_of(scene), phrases=bytes_tensor([]))
    assert nothing["presence"].shape == (0,)
    assert nothing["boxes"].shape == (0, 4)


def test_the_proposer_writes_distinct_phrases(models: dict[str, ServedModel], scene: Scene) -> None:
    found = answer(models["concept_proposer"], image=image_of(scene), max_phrases=np.array([4], np.int32))
    assert len(set(found["phrases"])) == len(found["phrases"]) <= 4
    assert len(found["phrase_scores"]) == len(found["phrases"])
    assert not set(found["phrases"]) & set(found["negatives"])
    assert len(found["negatives"]) == len(found["negative_scores"]) == len(found["confused_with"])
    assert set(found["confused_with"]) <= {*found["phrases"], b""}
    none = answer(models["concept_proposer"], image=image_of(scene), max_negatives=np.array([0], np.int32))
    assert len(none["negatives"]) == 0


def test_the_verifier_answers_each_task(models: dict[str, ServedModel], scene: Scene) -> None:
    wanted, counts = (
        list(phrases(scene))[:3],
        [rle.encode(scene.mask(i)) for i in range(len(scene.instances))],
    )
    shared = {
        "image": image_of(scene),
        "phrases": bytes_tensor(wanted),
        "rles": bytes_tensor(counts),
        "phrase_index": np.array([i % 3 for i in range(len(counts))], np.int32),
    }
    shapes = {"mv": (len(counts), 5), "ev": (3, 6), "nv": (3, 2)}
    for task, shape in shapes.items():
        found = answer(models["verifier"], task=bytes_tensor([task]), **shared)["probabilities"]
        assert found.shape == shape
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    empty = answer(
        models["verifier"], task=bytes_tensor(["mv"]), image=image_of(scene), phrases=bytes_tensor(wanted)
    )
    assert empty["probabilities"].shape == (0, 5)


@pytest.mark.parametrize(
    ("name", "tensors", "reason"),
    [
        ("sam", {"boxes": np.zeros((1, 3), np.float32)}, r"\[N, 4\]"),
        ("sam", {"boxes": np.array([[1, 1, 0, 5]], np.float32)}, "width and a height"),
        ("sam", {"boxes": np.array([[np.nan, 1, 4, 5]], np.float32)}, "NaN"),
        ("sam", {"boxes": np.array([[1, 1, 3e38, 5]], np.float32)}, r"3e\+38 pixels .* 320 x 240.*at most"),
        ("sam", {"points": np.array([[1, -3e38, 1]], np.float32)}, r"3e\+38 pixels from the origin"),
        ("sam", {"points": np.array([[1, 1, 7]], np.float32)}, "label"),
        ("sam", {"mask_input": bytes_tensor([b"abc"])}, "clicks or the box"),
        ("sam", {"points": np.ones((1, 3), np.float32), "mask_input": bytes_tensor([b"123"])}, "RLE"),
        ("sam", {"points_per_side": np.array([1000], np.int32)}, "points_per_side"),
        ("concept_grounder", {}, "'phrases' is missing"),
        ("concept_grounder", {"phrases": bytes_tensor([b"\xff"])}, "UTF-8"),
        ("concept_grounder", {"phrases": bytes_tensor([" "])}, "empty"),
        ("concept_grounder", {"phrases": bytes_tensor(["a"]), "threshold": np.array([2.0])}, "0 to 1"),
        ("concept_proposer", {"max_phrases": np.array([-1], np.int32)}, "max_phrases"),
        ("verifier", {"task": bytes_tensor(["xx"]), "phrases": bytes_tensor(["a"])}, "mv, ev, nv"),
        (
            "verifier",
            {
                "task": bytes_tensor(["mv"]),
                "phrases": bytes_tensor(["a"]),
                "rles": bytes_tensor([b"1"]),
                "phrase_index": np.array([4], np.int32),
            },
            "0 to 0",
        ),
    ],
)
def test_bad_arguments_are_refused(
    models: dict[str, ServedModel], scene: Scene, name: str, tensors: Tensors, reason: str
) -> None:
    message = refusal(models[name], **{"image": image_of(scene), **tensors})
    assert re.search(reason, message), message


@pytest.mark.parametrize("name", NAMES)
def test_one_bad_image_fails_alone(models: dict[str, ServedModel], scene: Scene, name: str) -> None:
    rest = {
        "sam": {"boxes": boxes_of(scene)},
        "concept_grounder": {"phrases": bytes_tensor(["bus"])},
        "concept_proposer": {},
        "verifier": {"task": bytes_tensor(["nv"]), "phrases": bytes_tensor(["bus"])},
    }[name]
    good, bad = {"image": image_of(scene), **rest}, {"image": bytes_tensor([b"no image"]), **rest}
    first, second, third = models[name].execute([good, bad, good])
    assert isinstance(second, ModelError)
    assert second.invalid
    assert not isinstance(first, ModelError)
    assert not isinstance(third, ModelError)
    for tensor in first:
        assert first[tensor].shape == third[tensor].shape


def test_a_batch_answers_as_single_requests_do(models: dict[str, ServedModel], scene: Scene) -> None:
    other = make_scene(100_000_009, SceneSettings(width=200, height=260))
    requests = [
        {"image": image_of(one), "phrases": bytes_tensor(list(phrases(one)))} for one in (scene, other)
    ]
    exact = load("concept_grounder", NetworkSettings(precision="float32", threads=2))
    together = exact.execute(requests)
    for request, batched in zip(requests, together, strict=True):
        (alone,) = exact.execute([request])
        assert not isinstance(batched, ModelError)
        assert not isinstance(alone, ModelError)
        np.testing.assert_allclose(batched["presence"], alone["presence"], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("sam/1/weights", "mask_decoder.output_hypernetworks_mlps.0.layers.2.weight"),
        ("sam/1/refiner", "exit.weight"),
        ("concept_proposer/1/model", "lm_head.weight"),
        ("verifier/1/weights", "heads.nv.weight"),
    ],
)
def test_weights_that_overflow_name_where_they_are(tmp_path: Path, name: str, weight: str) -> None:
    model = name.partition("/")[0]
    shutil.copytree(REPOSITORY / model, tmp_path / model)
    tensors = load_file(tmp_path / f"{name}.safetensors")
    tensors[weight] = torch.full_like(tensors[weight], 3e38, dtype=torch.float32)
    save_file(tensors, tmp_path / f"{name}.safetensors", metadata={"format": "pt"})
    served = load(model, NetworkSettings(repository=tmp_path, threads=2, precision="float32"))
    with pytest.raises(ModelError, match=rf"NaN or infinity; its weights in {tmp_path}/{model}/1.*again"):
        served.warm_up()


def test_missing_weights_name_the_file(tmp_path: Path) -> None:
    for name in NAMES:
        with pytest.raises(ModelError, match=str(tmp_path)) as caught:
            load(name, NetworkSettings(repository=tmp_path))
        assert not caught.value.invalid
    with pytest.raises(ModelError, match="known are"):
        load("sam2", NetworkSettings())
