"""One suite for both adapters of inference: the networks in this process, and the same on a real Triton."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.core.errors import InvalidInput, Unavailable
from services.kit.inference.embedded import EmbeddedInference
from services.kit.inference.ports import Inference, strings
from services.kit.inference.triton import connect
from services.kit.settings import KitSettings
from services.networks import serving
from services.scenes import SceneSettings, make_scene, phrases
from tests.support.polling import eventually

SETTINGS = KitSettings(inference_timeout=120, inference_attempts=2)
WEIGHTS = re.compile(r"[a-z0-9_.-]+-[0-9a-f]{8}")


def encoded(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(make_scene(seed, SceneSettings(width=128, height=96)).image).save(buffer, "PNG")
    return buffer.getvalue()


IMAGE = encoded(100_000_001)
PHRASES = list(phrases(make_scene(100_000_001, SceneSettings(width=128, height=96))))[:3]
BOXES = np.array([[10, 10, 40, 40], [5, 5, 100, 80]], np.float32)


@pytest.fixture(scope="module", params=["embedded", "triton"])
def inference(request: pytest.FixtureRequest) -> Iterator[Inference]:
    adapter: Inference
    if request.param == "embedded":
        adapter = EmbeddedInference(
            {name: partial(serving.load, name) for name in serving.NAMES}, settings=SETTINGS
        )
    else:
        adapter = connect(request.getfixturevalue("triton_url"), settings=SETTINGS)
    eventually(lambda: all(adapter.ready(name) for name in serving.NAMES), timeout=180)
    yield adapter
    adapter.close()


def sam(boxes: NDArray[np.float32] = BOXES, image: bytes = IMAGE) -> dict[str, NDArray[Any]]:
    return {"image": strings([image]), "boxes": boxes}


def test_answers_have_no_batch_dimension(inference: Inference) -> None:
    answer = inference.infer("sam", sam())
    tensors = answer.tensors
    assert tensors["rles"].shape == (2,)
    assert all(isinstance(counts, bytes) for counts in tensors["rles"])
    assert tensors["boxes"].shape == (2, 4)
    assert tensors["boxes"].dtype == np.float32
    assert tensors["prompt_index"].tolist() == [0, 1]
    assert tensors["prompt_index"].dtype == np.int32
    assert tensors["size"].tolist() == [96, 128]


def test_answers_name_the_model_that_made_them(inference: Inference) -> None:
    for name, question in (
        ("sam", sam()),
        ("concept_grounder", {"image": strings([IMAGE]), "phrases": strings(PHRASES)}),
    ):
        model = inference.infer(name, question).model
        assert model.name == name
        assert model.version == "1"
        assert WEIGHTS.fullmatch(model.weights)


def test_empty_tensors_go_both_ways(inference: Inference) -> None:
    nothing = inference.infer(
        "verifier",
        {
            "image": strings([IMAGE]),
            "task": strings(["mv"]),
            "phrases": strings(PHRASES),
            "rles": strings([]),
            "phrase_index": np.zeros(0, np.int32),
        },
    )
    assert nothing.tensors["probabilities"].shape == (0, 5)
    nobody = inference.infer(
        "concept_grounder",
        {
            "image": strings([IMAGE]),
            "phrases": strings(PHRASES),
            "threshold": np.array([1.0], np.float32),
        },
    )
    assert nobody.tensors["boxes"].shape == (0, 4)
    assert nobody.tensors["presence"].shape == (len(PHRASES),)


def test_optional_tensors_may_be_left_out(inference: Inference) -> None:
    assert inference.infer("concept_proposer", {"image": strings([IMAGE])}).tensors["phrases"].ndim == 1


@pytest.mark.parametrize(
    "question",
    [
        {"image": strings([b"no image at all"]), "boxes": BOXES},
        {"image": strings([IMAGE[:100]]), "boxes": BOXES},
        {"image": strings([b""]), "boxes": BOXES},
        {"image": strings([IMAGE]), "boxes": np.full((1, 4), np.nan, np.float32)},
    ],
    ids=["wrong type", "truncated", "empty", "no box"],
)
def test_bad_input_is_refused_as_such(inference: Inference, question: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(InvalidInput) as refused:
        inference.infer("sam", question)
    assert str(refused.value)


def test_a_bad_call_fails_alone_among_those_it_meets(inference: Inference) -> None:
    questions = [sam(image=encoded(100_000_010 + n)) if n % 3 else sam(image=b"bad") for n in range(9)]

    def ask(question: dict[str, NDArray[Any]]) -> str:
        try:
            return f"{len(inference.infer('sam', question).tensors['rles'])} masks"
        except InvalidInput:
            return "refused"

    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(ask, questions))
    assert answers == ["refused" if n % 3 == 0 else "2 masks" for n in range(9)]


def test_calls_that_meet_get_their_own_answers(inference: Inference) -> None:
    questions = [sam(BOXES[: 1 + n % 2], encoded(100_000_020 + n)) for n in range(6)]
    alone = [inference.infer("sam", question).tensors for question in questions]
    with ThreadPoolExecutor(6) as pool:
        together = [answer.tensors for answer in pool.map(partial(inference.infer, "sam"), questions)]
    for one, other in zip(alone, together, strict=True):
        assert one["prompt_index"].tolist() == other["prompt_index"].tolist()
        np.testing.assert_allclose(one["boxes"], other["boxes"], atol=2)


def test_the_serving_models_are_listed(inference: Inference) -> None:
    assert {model.name for model in inference.models()} >= set(serving.NAMES)


def test_an_unknown_model_is_unavailable_and_not_ready(inference: Inference) -> None:
    assert not inference.ready("nothing_like_it")
    with pytest.raises(Unavailable):
        inference.infer("nothing_like_it", sam())
