"""SAM's image encoder: segment-anything's modules in an order of work that suits the machine, or OpenVINO's
compilation of them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from typing import Any, Literal

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import get_rel_pos, window_partition, window_unpartition
from torch import Tensor, nn
from torch.nn import functional

from services.networks.errors import ModelError
from services.networks.sam.fine import FineEncoder

Engine = Literal["torch", "openvino"]
Encoder = Callable[[Tensor], Tensor]
"""Normalised inputs float32 [B, 3, S, S] to embeddings float32 [B, C, G, G], or [B, 4 C, G, G] with fine
features.
"""

SCORES_AT_ONCE = {"cpu": 1 << 25, "cuda": 1 << 30}
"""Attention scores whose relative positions are in memory at once, two or four bytes each."""


class TorchEncoder:
    """`ImageEncoderViT` whose attention is computed for some queries at a time, so that its scores, 800 MB a
    global layer of vit_b, never go through memory. Residuals, norms and the neck stay in float32.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype, *, compiled: bool = False) -> None:
        encoder = sam.image_encoder
        self._encoder, self._dtype = encoder, dtype
        self._blocks = [_Block(block, dtype) for block in encoder.blocks]
        run: Encoder = torch.compile(self._encode) if compiled else self._encode
        self._run = run

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._run(inputs)

    def _encode(self, inputs: Tensor) -> Tensor:
        encoder = self._encoder
        fine: list[Tensor] = []
        if isinstance(encoder, FineEncoder):
            tokens, packed = encoder.patch_embed(inputs)
            fine.append(packed)
        else:
            tokens = encoder.patch_embed(inputs)
            if encoder.pos_embed is not None:
                tokens = tokens + encoder.pos_embed
        for block in self._blocks:
            tokens = block(tokens)
        return torch.cat([encoder.neck(tokens.permute(0, 3, 1, 2)), *fine], 1)


class _Block:
    """One transformer block on tokens float32 [B, H, W, C]."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        self._block, self._dtype = block, dtype
        attention = block.attn
        self._qkv, self._proj = _cast(attention.qkv, dtype), _cast(attention.proj, dtype)
        self._mlp = _cast(block.mlp, dtype)
        self._heads = int(attention.num_heads)
        self._positions = (
            (attention.rel_pos_h.to(dtype), attention.rel_pos_w.to(dtype)) if attention.use_rel_pos else None
        )

    def __call__(self, tokens: Tensor) -> Tensor:
        block = self._block
        normal = block.norm1(tokens).to(self._dtype)
        if block.window_size > 0:
            size = normal.shape[1], normal.shape[2]
            normal, padded = window_partition(normal, block.window_size)
            attended = window_unpartition(self._attend(normal), block.window_size, padded, size)
        else:
            attended = self._attend(normal)
        tokens = tokens + attended
        answer: Tensor = tokens + self._mlp(block.norm2(tokens).to(self._dtype))
        return answer

    def _attend(self, tokens: Tensor) -> Tensor:
        """`Attention` of tokens [B, H, W, C]."""
        count, height, width, channels = tokens.shape
        cells = height * width
        qkv = self._qkv(tokens).view(count, cells, 3, self._heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        most = SCORES_AT_ONCE.get(tokens.device.type, SCORES_AT_ONCE["cpu"])
        windows = max(1, most // (self._heads * cells * cells))
        queries = max(1, most // (windows * self._heads * cells))
        mixed = torch.empty_like(tokens).view(count, cells, self._heads, -1)
        positions = self._relative_positions(query, height, width)
        for first in range(0, count, windows):
            some = slice(first, first + windows)
            for start in range(0, cells, queries):
                rows = slice(start, start + queries)
                bias = None
                if positions is not None:
                    by_row, by_column = (each[some, :, rows] for each in positions)
                    bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(3)
                mixed[some, rows] = functional.scaled_dot_product_attention(
                    query[some, :, rows], key[some], value[some], attn_mask=bias
                ).transpose(1, 2)
        attended: Tensor = self._proj(mixed.view(count, height, width, channels))
        return attended

    def _relative_positions(self, query: Tensor, height: int, width: int) -> tuple[Tensor, Tensor] | None:
        """Decomposed relative positions (Li et al., 2022) of queries [B, heads, HW, d]: scores by the key's
        row [B, heads, HW, H] and column [B, heads, HW, W].
        """
        if self._positions is None:
            return None
        places = torch.unflatten(query, 2, (height, width))
        by_row = torch.einsum("bnhwd,hkd->bnhwk", places, get_rel_pos(height, height, self._positions[0]))
        by_column = torch.einsum("bnhwd,wkd->bnhwk", places, get_rel_pos(width, width, self._positions[1]))
        return by_row.flatten(2, 3), by_column.flatten(2, 3)


def _cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    return module if dtype == torch.float32 else deepcopy(module).to(dtype)


class OpenVinoEncoder:
    """The encoder compiled by OpenVINO for this CPU, in bf16 or float32. Raises `ModelError` if OpenVINO is
    not installed.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype, threads: int) -> None:
        try:
            openvino: Any = import_module("openvino")
        except ImportError as fault:
            raise ModelError(
                "OpenVINO is not installed: install the extra `openvino`, or set "
                "TERCET_NETWORKS_SAM_ENCODER=torch",
                invalid=False,
            ) from fault
        side = int(sam.image_encoder.img_size)
        # An export follows the shapes alone; a trace would compute vit_b four times in 14 GB.
        with torch.inference_mode(False), torch.no_grad():
            encoder = deepcopy(sam.image_encoder).requires_grad_(False)
            exported = torch.export.export(encoder, (torch.zeros(1, 3, side, side),))
            model = openvino.convert_model(exported)
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = openvino.compile_model(model, "CPU", hints)

    def __call__(self, inputs: Tensor) -> Tensor:
        rows = [self._compiled([row[None].numpy()])[0] for row in inputs]
        return torch.from_numpy(np.concatenate([np.array(row, np.float32) for row in rows]))


def make_encoder(engine: Engine, sam: Sam, dtype: torch.dtype, *, compiled: bool) -> Encoder:
    """The encoder of a network that already is on its device."""
    if engine == "torch":
        return TorchEncoder(sam, dtype, compiled=compiled)
    if sam.device.type != "cpu":
        raise ModelError("OpenVINO encodes on the CPU only: set TERCET_NETWORKS_DEVICE=cpu", invalid=False)
    return OpenVinoEncoder(sam, dtype, torch.get_num_threads())
