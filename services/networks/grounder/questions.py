"""The tensors of the concept grounder's contract, which every grounder reads and answers alike."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from services.networks.errors import ModelError
from services.networks.tensors import Request, Tensors, bytes_tensor, read_number, read_text

MOST_PHRASES = 1024


def read_phrases(request: Request, threshold: float) -> tuple[list[str], float]:
    """The request's phrases and its score threshold, or this one. Raises `ModelError`."""
    phrases = read_text(request, "phrases")
    if len(phrases) > MOST_PHRASES:
        raise ModelError(f"at most {MOST_PHRASES} phrases are taken at once, not {len(phrases)}")
    if any(not phrase.strip() for phrase in phrases):
        raise ModelError("a phrase is empty")
    asked = read_number(request, "threshold", threshold)
    if not 0 <= asked <= 1:
        raise ModelError(f"threshold must be 0 to 1, not {asked:g}")
    return phrases, asked


def blank_question(width: int = 64, height: int = 48) -> Request:
    """A made-up request."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(buffer, "PNG")
    return {"image": bytes_tensor([buffer.getvalue()]), "phrases": bytes_tensor(["bus"])}


def clip_corners(
    shares: Tensor, width: float, height: float, image: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Corner boxes [N, 4] in shares of `width` x `height` pixels, as pixels clipped to the image (height,
    width); and which of them [N] are at least a pixel wide and high.
    """
    scale = torch.tensor([width, height] * 2, device=shares.device)
    limit = torch.tensor([image[1], image[0]] * 2, device=shares.device)
    corners = torch.minimum((shares * scale).clamp(min=0), limit)
    return corners, ((corners[:, 2:] - corners[:, :2]) >= 1).all(1)


def answer_boxes(
    height: int,
    width: int,
    presence: Sequence[float],
    index: Sequence[int],
    scores: Sequence[float],
    found: Sequence[Tensor],
) -> Tensors:
    """The answer's tensors: of each phrase its presence, of each box its phrase and score; `found` holds the
    corner boxes, in pixels, in that order.
    """
    corners = torch.cat(list(found)).float().cpu().numpy() if found else np.zeros((0, 4))
    xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    return {
        "presence": np.array(presence, np.float32),
        "phrase_index": np.array(index, np.int32),
        "scores": np.array(scores, np.float32),
        "boxes": xywh.astype(np.float32),
        "size": np.array([height, width], np.int32),
    }
