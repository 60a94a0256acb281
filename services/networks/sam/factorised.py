"""SAM's mask decoder with the same results as segment-anything's `MaskDecoder`, for many prompts of an image.

The two-way transformer multiplies G*G image tokens a prompt by full projections. Here
- the image side of the first layer, the same for every prompt, is projected once an image;
- later, a projection of the image tokens that meets a few prompt tokens is folded into those: instead of
  (K W) q for all of K, K (W q) for T tokens and H heads;
- terms of a score that are the same for all keys are left out: softmax does not see them;
- the transposed convolutions of stride and size 2 are matrix products over channels-last tokens;
- the predicted IoU comes before the masks, so prompts that it rules out are not upscaled.

Prompt tokens stay in float32; image tokens have the decoder's dtype.
"""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional

from services.networks.sam.decoding import DecodedTokens
from services.networks.sam.fine import fine_tokens


def _split(tokens: Tensor, heads: int) -> Tensor:
    """[..., T, H*d] to [..., H, T, d]."""
    return torch.unflatten(tokens, -1, (heads, -1)).transpose(-3, -2)


class _Attention:
    """One of segment-anything's attentions between prompt tokens (T of them, N prompts) and image tokens
    (cells), its weights by heads: query, key and value projections [H, d, C], output [C, H*d].
    """

    def __init__(self, attention: Any) -> None:
        self.module = attention
        self.heads = int(attention.num_heads)
        self.scale = (attention.internal_dim // self.heads) ** -0.5

    def queries(self, tokens: Tensor) -> Tensor:
        """[N, T, C] to scaled queries [N, H, T, d]."""
        queries: Tensor = _split(self.module.q_proj(tokens), self.heads) * self.scale
        return queries

    def keys(self, tokens: Tensor) -> Tensor:
        """[N, T, C] to scaled keys [N, H, T, d]."""
        keys: Tensor = _split(self.module.k_proj(tokens), self.heads) * self.scale
        return keys

    def values(self, tokens: Tensor) -> Tensor:
        """[N, T, C] to values [N, H, T, d]."""
        return _split(self.module.v_proj(tokens), self.heads)

    def by_heads(self, projection: nn.Linear) -> Tensor:
        """A projection's weights [H, d, C]."""
        return torch.unflatten(projection.weight, 0, (self.heads, -1))

    def joined(self, mixed: Tensor) -> Tensor:
        """Values by head [N, H, T, d] to the attention's output [N, T, C]."""
        output: Tensor = self.module.out_proj(mixed.transpose(1, 2).flatten(2))
        return output


class FactorisedDecoder:
    """A network's decoder, prepared once; `for_image` prepares it for an image."""

    @torch.no_grad()
    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        decoder = sam.mask_decoder
        self.sam, self.decoder, self.dtype = sam, decoder, dtype
        transformer = decoder.transformer
        self.layers = list(transformer.layers)
        self.to_image = [_Attention(layer.cross_attn_token_to_image) for layer in self.layers]
        self.to_tokens = [_Attention(layer.cross_attn_image_to_token) for layer in self.layers]
        self.final = _Attention(transformer.final_attn_token_to_image)
        self.final_norm = transformer.norm_final_attn
        self.output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        self.position = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T.contiguous()
        # Position terms of the later layers' scores, by head [H, cells, d]. Softmax does not see key biases.
        self.key_positions = [
            self._cast(_split(self.position @ each.module.k_proj.weight.T, each.heads))
            for each in [*self.to_image[1:], self.final]
        ]
        self.query_positions = [
            self._cast(_split(each.module.q_proj(self.position), each.heads)) for each in self.to_tokens[1:]
        ]
        self.norms = [
            (self._cast(layer.norm4.weight), self._cast(layer.norm4.bias), layer.norm4.eps)
            for layer in self.layers
        ]
        first, norm, self.first_activation, second, self.second_activation = decoder.output_upscaling
        self.upscale_norm = self._cast(norm.weight), self._cast(norm.bias), norm.eps
        self.first_upscale = self._as_product(first)
        self.second_upscale = self._as_product(second)

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.dtype).contiguous()

    def _as_product(self, convolution: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
        """Weight [4 * out, in] and bias of the linear layer that is this 2 x 2 transposed convolution."""
        weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
        assert convolution.bias is not None
        return self._cast(weight), self._cast(convolution.bias.repeat(4))

    def for_image(self, embedding: Tensor, dense: Tensor) -> ImageDecoder:
        """A decoder of prompts of one image: its embedding, [C, G, G] or with fine features [4 C, G, G], and
        their dense embedding [C, G, G].
        """
        return ImageDecoder(self, embedding, dense)

    def upscale(self, tokens: DecodedTokens, which: slice, fine: tuple[Tensor, Tensor] | None) -> Tensor:
        """Mask logits [N, len(which), 4G, 4G] float32 of some of the mask tokens; in memory column by column,
        as `postprocessing` reads them. `fine` are the image's `fine_tokens`.
        """
        count, cells, _ = tokens.source.shape
        side = int(cells**0.5)
        first = functional.linear(tokens.source, *self.first_upscale).view(count, cells * 4, -1)
        first = first if fine is None else first.add_(fine[0])
        weight, bias, eps = self.upscale_norm
        first = self.first_activation(functional.layer_norm(first, weight.shape, weight, bias, eps))
        second = functional.linear(first, *self.second_upscale).view(count, cells * 16, -1)
        second = self.second_activation(second if fine is None else second.add_(fine[1]))
        heads = list(self.decoder.output_hypernetworks_mlps)[which]
        picked = tokens.masks[:, which].unbind(1)
        kernels = torch.stack([head(token) for head, token in zip(heads, picked, strict=True)], 2)
        logits = second @ kernels.to(self.dtype)
        # Cell rows, cell columns, then twice rows and columns inside: [N, y, x, y', x', y'', x'', which].
        columns = logits.view(count, side, side, 2, 2, 2, 2, len(heads)).permute(0, 7, 2, 4, 6, 1, 3, 5)
        by_columns: Tensor = columns.reshape(count, len(heads), 4 * side, 4 * side).float()
        return by_columns.transpose(2, 3)


class ImageDecoder:
    """Decodes prompts of one image."""

    def __init__(self, shared: FactorisedDecoder, embedding: Tensor, dense: Tensor) -> None:
        self._shared = shared
        fine = fine_tokens(embedding, len(dense))
        self._fine = None if fine is None else (shared._cast(fine[0]), shared._cast(fine[1]))
        tokens = (embedding[: len(dense)].float() + dense).flatten(1).T
        positioned = tokens + shared.position
        to_image, to_tokens = shared.to_image[0], shared.to_tokens[0]
        cast = shared._cast
        self._tokens = cast(tokens)
        self._keys = cast(_split(to_image.module.k_proj(positioned), to_image.heads))
        self._values = cast(_split(to_image.module.v_proj(tokens), to_image.heads))
        self._queries = cast(_split(to_tokens.module.q_proj(positioned), to_tokens.heads))

    def decode(self, sparse: Tensor) -> DecodedTokens:
        """Output tokens of prompts with sparse embeddings [N, T, C]."""
        shared = self._shared
        prompts = torch.cat([shared.output_tokens.expand(len(sparse), -1, -1), sparse.float()], 1)
        tokens, image = prompts, self._tokens
        for number, layer in enumerate(shared.layers):
            tokens, image = self._layer(number, layer, tokens, prompts, image)
        outputs = len(shared.output_tokens)
        tokens, prompts = tokens[:, :outputs], prompts[:, :outputs]
        attended = self._attend_image(shared.final, tokens + prompts, image, shared.key_positions[-1])
        tokens = shared.final_norm(tokens + attended)
        iou = shared.decoder.iou_prediction_head(tokens[:, 0])
        return DecodedTokens(tokens[:, 1:], image, iou)

    def upscale(self, tokens: DecodedTokens, which: slice) -> Tensor:
        """`FactorisedDecoder.upscale`."""
        return self._shared.upscale(tokens, which, self._fine)

    def _layer(
        self, number: int, layer: Any, tokens: Tensor, prompts: Tensor, image: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`TwoWayAttentionBlock`; image tokens [cells, C] at first, then [N, cells, C]."""
        shared = self._shared
        positioned = tokens + prompts
        if layer.skip_first_layer_pe:
            tokens = layer.self_attn(tokens, tokens, tokens)
        else:
            tokens = tokens + layer.self_attn(positioned, positioned, tokens)
        tokens = layer.norm1(tokens)
        to_image = shared.to_image[number]
        if number == 0:
            attended = self._attend_shared_image(to_image, tokens + prompts)
        else:
            position = shared.key_positions[number - 1]
            attended = self._attend_image(to_image, tokens + prompts, image, position)
        tokens = layer.norm2(tokens + attended)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        to_tokens = shared.to_tokens[number]
        scores, mixed = self._attend_tokens(number, to_tokens, tokens + prompts, tokens, image)
        bias = to_tokens.module.out_proj.bias
        if number == 0:
            image = torch.baddbmm((image + bias.to(image.dtype)).expand(len(tokens), -1, -1), scores, mixed)
        else:
            # The bias as one more key with weight 1: a pass over the image tokens less. Their memory is ours.
            ones = scores.new_ones(*scores.shape[:2], 1)
            mixed = torch.cat([mixed, bias.to(mixed.dtype).expand(len(tokens), 1, -1)], 1)
            image = image.baddbmm_(torch.cat([scores, ones], 2), mixed)
        weight, norm_bias, eps = shared.norms[number]
        return tokens, functional.layer_norm(image, weight.shape, weight, norm_bias, eps)

    def _attend_shared_image(self, attention: _Attention, tokens: Tensor) -> Tensor:
        """Prompt tokens attend to the first layer's image tokens, the same for all prompts."""
        count, length = tokens.shape[:2]
        queries = attention.queries(tokens).transpose(0, 1).flatten(1, 2).to(self._shared.dtype)
        mixed = torch.softmax(queries @ self._keys.transpose(1, 2), -1) @ self._values
        return attention.joined(torch.unflatten(mixed, 1, (count, length)).transpose(0, 1).float())

    def _attend_image(self, attention: _Attention, tokens: Tensor, image: Tensor, position: Tensor) -> Tensor:
        """Prompt tokens attend to image tokens [N, cells, C]; `position` [H, cells, d]."""
        count, length = tokens.shape[:2]
        heads, dtype = attention.heads, self._shared.dtype
        queries = attention.queries(tokens)
        folded = torch.einsum("nhtd,hdc->nhtc", queries, attention.by_heads(attention.module.k_proj))
        from_position = queries.transpose(0, 1).flatten(1, 2).to(dtype) @ position.transpose(1, 2)
        from_position = torch.unflatten(from_position, 1, (count, length)).transpose(0, 1).flatten(1, 2)
        scores = torch.baddbmm(from_position, folded.flatten(1, 2).to(dtype), image.transpose(1, 2))
        mixed = torch.unflatten((torch.softmax(scores, -1) @ image).float(), 1, (heads, length))
        values = torch.einsum("nhtc,hdc->nhtd", mixed, attention.by_heads(attention.module.v_proj))
        bias = torch.unflatten(attention.module.v_proj.bias, 0, (heads, 1, -1))
        return attention.joined(values + bias)

    def _attend_tokens(
        self, number: int, attention: _Attention, keys: Tensor, values: Tensor, image: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Image tokens attend to prompt tokens: weights [N, cells, H*T] and what they weigh [N, H*T, C]."""
        count, length = keys.shape[:2]
        heads, dtype = attention.heads, self._shared.dtype
        split = attention.keys(keys)
        queries = self._queries if number == 0 else self._shared.query_positions[number - 1]
        # [H, cells, d] @ [H, d, N*T] to [N, cells, H, T]
        scores = queries @ split.permute(1, 3, 0, 2).flatten(2).to(dtype)
        scores = torch.unflatten(scores, 2, (count, length)).permute(2, 1, 0, 3)
        if number > 0:
            folded = torch.einsum("nhtd,hdc->ncht", split, attention.by_heads(attention.module.q_proj))
            scores = torch.baddbmm(scores.flatten(2), image, folded.flatten(2).to(dtype))
            scores = torch.unflatten(scores, 2, (heads, length))
        weights = torch.softmax(scores, -1).flatten(2)
        output = torch.unflatten(attention.module.out_proj.weight, 1, (heads, -1))
        mixed = torch.einsum("nhtd,chd->nhtc", attention.values(values), output)
        return weights, mixed.flatten(1, 2).to(dtype)
