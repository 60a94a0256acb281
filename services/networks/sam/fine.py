"""Fine features for SAM's masks, as in SAM 2 (Ravi et al., 2024): what the first stages of the encoder's stem
see joins the mask decoder's upscaling, so that rims need not pass through cells of eight pixels.

They are packed behind the embedding's channels, so an image still has one tensor, cached and indexed as
before: [.., C + 3 C, G, G], where the first C are SAM's own, C more hold C / 4 features of each of a cell's
2 x 2 pixels, and 2 C more C / 8 features of each of its 4 x 4.
"""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder
from torch import Tensor, nn
from typing_extensions import override

from services.networks.stem import ConvStem, Residual

HALF, QUARTER = 32, 64
"""Channels of the stem's first stages, at a half and a quarter of the input's side."""


class FineStem(nn.Module):
    """A convolutional stem in the place of segment-anything's `PatchEmbed`, with fine features."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.stem = ConvStem((HALF, QUARTER, width), (2, 2, 2), (0, 1, 2))
        self.fine_half = nn.Sequential(Residual(HALF), nn.Conv2d(HALF, channels // 8, 1))
        self.fine_quarter = nn.Conv2d(QUARTER, channels // 4, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, G, G, width] and packed fine features [B, 3 C, G, G] of [B, 3, 8 G, 8 G]."""
        half, quarter, _, embedded = self.stem.stages(pixels)
        packed = torch.cat([_pack(self.fine_quarter(quarter), 1), _pack(self.fine_half(half), 2)], 1)
        return embedded.permute(0, 2, 3, 1), packed


class FineEncoder(ImageEncoderViT):  # type: ignore[misc]
    """segment-anything's encoder with a `FineStem`: embeddings [B, C + 3 C, G, G]. It has no positions of its
    own: the stem's convolutions tell where a border is (Islam et al., 2020), and the mask decoder has them.
    """

    def __init__(self, width: int, channels: int, **others: Any) -> None:
        super().__init__(embed_dim=width, out_chans=channels, use_abs_pos=False, **others)
        self.patch_embed = FineStem(width, channels)

    @override
    def forward(self, pixels: Tensor) -> Tensor:
        tokens, fine = self.patch_embed(pixels)
        for block in self.blocks:
            tokens = block(tokens)
        return torch.cat([self.neck(tokens.permute(0, 3, 1, 2)), fine], 1)


class FineMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """segment-anything's mask decoder for embeddings with fine features: the plain reference of ours."""

    @override
    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits [N, 4, 4 G, 4 G] and predicted IoU [N, 4] of N prompts of one image."""
        channels, count = self.transformer_dim, len(sparse_prompt_embeddings)
        embedding, fine = image_embeddings[:, :channels], image_embeddings[:, channels:]
        output = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(count, -1, -1)
        hidden, source = self.transformer(
            embedding + dense_prompt_embeddings,
            image_pe.expand(count, -1, -1, -1),
            torch.cat([output, sparse_prompt_embeddings], 1),
        )
        grid = source.transpose(1, 2).reshape(count, channels, *embedding.shape[2:])
        first, norm, activation, second, last = self.output_upscaling
        quarter = activation(norm(first(grid) + _unpack(fine[:, :channels], 1)))
        half = last(second(quarter) + _unpack(fine[:, channels:], 2))
        kernels = [head(hidden[:, 1 + i]) for i, head in enumerate(self.output_hypernetworks_mlps)]
        masks = torch.einsum("nkc,nchw->nkhw", torch.stack(kernels, 1), half)
        return masks, self.iou_prediction_head(hidden[:, 0])


def fine_tokens(embedding: Tensor, channels: int) -> tuple[Tensor, Tensor] | None:
    """The fine features of an embedding [.., C + 3 C, G, G], by image token as upscaling meets them: quarter
    [.., G * G * 4, C / 4] and half [.., G * G * 16, C / 8]; None of a public network's [.., C, G, G].
    """
    if embedding.shape[-3] == channels:
        return None
    tokens = embedding[..., channels:, :, :].flatten(-2).transpose(-1, -2)
    quarter, half = tokens[..., :channels], tokens[..., channels:]
    return (
        quarter.reshape(*tokens.shape[:-2], -1, channels // 4),
        half.reshape(*tokens.shape[:-2], -1, channels // 8),
    )


def _pack(features: Tensor, halvings: int) -> Tensor:
    """Features [B, D, 2^n G, 2^n G] of n halvings as [B, 4^n D, G, G], pixels of a cell by quadrant first."""
    count, depth, side, _ = features.shape
    twos = [2] * halvings
    split = features.reshape(count, depth, side >> halvings, *twos, side >> halvings, *twos)
    return split.permute(0, *_quadrants(halvings), 1, 2, 3 + halvings).flatten(1, 2 * halvings + 1)


def _unpack(packed: Tensor, halvings: int) -> Tensor:
    """The inverse of `_pack`."""
    count, _, grid, _ = packed.shape
    split = packed.reshape(count, *([2] * 2 * halvings), -1, grid, grid)
    back = torch.argsort(torch.tensor([0, *_quadrants(halvings), 1, 2, 3 + halvings])).tolist()
    return split.permute(*back).reshape(count, -1, grid << halvings, grid << halvings)


def _quadrants(halvings: int) -> list[int]:
    """The dimensions of a split map that say where in a cell a pixel lies: y and x of each halving."""
    return [at for n in range(halvings) for at in (3 + n, 4 + halvings + n)]
