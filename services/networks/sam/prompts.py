"""Prompts as the network takes them."""

from __future__ import annotations

from torch import Tensor

MASK_LOGIT = 8.0


def mask_logits_of(masks: Tensor) -> Tensor:
    """Boolean or soft (0..1) masks [N, h, w] as mask input [N, 1, h, w]: -8 outside, +8 inside, in training
    and serving.
    """
    return ((masks.float() * 2 - 1) * MASK_LOGIT)[:, None]
