"""SAM networks by registry name, built from segment-anything's own modules (Kirillov et al., 2023)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from segment_anything import sam_model_registry
from segment_anything.modeling import PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from services.networks.checkpoints import load_into
from services.networks.errors import ModelError
from services.networks.sam.fine import FineEncoder, FineMaskDecoder

TINY_SIDE = 256
"""Pixels of an image's side as the bundled network sees it."""
TINY_PATCH = 8
TINY_WIDTH = 128
TINY_CHANNELS = 64


def build_vit_tiny() -> Sam:
    """The bundled network for images of 256 pixels: a convolutional stem of stride 8, four layers of width
    128, windows of 8 with one global layer, 64 channels in the decoder, fine features for its masks. Few
    heads and no relative positions: both are dear on a CPU.
    """
    grid = TINY_SIDE // TINY_PATCH
    return Sam(
        image_encoder=FineEncoder(
            TINY_WIDTH,
            TINY_CHANNELS,
            img_size=TINY_SIDE,
            patch_size=TINY_PATCH,
            depth=4,
            num_heads=2,
            mlp_ratio=4,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=False,
            window_size=8,
            global_attn_indexes=(2,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=TINY_CHANNELS,
            image_embedding_size=(grid, grid),
            input_image_size=(TINY_SIDE, TINY_SIDE),
            mask_in_chans=16,
        ),
        mask_decoder=FineMaskDecoder(
            num_multimask_outputs=3,
            transformer_dim=TINY_CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=128,
            transformer=TwoWayTransformer(depth=2, embedding_dim=TINY_CHANNELS, mlp_dim=256, num_heads=2),
        ),
        pixel_mean=[127.5] * 3,
        pixel_std=[64.0] * 3,
    )


REGISTRY: dict[str, Callable[[], Sam]] = {
    "vit_tiny": build_vit_tiny,
    **{name: sam_model_registry[name] for name in ("vit_b", "vit_l", "vit_h")},
}


def load_sam(name: str, weights: Path) -> Sam:
    """The network of a registry name with the weights of a .safetensors or public .pth file, in evaluation
    mode.

    Raises `ModelError` for an unknown name or a file that does not fit.
    """
    if name not in REGISTRY:
        raise ModelError(f"no SAM is called {name!r}; known are {', '.join(REGISTRY)}", invalid=False)
    network = REGISTRY[name]()
    load_into(network, weights)
    return network.eval()
