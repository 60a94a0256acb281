"""Directories of small vision-language models with random weights, saved as the public ones are saved: their
architectures, processors, kinds of tokenizer and chat templates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaImageProcessor,
    MllamaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from services.networks.vlm.prompting import BUNDLED

VOCABULARY = 900
WIDTH = 64

# As in llava-hf/llava-1.5-7b-hf.
LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}"
    "{% endif %}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# As in Qwen/Qwen2-VL-7B-Instruct, without its branches for video.
QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As in meta-llama/Llama-3.2-11B-Vision-Instruct, without its branches for tools.
MLLAMA_TEMPLATE = (
    "{{- bos_token }}{% for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% if message['content'] is string %}{{- message['content'] }}{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}{{- '<|image|>' }}"
    "{% elif content['type'] == 'text' %}{{- content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{- '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def _texts() -> Iterator[str]:
    """What the tokenizers learn from: the prompts, and letters as they stand in answers."""
    for path in sorted(BUNDLED.glob("*.md")):
        yield path.read_text("utf-8")
    yield "ASSISTANT: A\nASSISTANT: B\nASSISTANT: C\nASSISTANT: D\nASSISTANT: E\nASSISTANT: F\n" * 20


def _learn(before: Any, alphabet: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-pair encoding learnt from the prompts."""
    core = Tokenizer(BPE())
    core.pre_tokenizer = before
    trainer = BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(_texts(), trainer)
    learnt = json.loads(core.to_str())["model"]
    return learnt["vocab"], [(first, second) for first, second in learnt["merges"]]


def _byte_level() -> tuple[dict[str, int], list[tuple[str, str]]]:
    return _learn(pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel.alphabet())


def _llama_tokenizer() -> Any:
    """As LLaVA's: pieces with a mark for the space before them, bytes for what is unknown."""
    learnt, merges = _learn(pre_tokenizers.Metaspace(prepend_scheme="never"), [])
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {token: number for number, token in enumerate([*first, *learnt])}
    make: Any = LlamaTokenizer
    tokenizer = make(vocab=vocabulary, merges=merges, pad_token="<pad>", legacy=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return tokenizer


def _qwen_tokenizer() -> Any:
    learnt, merges = _byte_level()
    make: Any = Qwen2Tokenizer
    tokenizer = make(vocab={**learnt, "<|endoftext|>": len(learnt)}, merges=merges, eos_token="<|im_end|>")
    specials = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*specials, "<|video_pad|>"]})
    return tokenizer


def _llama3_tokenizer() -> Any:
    """As Llama 3.2 Vision's: byte-level, an opening token, the image's token behind all others."""
    learnt, merges = _byte_level()
    names = [
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|finetune_right_pad_id|>",
    ]
    specials = {name: len(learnt) + number for number, name in enumerate([*names, "<|python_tag|>"])}
    core = Tokenizer(BPE(vocab={**learnt, **specials}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    begin = names[0]
    core.post_processor = TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, specials[begin])])
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=core,
        bos_token=begin,
        eos_token="<|eot_id|>",
        pad_token="<|finetune_right_pad_id|>",
        additional_special_tokens=[*names[1:4], "<|python_tag|>", "<|image|>"],
    )


def _text_layers(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        **more,
    }


def _save(folder: Path, network: Any, processor: Any) -> Path:
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_llava(folder: Path) -> Path:
    """LLaVA 1.5: a CLIP tower of 5 x 5 patches, whose class token is left out, and a Llama."""
    tokenizer = _llama_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=70,
        patch_size=14,
    )
    text = LlamaConfig(
        **_text_layers(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image, image_seq_length=25)
    pictures = CLIPImageProcessor(size={"shortest_edge": 70}, crop_size={"height": 70, "width": 70})
    make: Any = LlavaProcessor
    processor = make(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    torch.manual_seed(0)
    return _save(folder, LlavaForConditionalGeneration(config), processor)


def _qwen(
    folder: Path, config: Any, network: Any, processor: Any, video: Any, patch: int, vision: Any
) -> Path:
    tokenizer = _qwen_tokenizer()
    number: Callable[[str], int] = tokenizer.convert_tokens_to_ids
    # Sections of the rotary dimensions for time, height and width: half a head's 16.
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    made = config(
        text_config=_text_layers(
            vocab_size=len(tokenizer),
            rope_parameters=rope,
            head_dim=16,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        ),
        vision_config={"patch_size": patch, **vision},
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    side = 2 * patch
    pixels = {"shortest_edge": 4 * side * side, "longest_edge": 16 * side * side}
    pictures = Qwen2VLImageProcessor(size=pixels, patch_size=patch)
    torch.manual_seed(0)
    return _save(
        folder,
        network(made),
        processor(
            image_processor=pictures,
            tokenizer=tokenizer,
            video_processor=video(),
            chat_template=QWEN_TEMPLATE,
        ),
    )


def make_qwen2_vl(folder: Path) -> Path:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    return _qwen(
        folder,
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
        14,
        vision,
    )


def make_qwen2_5_vl(folder: Path) -> Path:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [1],
    }
    kinds = Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
    return _qwen(folder, *kinds, Qwen2VLVideoProcessor, 14, vision)


def make_qwen3_vl(folder: Path) -> Path:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    kinds = Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
    return _qwen(folder, *kinds, Qwen3VLVideoProcessor, 16, vision)


def make_mllama(folder: Path) -> Path:
    """Llama 3.2 Vision: tiles of 28 x 28 pixels, and a Llama whose second layer looks at them."""
    tokenizer = _llama3_tokenizer()
    image = int(tokenizer.convert_tokens_to_ids("<|image|>"))
    config = MllamaConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "max_num_tiles": 4,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 96,
            "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
        },
        text_config=_text_layers(
            vocab_size=image,
            cross_attention_layers=[1],
            num_hidden_layers=3,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_index=image,
    )
    torch.manual_seed(0)
    network = MllamaForConditionalGeneration(config)
    # The public weights' gates are trained open; fresh ones are shut, and the image would not be seen.
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "gate" in name and value.numel() == 1:
                value.fill_(1.0)
    pictures = MllamaImageProcessor(size={"height": 28, "width": 28}, max_image_tiles=4)
    make: Any = MllamaProcessor
    processor = make(pictures, tokenizer, chat_template=MLLAMA_TEMPLATE)
    return _save(folder, network, processor)


MAKERS: dict[str, Callable[[Path], Path]] = {
    "llava": make_llava,
    "qwen2_vl": make_qwen2_vl,
    "qwen2_5_vl": make_qwen2_5_vl,
    "qwen3_vl": make_qwen3_vl,
    "mllama": make_mllama,
}
