"""The verifier's answers about whole images, sooner: the same functions of the same weights, re-ordered.

Three identities, each exact but for rounding:

- A patch of a mask sheet that is empty lays the same on its token for every phrase. So the empty sheet is
  laid once an image, and of each phrase's sheet only the patches that hold mask are worked.
- The question has few tokens and the memory many, so keys and values are never made. With q_h a query of
  head h and x the memory: q_h . (W_h x) = (W_h' q_h) . x, and sum_t a_t (V_h x_t) = V_h (sum_t a_t x_t),
  since the weights a sum to 1. What is the same for all keys drops out of the softmax.
- The two layers normalise the same memory; only scale and shift differ, and these move to the queries and to
  the sum.

The last layer works the one question token that is read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.networks.verifier.architecture import DecoderLayer, Memory, Verifier, sheet_coverage


def laid(network: Verifier, whole: Memory, bare: Tensor, sheets: Tensor) -> Memory:
    """The memory of one image, `whole` [1, T, ...], with mask sheets [N, 4, S, S] laid over it: what
    `Verifier.lay_masks` gives. `bare` [1, T, D] are its tokens with an empty sheet. One row stands for all
    where every sheet is empty.
    """
    patch = int(network.sheet_embed.kernel_size[0])
    count, channels, side = sheets.shape[:3]
    grid = side // patch
    parts = sheets.view(count, channels, grid, patch, grid, patch)
    parts = parts.permute(0, 2, 4, 1, 3, 5).reshape(count, grid * grid, channels * patch * patch)
    rows, places = parts.any(-1).nonzero(as_tuple=True)
    if not len(rows):
        return replace(whole, tokens=bare)
    tokens = bare.expand(count, -1, -1).clone()
    embedded = functional.linear(
        parts[rows, places], network.sheet_embed.weight.flatten(1), network.sheet_embed.bias
    )
    over = whole.tokens[0, places] + embedded
    tokens[rows, places] = (over + network.sheet_mix(over)).to(tokens.dtype)
    return replace(whole, tokens=tokens, covered=sheet_coverage(sheets))


def answer(network: Verifier, task: str, memory: Memory, ids: Tensor, attention: Tensor) -> Tensor:
    """Logits [N, choices of the task] of phrases [N, L]: what `Verifier.answer` gives for the same memory,
    of N rows or one.
    """
    tokens, told, _ = network.match(memory, ids, attention)
    plain = functional.layer_norm(tokens.float(), tokens.shape[-1:])
    plain = plain.to(told.dtype)  # that of this precision's products
    question, padding = network.ask(task, told, ids, attention)
    for place, layer in enumerate(network.layers):
        last = place + 1 == len(network.layers)
        question = _layer(cast(DecoderLayer, layer), question, plain, padding, 1 if last else None)
    logits: Tensor = network.heads[task](question[:, 0])
    return logits.float()


def _layer(layer: DecoderLayer, question: Tensor, plain: Tensor, padding: Tensor, read: int | None) -> Tensor:
    """A decoder layer on question [N, L, D] and the normalised memory without scale and shift [N, T, D];
    answers the first `read` question tokens only.
    """
    normal = layer.norms[0](question)
    asking = normal[:, :read]
    question = question[:, :read] + _own(layer.own, asking, normal, padding)
    question = question + _gathered(layer, layer.norms[1](question), plain)
    answered: Tensor = question + layer.mlp(layer.norms[2](question))
    return answered


def _own(own: nn.MultiheadAttention, asking: Tensor, normal: Tensor, padding: Tensor) -> Tensor:
    """The question's attention to itself. Written out: with few tokens and a mask, the fused kernel is many
    times slower in bf16 on a CPU.
    """
    width, heads = own.embed_dim, own.num_heads
    weight, bias = own.in_proj_weight, own.in_proj_bias
    query = functional.linear(asking, weight[:width], bias[:width])
    key, value = functional.linear(normal, weight[width:], bias[width:]).chunk(2, -1)
    query, key, value = (
        part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in (query, key, value)
    )
    scores = (query @ key.transpose(-1, -2)).float() * (width // heads) ** -0.5
    shares = scores.masked_fill(padding[:, None, None], -torch.inf).softmax(-1)
    gathered = (shares.to(value.dtype) @ value).transpose(1, 2).flatten(-2)
    found: Tensor = own.out_proj(gathered)
    return found


def _gathered(layer: DecoderLayer, asking: Tensor, plain: Tensor) -> Tensor:
    """The question's attention [N, L, D] to the memory, without making the memory's keys and values."""
    own, norm = layer.memory, cast(nn.LayerNorm, layer.norms[3])
    width, heads = own.embed_dim, own.num_heads
    weight, bias = own.in_proj_weight, own.in_proj_bias
    count, length = asking.shape[:2]
    query = functional.linear(asking, weight[:width], bias[:width]).view(count, length, heads, -1)
    back = weight[width : 2 * width].view(heads, -1, width) * norm.weight
    turned = torch.einsum("nlhd,hdw->nlhw", query.float(), back).flatten(1, 2)
    scores = (turned.to(plain.dtype) @ plain.transpose(-1, -2)).float() * (width // heads) ** -0.5
    mean = (scores.softmax(-1).to(plain.dtype) @ plain).float() * norm.weight + norm.bias
    mean = mean.view(count, length, heads, width)
    onward = weight[2 * width :].view(heads, -1, width)
    value = torch.einsum("nlhw,hdw->nlhd", mean, onward).flatten(-2) + bias[2 * width :]
    found: Tensor = own.out_proj(value)
    return found
