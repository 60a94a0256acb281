"""A convolutional stem: the patch embedding of a vision transformer as a few strided convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def fit_stem(embeddings: Any, config: Any) -> bool:
    """Replace the patch projection of a transformers vision tower where its config names a `conv_stem`
    (keyword arguments of `ConvStem`), and say so; public checkpoints name none and stay as they are.
    """
    stem = getattr(config, "conv_stem", None)
    if stem:
        embeddings.patch_embedding = ConvStem(**stem)
    return bool(stem)


class ConvStem(nn.Module):
    """Overlapping convolutions in place of one patch projection (Xiao et al., 2021, "Early convolutions help
    transformers see better"): [B, 3, H, W] to [B, width, H / stride, W / stride], H and W multiples of the
    stride, the product of `strides`. `depths` are the residual blocks of each stage. Small networks trained
    for short learn shapes several times sooner.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        """Where each stage ends among `layers`."""
        before = 3
        for width, stride, depth in zip(widths, strides, depths, strict=True):
            kernel = 2 * (stride // 2) + 3 if stride > 2 else 3
            layers += [
                nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False),
                nn.GroupNorm(8, width),
                nn.GELU(),
                *(Residual(width) for _ in range(depth)),
            ]
            self.ends.append(len(layers))
            before = width
        self.layers = nn.Sequential(*layers)
        self.project = nn.Conv2d(before, before, 1)
        self.to(memory_format=torch.channels_last)

    @property
    def weight(self) -> Tensor:
        """Of the last projection; transformers reads its dtype."""
        return self.project.weight

    def forward(self, pixels: Tensor, added: Tensor | None = None) -> Tensor:
        """`added` joins what the first convolution gives, [B, widths[0], H / strides[0], W / strides[0]]."""
        # On a CPU the convolutions run twice as fast with the channels last.
        hidden = self.layers[0](pixels.contiguous(memory_format=torch.channels_last))
        hidden = hidden if added is None else hidden + added
        embedded: Tensor = self.project(self.layers[1:](hidden))
        return embedded

    def stages(self, pixels: Tensor) -> list[Tensor]:
        """What every stage gives, finest first, and the embedding [B, width, H / stride, W / stride] last."""
        hidden, found, start = pixels.contiguous(memory_format=torch.channels_last), [], 0
        for end in self.ends:
            hidden = self.layers[start:end](hidden)
            found.append(hidden)
            start = end
        return [*found, self.project(hidden)]


class Residual(nn.Module):
    """x + pointwise(gelu(pointwise(norm(depthwise(x))))), ConvNeXt's block (Liu et al., 2022), 2 wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.widen(self.norm(self.depthwise(features))))
        added: Tensor = features + self.narrow(hidden)
        return added
