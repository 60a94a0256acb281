"""SAM's fine features: how they are packed, and that each pixel gets its own."""

from __future__ import annotations

import torch

from services.networks.sam.architecture import TINY_CHANNELS, build_vit_tiny
from services.networks.sam.decoding import decode_tokens, embed_prompts, upscale_masks
from services.networks.sam.fine import _pack, _unpack, fine_tokens


def test_packing_keeps_every_pixel_of_a_cell() -> None:
    for halvings in (1, 2):
        features = torch.randn(2, 3, 5 << halvings, 5 << halvings)
        packed = _pack(features, halvings)
        assert packed.shape == (2, 3 * 4**halvings, 5, 5)
        assert torch.equal(_unpack(packed, halvings), features)
        # One cell's channels are its pixels, and nobody else's.
        cell = slice(2 << halvings, 3 << halvings)
        own = features[1, :, cell, cell].flatten().sort().values
        assert torch.equal(packed[1, :, 2, 2].sort().values, own)


def test_tokens_of_a_public_embedding_have_none() -> None:
    assert fine_tokens(torch.zeros(1, 256, 64, 64), 256) is None
    found = fine_tokens(torch.zeros(2, 256, 8, 8), 64)
    assert found is not None
    assert [tuple(part.shape) for part in found] == [(2, 256, 16), (2, 1024, 8)]


@torch.inference_mode()
def test_a_fine_feature_reaches_the_masks_at_its_pixel_alone() -> None:
    torch.manual_seed(0)
    sam = build_vit_tiny().eval()
    embedding = torch.randn(1, 4 * TINY_CHANNELS, 32, 32)
    sparse, dense = embed_prompts(sam, None, None, torch.tensor([[20.0, 20, 200, 220]]), None)
    tokens = decode_tokens(sam, embedding, sparse, dense)
    before = upscale_masks(sam, tokens, embedding)
    changed = embedding.clone()
    # Row 1 and column 2 of the 4 x 4 pixels of cell (5, 7); places count y', x', y'', x''.
    place = ((0 * 2 + 1) * 2 + 1) * 2 + 0
    depth = TINY_CHANNELS // 8
    start = 2 * TINY_CHANNELS + place * depth
    changed[0, start : start + depth, 5, 7] += 1.0
    moved = (upscale_masks(sam, tokens, changed) - before).abs().amax((0, 1)) > 0
    assert moved.nonzero().tolist() == [[5 * 4 + 1, 7 * 4 + 2]]
