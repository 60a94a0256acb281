"""The proposer's stepped Llama gives what transformers' gives."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaModel

from services.networks.proposer.stepping import Stepper

FIRST, MORE = 40, 12


@pytest.fixture
def language() -> LlamaModel:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=96,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
    )
    config._attn_implementation = "eager"
    model: LlamaModel = LlamaModel(config)
    model.train(False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # ones at first, which would hide a norm that is left out
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 3])
def test_every_step_is_that_of_transformers(language: LlamaModel, count: int) -> None:
    cache = DynamicCache()
    stepper = Stepper(language, torch.float32, torch.float32, FIRST + MORE)
    tokens = torch.randn(count, FIRST, 96)
    for _ in range(MORE + 1):
        theirs = language(inputs_embeds=tokens, past_key_values=cache, use_cache=True).last_hidden_state[
            :, -1
        ]
        ours = stepper(tokens)
        assert torch.allclose(ours, theirs, atol=1e-5), float((ours - theirs).abs().max())
        assert float(theirs.std()) > 0.1
        tokens = torch.randn(count, 1, 96)


@torch.inference_mode()
def test_bf16_products_stay_near_and_single_tokens_are_in_their_own_type(language: LlamaModel) -> None:
    exact = Stepper(language, torch.float32, torch.float32, FIRST + MORE)
    mixed = Stepper(language, torch.bfloat16, torch.float32, FIRST + MORE)
    tokens = torch.randn(2, FIRST, 96)
    with torch.autocast("cpu", torch.bfloat16):
        rough = mixed(tokens)
    assert 0 < float((rough - exact(tokens)).abs().max()) < 0.2
    tokens = torch.randn(2, 1, 96)
    assert mixed(tokens).dtype == torch.float32


def test_what_was_not_foreseen_is_refused(language: LlamaModel) -> None:
    with pytest.raises(ValueError, match="at most 5"):
        Stepper(language, torch.float32, torch.float32, 5)(torch.randn(1, 6, 96))
    stepper = Stepper(language, torch.float32, torch.float32, 5)
    stepper(torch.randn(1, 2, 96))
    with pytest.raises(ValueError, match="one at a time"):
        stepper(torch.randn(1, 2, 96))
    language.config.num_key_value_heads = 1
    with pytest.raises(ValueError, match="every head"):
        Stepper(language, torch.float32, torch.float32, 5)
