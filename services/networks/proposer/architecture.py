"""The bundled LLaVA: a CLIP tower with the grounder's layout, a projector, and a small Llama that reads and
writes words.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from services.networks.grounder.architecture import (
    TINY_LAYERS,
    TINY_PATCH,
    TINY_SIDE,
    TINY_STEM,
    TINY_WIDTH,
)
from services.networks.stem import fit_stem

IMAGE_TOKENS = (TINY_SIDE // TINY_PATCH) ** 2
DECODER_LAYERS = 3
DECODER_WIDTH = 192


class StemmedLlava(LlavaForConditionalGeneration):  # type: ignore[no-untyped-call]
    """transformers' LLaVA, whose vision config may name a convolutional stem."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__(config)
        fit_stem(self.model.vision_tower.embeddings, config.vision_config)


def build_tiny(vocabulary: int, pad: int, bos: int, eos: int, image: int) -> StemmedLlava:
    """441 image tokens from a convolutional stem and four vision layers of width 192, then three Llama layers
    of width 192 over words.
    """
    stem: dict[str, Any] = {"conv_stem": TINY_STEM}
    vision = CLIPVisionConfig(
        hidden_size=TINY_WIDTH,
        intermediate_size=4 * TINY_WIDTH,
        num_hidden_layers=TINY_LAYERS,
        num_attention_heads=TINY_WIDTH // 64,
        image_size=TINY_SIDE,
        patch_size=TINY_PATCH,
        hidden_act="gelu",
        **stem,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=DECODER_WIDTH,
        intermediate_size=512,
        num_hidden_layers=DECODER_LAYERS,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=1024,
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=eos,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    config._attn_implementation = "eager"
    return StemmedLlava(config)


def embed_image(network: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """Image tokens [B, 441, D] as the language model reads them."""
    hidden = network.model.vision_tower(pixels).last_hidden_state[:, 1:]
    projected: Tensor = network.model.multi_modal_projector(hidden)
    return projected
