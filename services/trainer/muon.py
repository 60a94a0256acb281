"""Muon, orthogonalising in a number format that the CPU has.

torch.optim.Muon always works in bf16, which a CPU without AVX512-BF16 emulates: two thirds of a training step
went there on one with AVX2 only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from services.networks.precision import choose_dtype

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, by Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum of each matrix [A, B], made nearly orthogonal, times 0.2 sqrt(max(A, B)): the size of an
    update of AdamW (Liu et al., 2025, arXiv 2502.16982). The state is that of torch.optim.Muon with
    adjust_lr_fn="match_rms_adamw".
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @override
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # ours never evaluate a loss again
        for group in self.param_groups:
            alike: dict[tuple[torch.Size, torch.device], list[tuple[Tensor, Tensor]]] = {}
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
                update = matrix.grad.lerp(state["momentum_buffer"], group["momentum"])
                alike.setdefault((matrix.shape, matrix.device), []).append((matrix, update))
            for (shape, _), pairs in alike.items():
                size = 0.2 * math.sqrt(max(shape)) * group["lr"]
                updates = orthogonal(torch.stack([update for _, update in pairs]))
                for (matrix, _), update in zip(pairs, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-size)


def orthogonal(matrices: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Matrices [N, A, B] with singular values near 1 in place of theirs, in `dtype`: by default what the
    device multiplies fast.
    """
    small = matrices.to(dtype or choose_dtype("auto", matrices.device))
    tall = small.shape[1] > small.shape[2]
    small = small.mT if tall else small
    small = small / small.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    first, second, third = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = small @ small.mT
        weights = torch.baddbmm(gram, gram, gram, beta=second, alpha=third)
        small = torch.baddbmm(small, weights, small, beta=first)
    return small.mT if tall else small
