"""SAM's mask decoder in two steps, so that prompts whose predicted IoU is low never pay for upscaling their
masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional

from services.networks.sam.fine import fine_tokens


@dataclass(frozen=True)
class DecodedTokens:
    """Output tokens of N prompts: `masks` [N, 4, C] (token 0 single-mask, 1-3 multimask), image tokens
    `source` [N, G*G, C] and `predicted_iou` [N, 4].
    """

    masks: Tensor
    source: Tensor
    predicted_iou: Tensor

    def take(self, index: Tensor) -> DecodedTokens:
        """The tokens of some prompts."""
        return DecodedTokens(self.masks[index], self.source[index], self.predicted_iou[index])


def embed_prompts(
    sam: Sam, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sparse [N, T, C] and dense [N, C, G, G] prompt embeddings.

    points [N, P, 2] and boxes [N, 4] (x0 y0 x1 y1) are in pixels of the network's input; labels [N, P] are 1,
    0 or -1 (padding); masks are logits [N, 1, 4G, 4G].
    """
    pair = None if points is None else (points, labels)
    sparse, dense = sam.prompt_encoder(points=pair, boxes=boxes, masks=masks)
    return sparse, dense


def decode_tokens(sam: Sam, embeddings: Tensor, sparse: Tensor, dense: Tensor) -> DecodedTokens:
    """Run the two-way transformer and the IoU head; embeddings [N, C, G, G] or [N, 4 C, G, G], one an image
    repeated for its prompts.
    """
    decoder = sam.mask_decoder
    embeddings = embeddings[:, : decoder.transformer_dim]
    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight], 0)
    tokens = torch.cat([output[None].expand(len(sparse), -1, -1), sparse], 1)
    # Image tokens stay in the embeddings' precision: they outnumber the others a hundred times.
    position = sam.prompt_encoder.get_dense_pe().to(embeddings.dtype).expand(len(sparse), -1, -1, -1)
    hidden, source = decoder.transformer(embeddings + dense.to(embeddings.dtype), position, tokens)
    return DecodedTokens(hidden[:, 1:5], source, decoder.iou_prediction_head(hidden[:, 0]))


def upscale_masks(sam: Sam, tokens: DecodedTokens, embeddings: Tensor, which: slice = slice(0, 4)) -> Tensor:
    """Mask logits [N, len(which), 4G, 4G] of some of the four mask tokens; `embeddings` are those that were
    decoded.
    """
    decoder = sam.mask_decoder
    fine = fine_tokens(embeddings, decoder.transformer_dim)
    first, norm, activation, second, _ = decoder.output_upscaling
    count, cells = tokens.source.shape[:2]
    side = int(cells**0.5)
    # A transposed convolution of stride 2 and kernel 2 is a matrix product; positions are put in order at
    # the end.
    hidden = _spread(tokens.source, first)
    if fine is not None:
        hidden = hidden + fine[0].view_as(hidden)
    hidden = functional.layer_norm(hidden, hidden.shape[-1:], norm.weight, norm.bias, norm.eps)
    hidden = _spread(activation(hidden), second)
    if fine is not None:
        hidden = hidden + fine[1].view_as(hidden)
    hidden = functional.gelu(hidden)
    kernels = [decoder.output_hypernetworks_mlps[i](tokens.masks[:, i]) for i in range(4)[which]]
    logits = hidden.reshape(count, -1, hidden.shape[-1]) @ torch.stack(kernels, 1).transpose(1, 2)
    placed = logits.reshape(count, side, side, 2, 2, 2, 2, len(kernels)).permute(0, 7, 1, 3, 5, 2, 4, 6)
    return placed.reshape(count, len(kernels), 4 * side, 4 * side)


def _spread(values: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """Values [..., C] to the [..., 4, D] of their 2x2 pixels, row by row."""
    weight = layer.weight.permute(0, 2, 3, 1).reshape(layer.in_channels, -1)
    assert layer.bias is not None
    spread = values @ weight
    return spread.reshape(*values.shape[:-1], 4, layer.out_channels) + layer.bias
