"""Muon for the matrices, AdamW for the rest, and a learning rate that warms up, stays, and falls to
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from services.trainer.muon import Muon

WARM_UP = 0.03
FALL = 0.5
"""Share of the run over which the rate falls at its end."""


def optimisers(
    named: Iterable[tuple[str, nn.Parameter]],
    matrix_rate: float,
    other_rate: float,
    weight_decay: float = 0.05,
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for hidden matrices of at least 64x64; AdamW for embeddings, heads, kernels,
    vectors.

    Every group remembers its full rate as `base`.
    """
    matrices: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        hidden = (
            parameter.ndim == 2 and "embed" not in name and "head" not in name and min(parameter.shape) >= 64
        )
        (matrices if hidden else decayed if parameter.ndim >= 2 else plain).append(parameter)
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=other_rate,
            betas=(0.9, 0.98),
        )
    ]
    if matrices:
        made.append(Muon(matrices, lr=matrix_rate, weight_decay=weight_decay))
    for group in groups(made):
        group["base"] = group["lr"]
    return made


def groups(made: Iterable[torch.optim.Optimizer]) -> Iterator[dict[str, Any]]:
    """The optimisers' groups of parameters."""
    for optimiser in made:
        yield from optimiser.param_groups


def rate_factor(progress: float) -> float:
    """The share of the full learning rate at `progress` (0..1) of the run."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return max(0.01, min(1.0, (1 - progress) / FALL))


def set_rate(made: list[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's learning rate."""
    for group in groups(made):
        group["lr"] = group["base"] * factor
