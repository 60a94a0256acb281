"""SAM networks by registry name, built from segment-anything's own modules (Kirillov et al., 2023)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from services.networks.checkpoints import load_into
from services.networks.errors import ModelError
from services.networks.stem import ConvStem

TINY_SIDE = 256
TINY_PATCH = 8
TINY_WIDTH = 128
TINY_CHANNELS = 64


class StemEmbed(nn.Module):
    """A convolutional stem in the place of segment-anything's `PatchEmbed`: [B, 3, H, W] to
    [B, H / 8, W / 8, width].
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = ConvStem((32, 64, width), (2, 2, 2), (0, 1, 2))

    def forward(self, pixels: Tensor) -> Tensor:
        embedded: Tensor = self.stem(pixels)
        return embedded.permute(0, 2, 3, 1)


def build_vit_tiny() -> Sam:
    """The bundled network: 256 pixels, a convolutional stem of stride 8, four layers of width 128, windows of
    8 with one global layer, 64 channels in the decoder. Few heads and no relative positions: both are dear on
    a CPU."""
    grid = TINY_SIDE // TINY_PATCH
    network = Sam(
        image_encoder=ImageEncoderViT(
            img_size=TINY_SIDE,
            patch_size=TINY_PATCH,
            embed_dim=TINY_WIDTH,
            depth=4,
            num_heads=2,
            mlp_ratio=4,
            out_chans=TINY_CHANNELS,
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
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer_dim=TINY_CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=128,
            transformer=TwoWayTransformer(depth=2, embedding_dim=TINY_CHANNELS, mlp_dim=256, num_heads=2),
        ),
        pixel_mean=[127.5] * 3,
        pixel_std=[64.0] * 3,
    )
    network.image_encoder.patch_embed = StemEmbed(TINY_WIDTH)
    return network


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
