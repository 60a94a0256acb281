"""A small Llama one token at a time, without what makes transformers' general one slow for a few images.

The same sums of the same weights: projections of a layer are one product, keys and values go into memory that
is there from the start, and of the first pass's last layer only the token that is read is worked. Weights lie
with their inputs as rows: one token's product is then two to three times as quick on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class _Layer:
    """A layer's weights [inputs, outputs], those that read the same input as one; and its norms' [inputs]."""

    before: Tensor
    query_key_value: Tensor
    out: Tensor
    between: Tensor
    gate_up: Tensor
    down: Tensor


class Stepper:
    """A Llama (as `LlamaModel`, without biases, with as many key heads as heads) over a batch of sequences of
    the same length, at most `most` tokens long.

    Called with embeddings [B, T, D] of the first tokens, then [B, 1, D] of one more at a time, it gives the
    last one's final hidden state [B, D], fp32. `dtype` is that of products over many tokens. Single tokens
    are multiplied in `single`: on a CPU that is fp32 whatever `dtype` is, since bf16 products of one row are
    twice as slow.
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
        self._epsilon = float(config.rms_norm_eps)
        self._dtype, self._single, self._most, self._length = dtype, single, most, 0
        self._norm = language.norm.weight
        self._layers = {of: [_layer(layer, of) for layer in language.layers] for of in {dtype, single}}
        self._kept: list[Tensor] = []
        # Angles do not depend on the values, only on their type and device.
        places = torch.arange(most, device=self._norm.device)[None]
        cosine, sine = language.rotary_emb(self._norm, places)
        self._turn = cosine[:, :, None, None], sine[:, :, None, None]

    def __call__(self, tokens: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):  # the types are chosen here
            return self._forward(tokens)

    def _forward(self, tokens: Tensor) -> Tensor:
        count, fresh = tokens.shape[:2]
        start, end = self._length, self._length + fresh
        if end > self._most:
            raise ValueError(f"the sequence would be {end} tokens long; at most {self._most} were foreseen")
        if start and fresh > 1:
            raise ValueError("after the first tokens, one at a time")
        dtype = self._dtype if fresh > 1 else self._single
        layers = self._layers[dtype]
        if not start:
            shape = (2, count, self._heads, self._most, self._width)
            self._kept = [torch.empty(shape, dtype=self._single, device=tokens.device) for _ in layers]
        turn = [part[:, start:end].to(tokens.dtype) for part in self._turn]
        for number, (layer, kept) in enumerate(zip(layers, self._kept, strict=True)):
            # What earlier tokens become after the last layer is not read by anyone.
            read = 1 if number + 1 == len(layers) else fresh
            tokens = self._through(layer, kept, tokens, turn, read)
        self._length = end
        return self._normal(tokens[:, -1], self._norm)

    def _through(self, layer: _Layer, kept: Tensor, tokens: Tensor, turn: list[Tensor], read: int) -> Tensor:
        """The last `read` tokens after a layer: all of them, or one."""
        count, fresh = tokens.shape[:2]
        end = self._length + fresh
        dtype = layer.down.dtype
        made = (self._normal(tokens, layer.before).to(dtype) @ layer.query_key_value).view(
            count, fresh, 3, self._heads, self._width
        )
        query, key = _turned(made[:, :, :2], turn).transpose(1, 3).unbind(2)
        kept[0, :, :, self._length : end] = key
        kept[1, :, :, self._length : end] = made[:, :, 2].transpose(1, 2)
        keys, values = kept[:, :, :, :end].to(dtype)
        query = query[:, :, fresh - read :].to(dtype)
        # A token sees those before it; the last one sees all.
        found = functional.scaled_dot_product_attention(query, keys, values, is_causal=read > 1)
        found = found.transpose(1, 2).flatten(2) @ layer.out
        tokens = tokens[:, fresh - read :] + found.to(tokens.dtype)
        gate, up = (self._normal(tokens, layer.between).to(dtype) @ layer.gate_up).chunk(2, -1)
        return tokens + ((functional.silu(gate) * up) @ layer.down).to(tokens.dtype)

    def _normal(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """Tokens over their root mean square (Zhang & Sennrich, 2019), in fp32."""
        return functional.rms_norm(tokens.float(), weight.shape, weight.float(), self._epsilon)


def _layer(layer: Any, dtype: torch.dtype) -> _Layer:
    own, mlp = layer.self_attn, layer.mlp

    def turned(*weights: Tensor) -> Tensor:
        return torch.cat(weights).to(dtype).t().contiguous()

    return _Layer(
        before=layer.input_layernorm.weight,
        query_key_value=turned(own.q_proj.weight, own.k_proj.weight, own.v_proj.weight),
        out=turned(own.o_proj.weight),
        between=layer.post_attention_layernorm.weight,
        gate_up=turned(mlp.gate_proj.weight, mlp.up_proj.weight),
        down=turned(mlp.down_proj.weight),
    )


def _turned(vectors: Tensor, turn: list[Tensor]) -> Tensor:
    """Rotary positions (Su et al., 2021) of vectors [B, T, N, H, W], halves paired as Llama pairs them."""
    cosine, sine = turn
    first, second = vectors.chunk(2, -1)
    return vectors * cosine + torch.cat([-second, first], -1) * sine
