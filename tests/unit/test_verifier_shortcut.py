"""The served verifier's shortcuts give what the network gives, and an image is encoded once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from services.core import masks as rle
from services.networks.errors import ModelError
from services.networks.grounder.architecture import SERVED_SIDE
from services.networks.tensors import Request, bytes_tensor
from services.networks.verifier import shortcut
from services.networks.verifier.architecture import QUESTION_LENGTH, TASKS, Verifier, empty_sheets
from services.networks.verifier.served import ServedVerifier
from services.networks.verifier.views import mask_sheet
from services.trainer.phrase_bank import scene_tokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> Iterator[Verifier]:
    """Random weights, also where the architecture starts with ones and zeros."""
    torch.manual_seed(5)
    words = scene_tokenizer()
    made = Verifier(len(words), words.pad_token_id, words.bos_token_id, words.eos_token_id).eval()
    with torch.inference_mode():
        for name, parameter in made.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        yield made


def _sheets() -> torch.Tensor:
    """One empty sheet, one of two masks, one that covers all."""
    some = torch.zeros(2, SERVED_SIDE, SERVED_SIDE)
    some[0, 40:95, 60:100] = 1
    some[1, 200:252, 0:31] = 1
    return torch.stack([mask_sheet(some[:0]), mask_sheet(some), mask_sheet(torch.ones(1, *some.shape[1:]))])


def _words() -> tuple[torch.Tensor, torch.Tensor]:
    attention = torch.ones(3, QUESTION_LENGTH, dtype=torch.long)
    attention[0, 2:] = 0
    attention[2, 1:] = 0
    return torch.randint(1, len(scene_tokenizer()), (3, QUESTION_LENGTH)), attention


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_those_of_the_network(network: Verifier, task: str) -> None:
    ids, attention = _words()
    sheets = _sheets()
    images = network.encode_images(torch.randn(2, 3, SERVED_SIDE, SERVED_SIDE))
    bare = network.lay_masks(images, empty_sheets(1)).tokens
    for row in range(2):
        image = images.take(slice(row, row + 1))
        whole = network.lay_masks(image.take(torch.zeros(3, dtype=torch.long)), sheets)
        memory = shortcut.laid(network, image, bare[row : row + 1], sheets)
        assert torch.allclose(memory.tokens, whole.tokens, atol=1e-5)
        assert torch.equal(memory.covered, whole.covered)
        ours = shortcut.answer(network, task, memory, ids, attention)
        theirs, _ = network.answer(task, whole, ids, attention)
        assert ours.shape == theirs.shape
        assert torch.allclose(ours, theirs, atol=1e-4), float((ours - theirs).abs().max())
        assert float(theirs.std(0).max()) > 1e-3  # phrases and sheets matter to what is compared


def test_empty_sheets_share_one_memory(network: Verifier) -> None:
    ids, attention = _words()
    image = network.encode_images(torch.randn(1, 3, SERVED_SIDE, SERVED_SIDE))
    empty = empty_sheets(3)
    memory = shortcut.laid(network, image, network.lay_masks(image, empty[:1]).tokens, empty)
    assert len(memory.tokens) == len(memory.covered) == 1
    shared = shortcut.answer(network, "nv", memory, ids, attention)
    each = shortcut.answer(network, "nv", memory.take(torch.zeros(3, dtype=torch.long)), ids, attention)
    assert torch.allclose(shared, each, atol=1e-5)


def _request(task: str, seed: int, phrases: list[str]) -> Request:
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(buffer, "PNG")
    mask = np.zeros((60, 80), np.bool_)
    mask[10:30, 20:50] = True
    counts = [rle.encode(mask), rle.encode(~mask), rle.encode(mask)] if phrases and task != "nv" else []
    return {
        "image": bytes_tensor([buffer.getvalue()]),
        "task": bytes_tensor([task]),
        "phrases": bytes_tensor(phrases),
        "rles": bytes_tensor(counts),
        "phrase_index": np.array([1, 1, 0][: len(counts)], np.int32),
    }


@pytest.fixture
def served(network: Verifier) -> ServedVerifier:
    return ServedVerifier(
        network, scene_tokenizer(), dict.fromkeys(TASKS, 1.0), "verifier-test", CPU, torch.float32
    )


def test_requests_that_meet_are_answered_as_alone(network: Verifier, served: ServedVerifier) -> None:
    asked = [
        _request(task, seed, phrases)
        for seed, phrases in ((1, ["bus", "red bus"]), (2, []), (3, ["dog", "yellow striped dog", "kite"]))
        for task in TASKS
    ]
    together = served.execute(asked)
    for request, answer in zip(asked, together, strict=True):
        fresh = ServedVerifier(
            network, scene_tokenizer(), dict.fromkeys(TASKS, 1.0), "verifier-test", CPU, torch.float32
        )
        (alone,) = fresh.execute([request])
        assert not isinstance(answer, ModelError)
        assert not isinstance(alone, ModelError)
        assert np.allclose(answer["probabilities"], alone["probabilities"], atol=1e-5)
        assert np.allclose(answer["probabilities"].sum(-1), 1, atol=1e-5)


def test_an_image_is_encoded_once(network: Verifier, served: ServedVerifier) -> None:
    with patch.object(network, "encode_images", wraps=network.encode_images) as encode:
        served.execute([_request("mv", 7, ["bus", "kite"])])
        assert encode.call_count == 0  # crops are all that mv looks at
        served.execute([_request("nv", 7, ["bus"]), _request("ev", 7, ["bus", "kite"])])
        served.execute([_request("ev", 7, ["kite", "dog"])])
        assert encode.call_count == 1
        assert encode.call_args.args[0].shape[0] == 1
        served.execute([_request("nv", 8, ["bus"]), _request("nv", 7, ["bus"])])
        assert encode.call_count == 2


def test_sheets_are_those_of_whole_masks(network: Verifier, served: ServedVerifier) -> None:
    """EV through the served model is the network on sheets made from the request's masks."""
    request = _request("ev", 9, ["bus", "kite"])
    (answer,) = served.execute([request])
    assert not isinstance(answer, ModelError)
    case = served.parse(request)
    square = torch.zeros(3, 1, 80, 80)
    square[:, 0, :60] = torch.from_numpy(np.stack(case.masks)).float()
    small = functional.interpolate(square, (SERVED_SIDE, SERVED_SIDE), mode="bilinear", antialias=True)[:, 0]
    sheets = torch.stack([mask_sheet(small[2:]), mask_sheet(small[:2])])
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[:60] = case.pixels
    resized = np.asarray(
        Image.fromarray(pixels).resize((SERVED_SIDE, SERVED_SIDE), Image.Resampling.BILINEAR)
    )
    whole = network.encode_images(
        (torch.from_numpy(resized.copy()).permute(2, 0, 1)[None].float() - 127.5) / 63.75
    )
    tokens = scene_tokenizer()(
        ["bus", "kite"], padding="max_length", max_length=QUESTION_LENGTH, return_tensors="pt"
    )
    logits, _ = network.answer(
        "ev",
        network.lay_masks(whole.take(torch.zeros(2, dtype=torch.long)), sheets),
        tokens["input_ids"],
        tokens["attention_mask"],
    )
    assert np.allclose(answer["probabilities"], logits.softmax(-1).numpy(), atol=1e-4)
