"""Public vision-language models as concept proposer: what a trained one writes comes out as phrases, what an
untrained one writes fails its request.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from services.networks.serving import ModelError, NetworkSettings, ServedModel, load
from services.networks.tensors import bytes_tensor
from services.networks.vlm.prompting import BUNDLED
from tests.support.vlm_directories import MAKERS, make_llava

WRITTEN = (
    '{"phrases": ["red buses", "the traffic light"], '
    '"negatives": [{"phrase": "yellow truck", "confused_with": "red bus"}, "red bus", "street lamp"]}'
)


def settings(folder: Path, **more: Any) -> NetworkSettings:
    given = {
        "concept_proposer_weights": folder,
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
        **more,
    }
    return NetworkSettings.model_validate(given)


def picture() -> Image.Image:
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8))


def request(**more: int) -> dict[str, np.ndarray[Any, Any]]:
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    counts = {name: np.array([count], np.int32) for name, count in more.items()}
    return {"image": bytes_tensor([buffer.getvalue()]), **counts}


def texts(values: np.ndarray[Any, Any]) -> list[str]:
    return [value.decode() for value in values.tolist()]


def refusal(model: ServedModel) -> ModelError:
    (found,) = model.execute([request()])
    assert isinstance(found, ModelError)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA that learnt to write one answer to the proposer's prompt, by gradient steps on its tokens."""
    torch.set_num_threads(1)  # small tensors on a busy machine: more threads wait for each other
    folder = make_llava(tmp_path_factory.mktemp("vlm") / "llava")
    kind: Any = AutoProcessor
    processor = kind.from_pretrained(folder)
    network: Any = LlavaForConditionalGeneration.from_pretrained(folder)
    prompt = (BUNDLED / "propose.md").read_text("utf-8").strip()
    prompt = prompt.replace("$max_phrases", "20").replace("$max_negatives", "10")
    content = [{"type": "image", "image": picture()}, {"type": "text", "text": prompt}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    answer = processor.tokenizer(WRITTEN, add_special_tokens=False, return_tensors="pt")["input_ids"]
    answer = torch.cat([answer, torch.tensor([[processor.tokenizer.eos_token_id]])], 1)
    ids = torch.cat([inputs["input_ids"], answer], 1)
    labels = torch.cat([torch.full_like(inputs["input_ids"], -100), answer], 1)
    steps = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(150):
        loss = network(
            input_ids=ids,
            pixel_values=inputs["pixel_values"],
            attention_mask=torch.ones_like(ids),
            labels=labels,
        ).loss
        if float(loss.detach()) < 0.05:
            break
        steps.zero_grad()
        loss.backward()
        steps.step()
    assert float(loss.detach()) < 0.05
    network.save_pretrained(folder)
    return folder


def test_what_a_trained_model_writes_comes_out_as_phrases(trained: Path) -> None:
    model = load("concept_proposer", settings(trained))
    model.warm_up()
    (found,) = model.execute([request()])
    assert not isinstance(found, ModelError), found
    assert texts(found["phrases"]) == ["red bus", "traffic light"]
    assert texts(found["negatives"]) == ["yellow truck", "street lamp"]
    assert texts(found["confused_with"]) == ["red bus", ""]
    assert texts(found["model"]) == [model.version]
    for scores in (found["phrase_scores"], found["negative_scores"]):
        assert scores.dtype == np.float32
        assert scores.shape == (2,)
        assert ((scores > 0.5) & (scores <= 1)).all()


def test_greedy_decoding_is_deterministic_alone_and_in_a_batch(trained: Path) -> None:
    model = load("concept_proposer", settings(trained, vlm_batch=2))
    found = model.execute([request(), request(), request()])
    for one in found:
        assert not isinstance(one, ModelError)
        assert texts(one["phrases"]) == ["red bus", "traffic light"]
    first = found[0]
    assert not isinstance(first, ModelError)
    (again,) = model.execute([request()])
    assert not isinstance(again, ModelError)
    np.testing.assert_allclose(first["phrase_scores"], again["phrase_scores"], atol=1e-5)


def test_a_text_that_is_cut_off_gives_what_was_complete(trained: Path) -> None:
    kind: Any = AutoProcessor
    processor = kind.from_pretrained(trained)
    start = processor.tokenizer('{"phrases": ["red buses", "the traffic', add_special_tokens=False)[
        "input_ids"
    ]
    model = load("concept_proposer", settings(trained, vlm_tokens=len(start)))
    (found,) = model.execute([request()])
    assert not isinstance(found, ModelError), found
    assert texts(found["phrases"]) == ["red bus"]
    assert texts(found["negatives"]) == []


def test_sampling_is_a_choice(trained: Path) -> None:
    torch.manual_seed(0)
    (found,) = load("concept_proposer", settings(trained, vlm_temperature=0.2)).execute([request()])
    assert not isinstance(found, ModelError), found
    assert texts(found["phrases"]) == ["red bus", "traffic light"]


@pytest.mark.parametrize("name", MAKERS)
def test_an_output_that_does_not_parse_fails_its_request(tmp_path: Path, name: str) -> None:
    model = load("concept_proposer", settings(MAKERS[name](tmp_path), vlm_tokens=24))
    model.warm_up()
    fault = refusal(model)
    assert fault.invalid, "asking again would give the same"
    message = str(fault)
    assert message.startswith(f"{model.version} did not write the JSON that its prompt asks for: ")
    assert "It began '" in message or 'It began "' in message
    assert "cut off at 24 tokens: raise TERCET_NETWORKS_VLM_TOKENS" in message


def test_a_bad_image_fails_alone(trained: Path) -> None:
    model = load("concept_proposer", settings(trained))
    good, bad = model.execute([request(), {"image": bytes_tensor([b"no image"])}])
    assert not isinstance(good, ModelError)
    assert isinstance(bad, ModelError)
    assert bad.invalid


def test_numbers_that_overflow_are_the_models_fault(tmp_path: Path) -> None:
    folder = make_llava(tmp_path)
    network: Any = LlavaForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        network.lm_head.weight.fill_(3e38)
    network.save_pretrained(folder)
    for name in ("concept_proposer", "verifier"):
        model = load(name, settings(folder, verifier_weights=folder))
        with pytest.raises(ModelError, match=f"gave NaN or infinity; its weights in {folder} are") as caught:
            model.warm_up()
        assert not caught.value.invalid
