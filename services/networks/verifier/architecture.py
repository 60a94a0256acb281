"""The bundled verifier: a small vision transformer and a decoder whose question (task and phrase) looks at
its tokens.

It is no language model: each of its answers is a softmax over the fixed choices of a task, as a verifier
built on a language model would give over its choice tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Owlv2VisionConfig, Owlv2VisionModel

from services.networks.grounder.architecture import TINY_PATCH, TINY_SIDE, TINY_WIDTH
from services.networks.verifier.views import CROP_SIDE

TASKS = ("mv", "ev", "nv")
CHOICES = {
    "mv": ("accept", "accept_as_text", "flag_label", "whole_image", "reject"),
    "ev": ("accept", "reject", "reject_unseparated", "flag_label", "whole_image", "ungroundable"),
    "nv": ("absent", "present"),
}
TOWER_LAYERS = 4
DECODER_LAYERS = 2
QUESTION_LENGTH = 8


class DecoderLayer(nn.Module):
    """Question tokens attend to each other, then to the memory, then pass an MLP; normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(4)])
        self.own = nn.MultiheadAttention(width, heads, batch_first=True)
        self.memory = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, question: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        normal = self.norms[0](question)
        question = (
            question + self.own(normal, normal, normal, key_padding_mask=padding, need_weights=False)[0]
        )
        seen = self.norms[3](memory)
        question = question + self.memory(self.norms[1](question), seen, seen, need_weights=False)[0]
        answered: Tensor = question + self.mlp(self.norms[2](question))
        return answered


class Verifier(nn.Module):
    """Whole images are encoded once and shared by all questions about them; masks are laid over their tokens
    afterwards. Crops see their mask from the first layer on."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        config = Owlv2VisionConfig(
            hidden_size=TINY_WIDTH,
            intermediate_size=4 * TINY_WIDTH,
            num_hidden_layers=TOWER_LAYERS,
            num_attention_heads=TINY_WIDTH // 64,
            image_size=TINY_SIDE,
            patch_size=TINY_PATCH,
            hidden_act="gelu",
        )
        config._attn_implementation = "eager"
        self.tower = Owlv2VisionModel(config).vision_model
        crop_tokens = (CROP_SIDE // TINY_PATCH) ** 2
        self.crop_position_embed = nn.Parameter(torch.randn(2, crop_tokens, TINY_WIDTH) * 0.02)
        self.crop_mask_embed = nn.Conv2d(2, TINY_WIDTH, TINY_PATCH, TINY_PATCH)
        self.sheet_embed = nn.Conv2d(2, TINY_WIDTH, TINY_PATCH, TINY_PATCH)
        self.sheet_mix = nn.Sequential(
            nn.LayerNorm(TINY_WIDTH),
            nn.Linear(TINY_WIDTH, 2 * TINY_WIDTH),
            nn.GELU(),
            nn.Linear(2 * TINY_WIDTH, TINY_WIDTH),
        )
        # The tower's tokens have a large common part; normalised, masks and phrases added to them show.
        self.memory_norm = nn.LayerNorm(TINY_WIDTH)
        self.phrase_key = nn.Sequential(
            nn.Linear(TINY_WIDTH, TINY_WIDTH),
            nn.GELU(),
            nn.Linear(TINY_WIDTH, TINY_WIDTH),
            nn.LayerNorm(TINY_WIDTH),
        )
        self.token_key = nn.Sequential(nn.LayerNorm(TINY_WIDTH), nn.Linear(TINY_WIDTH, TINY_WIDTH))
        self.match_out = nn.Linear(TINY_WIDTH, TINY_WIDTH)
        self.word_embed = nn.Embedding(vocabulary, TINY_WIDTH)
        self.place_embed = nn.Parameter(torch.randn(QUESTION_LENGTH + 1, TINY_WIDTH) * 0.02)
        self.task_embed = nn.Embedding(len(TASKS), TINY_WIDTH)
        self.layers = nn.ModuleList([DecoderLayer(TINY_WIDTH, 3) for _ in range(DECODER_LAYERS)])
        self.heads = nn.ModuleDict({task: nn.Linear(TINY_WIDTH, len(CHOICES[task])) for task in TASKS})
        nn.init.normal_(self.word_embed.weight, std=0.3)
        nn.init.normal_(self.task_embed.weight, std=0.3)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Tokens [B, 441, D] of normalised pixels [B, 3, 252, 252]."""
        hidden: Tensor = self.tower(pixel_values=pixels).last_hidden_state
        normal: Tensor = self.memory_norm(hidden[:, 1:])
        return normal

    def encode_crops(self, crops: Tensor) -> Tensor:
        """Tokens [N, 200, D] of near and far crops [N, 2, 5, 120, 120] with normalised colours."""
        count = len(crops)
        flat = crops.flatten(0, 1)
        patches = self.tower.embeddings.patch_embedding(flat[:, :3]) + self.crop_mask_embed(flat[:, 3:])
        tokens = patches.flatten(2).transpose(1, 2) + self.crop_position_embed.repeat(count, 1, 1)
        hidden: Tensor = self.tower.encoder(inputs_embeds=self.tower.pre_layernorm(tokens)).last_hidden_state
        normal: Tensor = self.memory_norm(hidden.reshape(count, -1, hidden.shape[-1]))
        return normal

    def lay_masks(self, tokens: Tensor, sheets: Tensor) -> Tensor:
        """Image tokens [N, 441, D] with mask sheets [N, 2, 252, 252] laid over them."""
        laid = tokens + self.sheet_embed(sheets).flatten(2).transpose(1, 2)
        mixed: Tensor = laid + self.sheet_mix(laid)
        return mixed

    def match(self, memory: Tensor, ids: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Memory with the product of each token and the phrase added, and how well each token fits, [N, T]
        logits.

        From products the decoder learns soon which tokens a phrase fits; from attention alone, late.
        """
        words = self.word_embed(ids)
        weight = attention[..., None].to(words.dtype)
        phrase = self.phrase_key((words * weight).sum(1) / weight.sum(1))
        product = self.token_key(memory) * phrase[:, None]
        matched: Tensor = memory + self.match_out(product)
        return matched, product.sum(-1).float() / TINY_WIDTH**0.5

    def answer(self, task: str, memory: Tensor, ids: Tensor, attention: Tensor) -> Tensor:
        """Logits [N, choices of the task] of phrases [N, L] about memories [N, T, D]."""
        memory, _ = self.match(memory, ids, attention)
        number = torch.full((len(ids), 1), TASKS.index(task), device=ids.device)
        question = torch.cat([self.task_embed(number), self.word_embed(ids)], 1)
        question = question + self.place_embed[: question.shape[1]]
        padding = torch.cat([torch.zeros_like(attention[:, :1]), 1 - attention], 1).bool()
        for layer in self.layers:
            question = layer(question, memory, padding)
        logits: Tensor = self.heads[task](question[:, 0])
        return logits.float()


def normalise(images: Tensor) -> Tensor:
    """Colours 0..255 to the tower's pixels."""
    return (images.float() - 127.5) / 63.75


def normalise_crops(crops: Tensor) -> Tensor:
    """Crops [..., 5, h, w] with their first three channels normalised."""
    return torch.cat([normalise(crops[..., :3, :, :]), crops[..., 3:, :, :]], -3)
