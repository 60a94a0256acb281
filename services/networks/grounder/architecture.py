"""OWLv2 networks: the bundled tiny one and the parts of its forward pass that training and serving share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import Owlv2Config, Owlv2ForObjectDetection

from services.networks.geometry import centre_to_corners
from services.networks.stem import fit_stem

TINY_SIDE = 252
"""Pixels of an image's side that the bundled network is trained at."""
SERVED_SIDE = 324
"""And that it is served at. A network sees more in a larger image than it was trained at (Touvron et al.,
2019, "Fixing the train-test resolution discrepancy"): on 100 held-out scenes the balanced accuracy of
presence rose from .931 to .952, for small objects above all.
"""
TINY_PATCH = 12
TINY_WIDTH = 192
TINY_LAYERS = 4
TINY_STEM = {"widths": (32, 64, TINY_WIDTH), "strides": (3, 2, 2), "depths": (0, 2, 3)}
TEXT_WIDTH = 128
TEXT_LENGTH = 8


class StemmedOwlv2(Owlv2ForObjectDetection):  # type: ignore[no-untyped-call]
    """transformers' OWLv2, whose vision config may name a convolutional stem; without one it is the public
    one. With a stem it has no embedding of the whole image, which detection does not ask for.
    """

    def __init__(self, config: Owlv2Config) -> None:
        super().__init__(config)
        if fit_stem(self.owlv2.vision_model.embeddings, config.vision_config):
            del self.owlv2.visual_projection


def build_tiny(vocabulary: int, pad: int, bos: int, eos: int) -> StemmedOwlv2:
    """The bundled network: 252 pixels, a convolutional stem of stride 12 (21 x 21 tokens), four layers of
    width 192; text two layers of 128.

    transformers draws the weights of its detection heads with a standard deviation of 1, from which boxes
    never learn; they are drawn anew here. Positions start as sines and cosines.
    """
    text = {
        "vocab_size": vocabulary,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 3 * TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": TEXT_LENGTH,
        "pad_token_id": pad,
        "bos_token_id": bos,
        "eos_token_id": eos,
    }
    vision = {
        "hidden_size": TINY_WIDTH,
        "intermediate_size": 4 * TINY_WIDTH,
        "num_hidden_layers": TINY_LAYERS,
        "num_attention_heads": TINY_WIDTH // 64,
        "image_size": TINY_SIDE,
        "patch_size": TINY_PATCH,
        "hidden_act": "gelu",
        "conv_stem": TINY_STEM,
    }
    config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=TEXT_WIDTH)
    # With few wide heads plain matrix products beat the fused attention kernel on a CPU.
    config._attn_implementation = "eager"
    network = StemmedOwlv2(config)
    for head in (network.box_head, network.objectness_head):
        for layer in (head.dense0, head.dense1):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(head.dense2.weight, std=0.01)
        nn.init.zeros_(head.dense2.bias)
    nn.init.xavier_uniform_(network.class_head.dense0.weight)
    nn.init.zeros_(network.class_head.dense0.bias)
    for layer, bias in ((network.class_head.logit_scale, 11.0), (network.class_head.logit_shift, -0.4)):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    side = TINY_SIDE // TINY_PATCH
    with torch.no_grad():
        network.owlv2.vision_model.embeddings.position_embedding.weight[1:] = 0.3 * sine_positions(
            side, TINY_WIDTH
        )
    return network


def sine_positions(side: int, width: int) -> Tensor:
    """Two-dimensional sine and cosine positions [side * side, width], rows first."""
    quarter = width // 4
    rates = torch.exp(-math.log(1000.0) * torch.arange(quarter) / quarter)
    angles = torch.arange(side)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], 1)
    grid = torch.cat([line[None].expand(side, -1, -1), line[:, None].expand(-1, side, -1)], 2)
    return grid.reshape(side * side, width)


def token_features(network: Owlv2ForObjectDetection, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Detection features [B, T, D] and the tower's last hidden states [B, 1 + T, D] of normalised pixels."""
    hidden = tower_states(network, pixels)
    return detection_features(network, hidden), hidden


def tower_states(network: Owlv2ForObjectDetection, pixels: Tensor) -> Tensor:
    """The vision tower's last hidden states [B, 1 + T, D] of normalised pixels [B, 3, S, S]; positions are
    interpolated where S is not the side that it was trained at.
    """
    found: Tensor = network.owlv2.vision_model(
        pixel_values=pixels, interpolate_pos_encoding=True
    ).last_hidden_state
    return found


def detection_features(network: Owlv2ForObjectDetection, hidden: Tensor) -> Tensor:
    """Detection features [B, T, D] of the tower's last hidden states [B, 1 + T, D]."""
    normal = network.owlv2.vision_model.post_layernorm(hidden)
    features: Tensor = network.layer_norm(normal[:, 1:] * normal[:, :1])
    return features


def embed_phrases(network: Owlv2ForObjectDetection, ids: Tensor, attention: Tensor) -> Tensor:
    """Query embeddings [P, E] of tokenised phrases [P, L]."""
    pooled = network.owlv2.text_model(input_ids=ids, attention_mask=attention).pooler_output
    queries: Tensor = network.owlv2.text_projection(pooled)
    return queries


def phrase_logits(network: Owlv2ForObjectDetection, features: Tensor, queries: Tensor) -> Tensor:
    """Logits [B, T, P] of each token for each phrase."""
    logits: Tensor = network.class_head(features, queries[None].expand(len(features), -1, -1), None)[0]
    return logits.float()


def box_corners(network: Owlv2ForObjectDetection, features: Tensor, bias: Tensor | None = None) -> Tensor:
    """Boxes x0 y0 x1 y1 in shares of the square input, for features [B, T, D] of all its tokens; or [..., D]
    of some, with their `bias` [..., 4].
    """
    if bias is None:
        side = math.isqrt(features.shape[-2])
        bias = network.compute_box_bias(side, side)
    raw = network.box_head(features).float() + bias.to(features.device)
    return centre_to_corners(torch.sigmoid(raw))
