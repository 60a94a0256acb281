"""SAM checkpoints as facebook's files are: the state dict of the registry's network, by torch.save."""

from __future__ import annotations

from pathlib import Path

import torch
from segment_anything import sam_model_registry


def save_pth(name: str, path: Path, seed: int = 0) -> Path:
    """A checkpoint of the full architecture; small random weights."""
    with torch.device("meta"):
        shapes = sam_model_registry[name]().state_dict()
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, value in shapes.items():
        if key.endswith(".bias") or "rel_pos" in key or "pos_embed" in key:
            tensors[key] = torch.zeros(value.shape)
        elif value.ndim == 1:  # the scales of norms
            tensors[key] = torch.ones(value.shape)
        else:
            # A few drawn values, repeated: as good as any for a test, and quick for a billion of them.
            block = torch.randn(min(value.numel(), 4099), generator=random) / max(value[0].numel(), 1) ** 0.5
            tensors[key] = block.repeat(-(-value.numel() // len(block)))[: value.numel()].reshape(value.shape)
            tensors[key] = tensors[key].clone()
    torch.save(tensors, path)
    return path
