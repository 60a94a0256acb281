"""The model repository on a real Triton: the same answers as in process, batches, errors, versions."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image

from services.core import masks as rle
from services.networks.serving import NAMES, ModelError, load
from services.networks.settings import NetworkSettings
from services.networks.tensors import bytes_tensor
from services.networks.triton import threads_a_model
from services.scenes import Scene, SceneSettings, make_scene, phrases

Tensor = np.ndarray[Any, Any]
TYPES = {"float32": "FP32", "int32": "INT32", "object": "BYTES"}
OUTPUTS = {
    "sam": {"rles", "boxes", "areas", "predicted_iou", "stability", "prompt_index", "size", "model"},
    "concept_grounder": {"presence", "phrase_index", "scores", "boxes", "size", "model"},
    "concept_proposer": {
        "phrases",
        "phrase_scores",
        "negatives",
        "negative_scores",
        "confused_with",
        "model",
    },
    "verifier": {"probabilities", "positive_calibration", "negative_calibration", "model"},
}


@pytest.fixture(scope="module")
def client(triton_url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(triton_url) as connected:
        yield connected


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(100_000_007, SceneSettings(width=320, height=240, objects=(6, 6)))


def request_of(name: str, scene: Scene) -> dict[str, Tensor]:
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, "PNG")
    wanted = list(phrases(scene))[:4]
    masks = [rle.encode(scene.mask(index)) for index in range(len(scene.instances))]
    rest: dict[str, dict[str, Tensor]] = {
        "sam": {"boxes": np.array([instance.box for instance in scene.instances], np.float32)},
        "concept_grounder": {"phrases": bytes_tensor(wanted), "threshold": np.array([0.1], np.float32)},
        "concept_proposer": {
            "max_phrases": np.array([3], np.int32),
            "max_negatives": np.array([2], np.int32),
        },
        "verifier": {
            "task": bytes_tensor(["mv"]),
            "phrases": bytes_tensor(wanted),
            "rles": bytes_tensor(masks),
            "phrase_index": np.zeros(len(masks), np.int32),
        },
    }
    return {"image": bytes_tensor([buffer.getvalue()]), **rest[name]}


def infer(client: triton.InferenceServerClient, name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One request with the batch dimension of the wire; the answer without it."""
    inputs = []
    for tensor, values in tensors.items():
        given = triton.InferInput(tensor, [1, *values.shape], TYPES[values.dtype.name])
        given.set_data_from_numpy(values[None])
        inputs.append(given)
    result = client.infer(name, inputs)
    answer = result.get_response()
    assert answer.model_version == "1"
    found = {output.name: result.as_numpy(output.name) for output in answer.outputs}
    assert all(values.shape[0] == 1 for values in found.values())
    return {tensor: values[0] for tensor, values in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_triton_answers_as_the_network_does_in_process(
    client: triton.InferenceServerClient, scene: Scene, name: str
) -> None:
    tensors = request_of(name, scene)
    over_triton = infer(client, name, tensors)
    # In bf16 the last bits depend on how many threads share a sum.
    (in_process,) = load(name, NetworkSettings(threads=threads_a_model())).execute([tensors])
    assert not isinstance(in_process, ModelError)
    assert set(over_triton) == set(in_process) == OUTPUTS[name]
    for tensor, values in in_process.items():
        assert over_triton[tensor].shape == values.shape, tensor
        if values.dtype == np.object_:
            assert over_triton[tensor].tolist() == values.tolist(), tensor
        else:
            np.testing.assert_allclose(over_triton[tensor], values, atol=1e-3, err_msg=tensor)


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_image_among_others_fails_alone(
    client: triton.InferenceServerClient, scene: Scene, name: str
) -> None:
    good = request_of(name, scene)
    bad = {**good, "image": bytes_tensor([b"no image"])}

    def outcome(tensors: dict[str, Tensor]) -> str:
        try:
            return "answered" if infer(client, name, tensors) else "empty"
        except triton.InferenceServerException as fault:
            return f"{fault.status()} {fault.message()}"

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(outcome, [good, good, bad, good, good, bad]))
    assert [outcomes[i] for i in (0, 1, 3, 4)] == ["answered"] * 4
    for refused in (outcomes[2], outcomes[5]):
        assert refused == "StatusCode.INVALID_ARGUMENT the image's bytes are of no known format"


def test_two_images_in_one_request_are_refused(client: triton.InferenceServerClient, scene: Scene) -> None:
    image = request_of("sam", scene)["image"]
    given = triton.InferInput("image", [2, 1], "BYTES")
    given.set_data_from_numpy(np.stack([image, image]))
    with pytest.raises(triton.InferenceServerException, match="one request is one image"):
        client.infer("sam", [given])


def test_optional_inputs_may_be_absent_or_empty(client: triton.InferenceServerClient, scene: Scene) -> None:
    tensors = request_of("verifier", scene)
    found = infer(client, "verifier", {name: tensors[name] for name in ("image", "task", "phrases")})
    assert found["probabilities"].shape == (0, 5)
    nothing = infer(client, "concept_grounder", {"image": tensors["image"], "phrases": bytes_tensor([])})
    assert nothing["presence"].shape == (0,)
    assert nothing["boxes"].shape == (0, 4)


def test_the_repository_says_what_is_ready(client: triton.InferenceServerClient) -> None:
    ready = {
        model["name"]: model["state"] for model in client.get_model_repository_index(as_json=True)["models"]
    }
    assert {name: ready.get(name) for name in NAMES} == dict.fromkeys(NAMES, "READY")
