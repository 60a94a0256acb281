"""Directories of public grounders, small and with random weights, saved as the public ones are saved."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3VideoConfig,
    Sam3VideoModel,
)

WORDS = ("yellow", "red", "striped", "bus", "cup", "car", "a", "photo", "of")


def picture(width: int = 90, height: int = 60, seed: int = 0) -> bytes:
    """A PNG of rectangles in noise."""
    pixels = np.random.default_rng(seed).integers(0, 90, (height, width, 3), np.uint8)
    pixels[10:40, 20:50] = (220, 200, 30)
    pixels[30:55, 60:80] = (200, 30, 40)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def enliven(network: torch.nn.Module, names: Sequence[str], spread: float, seed: int = 0) -> None:
    """Draw the weights whose name holds one of these wider, so that answers differ from query to query."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim > 1 and any(part in name for part in names):
                value.normal_(0, spread, generator=random)


def clip_tokenizer(length: int) -> Any:
    """CLIP's byte-level tokenizer; its words are letters and the `WORDS`."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        before = word[0]
        for at, letter in enumerate(word[1:], 2):
            after = f"{letter}</w>" if at == len(word) else letter
            if (before, after) not in merges:
                merges.append((before, after))
                tokens.append(before + after)
            before += after
    tokens = list(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))
    make: Any = CLIPTokenizer
    return make(
        vocab={token: number for number, token in enumerate(tokens)}, merges=merges, model_max_length=length
    )


def bert_tokenizer() -> Any:
    """bert-base-uncased's, its special tokens where they are there; most words are spelt."""
    tokens = ["[PAD]", *(f"[unused{at}]" for at in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens += [*letters, *(f"##{letter}" for letter in letters), *WORDS[:6]]
    tokens += [f"[unused{at}]" for at in range(99, 99 + 1012 - len(tokens))]
    tokens += [".", *(f"[unused{at}]" for at in range(2000, 2016)), "?"]
    make: Any = BertTokenizer
    return make(vocab={token: number for number, token in enumerate(tokens)}, do_lower_case=True)


def save_owlv2(folder: Path, seed: int = 0) -> Path:
    """OWLv2 as google/owlv2-base-patch16-ensemble is saved."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer(16)
    config = Owlv2Config(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 16,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 96,
            "patch_size": 16,
        },
        projection_dim=32,
    )
    network = Owlv2ForObjectDetection(config)
    enliven(network, ["box_head", "class_head"], 0.2)
    network.save_pretrained(folder)
    image: Any = Owlv2ImageProcessor
    make: Any = Owlv2Processor
    make(image_processor=image(size={"height": 96, "width": 96}), tokenizer=tokenizer).save_pretrained(folder)
    return folder


def save_grounding_dino(folder: Path, seed: int = 0) -> Path:
    """GroundingDINO as IDEA-Research/grounding-dino-tiny is saved."""
    torch.manual_seed(seed)
    tokenizer = bert_tokenizer()
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin",
            "image_size": 64,
            "embed_dim": 16,
            "depths": [1, 1, 1, 1],
            "num_heads": [2, 2, 2, 2],
            "window_size": 4,
            "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
        },
        d_model=32,
        num_queries=20,
        encoder_layers=2,
        encoder_ffn_dim=64,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=64,
        decoder_attention_heads=2,
        max_text_len=40,
    )
    network = GroundingDinoForObjectDetection(config)
    enliven(network, ["encoder_output_bbox_embed", "bbox_embed", "query_position", "text_projection"], 0.3)
    network.save_pretrained(folder)
    image: Any = GroundingDinoImageProcessor
    make: Any = GroundingDinoProcessor
    size = {"shortest_edge": 96, "longest_edge": 160}
    make(image_processor=image(size=size), tokenizer=tokenizer).save_pretrained(folder)
    return folder


def _sam3_config(tokenizer: Any) -> Sam3Config:
    def small(**further: Any) -> dict[str, Any]:
        return {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, **further}

    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                **small(num_hidden_layers=2, image_size=112, patch_size=14, window_size=4),
                "global_attn_indexes": [1],
                "pretrain_image_size": 56,
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config={
            "model_type": "clip_text_model",
            **small(num_hidden_layers=2, max_position_embeddings=32, projection_dim=32),
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        geometry_encoder_config=small(num_layers=1),
        detr_encoder_config=small(num_layers=1),
        detr_decoder_config=small(num_layers=2, num_queries=12),
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )


SAM3_LIVELY = (
    "mask_embedder",
    "query_embed",
    "reference_points",
    "box_head",
    "presence_head",
    "pixel_decoder",
)


def save_sam3(folder: Path, seed: int = 0, *, release: bool = False) -> Path:
    """SAM 3's image model; with `release`, as facebook/sam3 is saved: in it, it is the detector."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer(32)
    config = _sam3_config(tokenizer)
    network: Any
    if release:
        vision = config.to_dict()["vision_config"]
        tracker = {"vision_config": vision, "image_size": 112}
        network = Sam3VideoModel(Sam3VideoConfig(detector_config=config.to_dict(), tracker_config=tracker))
    else:
        network = Sam3Model(config)
    enliven(network, SAM3_LIVELY, 0.3)
    network.save_pretrained(folder)
    image: Any = Sam3ImageProcessor
    make: Any = Sam3Processor
    size, masks = {"height": 112, "width": 112}, {"height": 32, "width": 32}
    make(image_processor=image(size=size, mask_size=masks), tokenizer=tokenizer).save_pretrained(folder)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
