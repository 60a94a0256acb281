"""A small Llama one token at a time, without what makes transformers' general one slow for a few images.

The same sums of the same weights: projections of a layer are one product, keys and values go into memory that
is there from the start, and of the first pass's last layer only the token that is read is worked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class _Layer:
    """A layer's weights, those that read the same input as one."""

    before: nn.Module
    query_key_value: Tensor
    out: Tensor
    between: nn.Module
    gate_up: Tensor
    down: Tensor


class Stepper:
    """A Llama (as `LlamaModel`, without biases, with as many key heads as heads) over a batch of sequences of
    the same length, at most `most` tokens long.

    Called with embeddings [B, T, D] of the next tokens it gives the last one's final hidden state [B, D]. It
    remembers the tokens before. `dtype` is that of products over many tokens. Single tokens are multiplied in
    `single`: on a CPU that is fp32 whatever `dtype` is, since bf16 products of one row are twice as slow.
    """

    def __init__(self, language: Any, dtype: torch.dtype, single: torch.dtype, most: int) -> None:
        config = language.config
        if (
            config.num_key_value_heads != config.num_attention_heads
            or config.attention_bias
            or config.mlp_bias
        ):
            raise ValueError("only a Llama with its own keys for every head and without biases is stepped")
        self._heads, self._width = config.num_attention_heads, config.head_dim
        self._dtype, self._single, self._most, self._length = dtype, single, most, 0
        self._norm = cast(nn.Module, language.norm)
        self._layers = {of: [_layer(layer, of) for layer in language.layers] for of in {dtype, single}}
        self._kept: list[Tensor] = []
        # Angles do not depend on the values, only on their type and device.
        places = torch.arange(most, device=language.norm.weight.device)[None]
        cosine, sine = language.rotary_emb(language.norm.weight, places)
        self._turn = cosine[:, :, None], sine[:, :, None]

    def __call__(self, tokens: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):  # the types are chosen here
            return self._forward(tokens)

    def _forward(self, tokens: Tensor) -> Tensor:
        count, fresh = tokens.shape[:2]
        start, end = self._length, self._length + fresh
        if end > self._most:
            raise ValueError(f"the sequence would be {end} tokens long; at most {self._most} were foreseen")
        if not self._kept:
            shape = (2, count, self._heads, self._most, self._width)
            self._kept = [
                torch.empty(shape, dtype=self._single, device=tokens.device)
                for _ in self._layers[self._single]
            ]
        dtype = self._single if fresh == 1 else self._dtype
        layers = self._layers[dtype]
        turn = [part[:, start:end].to(tokens.dtype) for part in self._turn]
        future = None
        if fresh > 1:
            future = torch.ones(fresh, end, dtype=torch.bool, device=tokens.device).triu(start + 1)
        for number, (layer, kept) in enumerate(zip(layers, self._kept, strict=True)):
            # What earlier tokens become after the last layer is not read by anyone.
            read = 1 if number + 1 == len(layers) else fresh
            tokens = self._through(layer, kept, tokens, turn, future, read)
        self._length = end
        last: Tensor = self._norm(tokens[:, -1])
        return last

    def _through(
        self,
        layer: _Layer,
        kept: Tensor,
        tokens: Tensor,
        turn: list[Tensor],
        future: Tensor | None,
        read: int,
    ) -> Tensor:
        """The last `read` tokens after a layer."""
        count, fresh = tokens.shape[:2]
        end = self._length + fresh
        dtype = layer.down.dtype
        normal = layer.before(tokens).to(dtype)
        made = functional.linear(normal, layer.query_key_value).view(
            count, fresh, 3, self._heads, self._width
        )
        query, key, value = made.unbind(2)
        kept[0, :, :, self._length : end] = _turned(key, turn).transpose(1, 2)
        kept[1, :, :, self._length : end] = value.transpose(1, 2)
        query = _turned(query, turn)[:, fresh - read :].transpose(1, 2).to(dtype)
        scores = (query @ kept[0, :, :, :end].to(dtype).transpose(-1, -2)).float() * self._width**-0.5
        if future is not None:
            scores = scores.masked_fill(future[fresh - read :], -torch.inf)
        found = scores.softmax(-1).to(dtype) @ kept[1, :, :, :end].to(dtype)
        found = functional.linear(found.transpose(1, 2).flatten(2), layer.out)
        tokens = tokens[:, fresh - read :] + found.to(tokens.dtype)
        gate, up = functional.linear(layer.between(tokens).to(dtype), layer.gate_up).chunk(2, -1)
        return tokens + functional.linear(functional.silu(gate) * up, layer.down).to(tokens.dtype)


def _layer(layer: Any, dtype: torch.dtype) -> _Layer:
    own, mlp = layer.self_attn, layer.mlp
    return _Layer(
        before=layer.input_layernorm,
        query_key_value=torch.cat([own.q_proj.weight, own.k_proj.weight, own.v_proj.weight]).to(dtype),
        out=own.o_proj.weight.to(dtype),
        between=layer.post_attention_layernorm,
        gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).to(dtype),
        down=mlp.down_proj.weight.to(dtype),
    )


def _turned(vectors: Tensor, turn: list[Tensor]) -> Tensor:
    """Rotary positions (Su et al., 2021) of vectors [B, T, H, W], halves paired as Llama pairs them."""
    cosine, sine = turn
    first, second = vectors.chunk(2, -1)
    return vectors * cosine + torch.cat([-second, first], -1) * sine
