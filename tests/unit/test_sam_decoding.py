"""SAM's fast encoder and decoder against segment-anything's own modules."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor, nn

from services.networks.sam import encoding
from services.networks.sam.architecture import build_vit_tiny
from services.networks.sam.decoding import embed_prompts
from services.networks.sam.encoding import TorchEncoder, make_encoder
from services.networks.sam.factorised import FactorisedDecoder
from services.networks.sam.fine import FineEncoder

MOST_FLIPS = 1e-6
"""Share of mask pixels that may lie on the other side of the threshold in float32."""


def with_public_shapes() -> Sam:
    """What the public checkpoints have: relative positions, padded windows, and their very mask decoder; the
    encoder is small.
    """
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=160,
            patch_size=8,
            embed_dim=48,
            depth=3,
            num_heads=3,
            out_chans=256,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=256, image_embedding_size=(20, 20), input_image_size=(160, 160), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer_dim=256,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
        ),
    )


NETWORKS = {"vit_tiny": build_vit_tiny, "public": with_public_shapes}


@pytest.fixture(scope="module", params=NETWORKS)
def sam(request: pytest.FixtureRequest) -> Sam:
    torch.manual_seed(0)
    network = NETWORKS[request.param]().eval()
    with torch.no_grad():
        # As made, biases and positions are 0 and norms 1, which would hide a mistake in them.
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    return network


def channels_of(sam: Sam) -> int:
    """Of an image's embedding: with fine features four times as many."""
    return int(sam.prompt_encoder.embed_dim) * (4 if isinstance(sam.image_encoder, FineEncoder) else 1)


def reference(sam: Sam, embedding: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    masks, iou = sam.mask_decoder.predict_masks(
        image_embeddings=embedding[None],
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense.expand(len(sparse), -1, -1, -1),
    )
    return masks, iou


def prompts(sam: Sam, kind: str, count: int) -> tuple[Tensor, Tensor]:
    side = sam.image_encoder.img_size
    points = torch.rand(count, 3, 2) * side
    labels = torch.randint(0, 2, (count, 3))
    corners = (torch.rand(count, 2, 2) * side).sort(1).values.reshape(count, 4)
    mask = torch.randn(1, 1, *sam.prompt_encoder.mask_input_size) * 4
    given: dict[str, tuple[Any, Any, Any, Any]] = {
        "click": (points[:, :1], labels[:, :1], None, None),
        "clicks": (points, labels, None, None),
        "boxes": (None, None, corners, None),
        "clicks, box and mask": (points[:1], labels[:1], corners[:1], mask),
    }
    sparse, dense = embed_prompts(sam, *given[kind])
    return sparse, dense[:1]


@pytest.mark.parametrize("kind", ["click", "clicks", "boxes", "clicks, box and mask"])
@torch.inference_mode()
def test_factorised_masks_are_those_of_the_reference(sam: Sam, kind: str) -> None:
    torch.manual_seed(1)
    grid = sam.prompt_encoder.image_embedding_size
    embedding = torch.randn(channels_of(sam), *grid)
    sparse, dense = prompts(sam, kind, 48)
    theirs, their_iou = reference(sam, embedding, sparse, dense)
    decoder = FactorisedDecoder(sam, torch.float32).for_image(embedding, dense[0])
    tokens = decoder.decode(sparse)
    ours = decoder.upscale(tokens, slice(0, 4))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokens.predicted_iou, their_iou, rtol=1e-4, atol=1e-5)
    flips = int(((ours > 0) != (theirs > 0)).sum())
    assert flips <= MOST_FLIPS * theirs.numel() + 1
    some = decoder.upscale(tokens.take(torch.tensor([0])), slice(1, 3))
    torch.testing.assert_close(some[0], theirs[0, 1:3], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_flips_are_at_most_one_in_a_million(sam: Sam) -> None:
    flips, pixels = 0, 0
    for seed in range(4):
        torch.manual_seed(seed)
        embedding = torch.randn(channels_of(sam), *sam.prompt_encoder.image_embedding_size)
        sparse, dense = prompts(sam, "click", 64)
        theirs, _ = reference(sam, embedding, sparse, dense)
        decoder = FactorisedDecoder(sam, torch.float32).for_image(embedding, dense[0])
        ours = decoder.upscale(decoder.decode(sparse), slice(0, 4))
        flips += int(((ours > 0) != (theirs > 0)).sum())
        pixels += theirs.numel()
    assert pixels > 5_000_000
    assert flips <= MOST_FLIPS * pixels


@torch.inference_mode()
def test_bfloat16_is_close(sam: Sam) -> None:
    torch.manual_seed(2)
    embedding = torch.randn(channels_of(sam), *sam.prompt_encoder.image_embedding_size)
    sparse, dense = prompts(sam, "boxes", 16)
    theirs, their_iou = reference(sam, embedding, sparse, dense)
    decoder = FactorisedDecoder(sam, torch.bfloat16).for_image(embedding, dense[0])
    tokens = decoder.decode(sparse)
    ours = decoder.upscale(tokens, slice(0, 4))
    assert ours.dtype == torch.float32
    assert float(((ours > 0) != (theirs > 0)).float().mean()) < 0.02
    torch.testing.assert_close(tokens.predicted_iou, their_iou, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("at_once", [1 << 10, 1 << 25])
@torch.inference_mode()
def test_encoder_equals_segment_anythings(sam: Sam, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(encoding.SCORES_AT_ONCE, "cpu", at_once)
    side = sam.image_encoder.img_size
    inputs = torch.randn(2, 3, side, side)
    theirs = sam.image_encoder(inputs)
    torch.testing.assert_close(TorchEncoder(sam, torch.float32)(inputs), theirs, rtol=1e-3, atol=1e-4)
    half = TorchEncoder(sam, torch.bfloat16)(inputs)
    assert float((half - theirs).norm() / theirs.norm()) < 0.05


@torch.inference_mode()
def test_openvino_encodes_the_same(sam: Sam) -> None:
    side = sam.image_encoder.img_size
    inputs = torch.randn(1, 3, side, side)
    encoder = make_encoder("openvino", sam, torch.float32, compiled=False)
    torch.testing.assert_close(encoder(inputs), sam.image_encoder(inputs), rtol=1e-2, atol=1e-3)
