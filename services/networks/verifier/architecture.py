"""The bundled verifier: the grounder's towers, which tell where a phrase fits, and a decoder whose question
(task and phrase) looks at the image's tokens.

It is no language model: each of its answers is a softmax over the fixed choices of a task, as a verifier
built on a language model would give over its choice tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.networks.grounder.architecture import (
    SERVED_SIDE,
    TEXT_WIDTH,
    TINY_PATCH,
    TINY_STEM,
    TINY_WIDTH,
    build_tiny,
    detection_features,
    embed_phrases,
    tower_states,
)
from services.networks.verifier.views import CROP_SIDE, SHEET_CHANNELS, SHEET_STRIDE, mask_sheet

TASKS = ("mv", "ev", "nv")
CHOICES = {
    "mv": ("accept", "accept_as_text", "flag_label", "whole_image", "reject"),
    "ev": ("accept", "reject", "reject_unseparated", "flag_label", "whole_image", "ungroundable"),
    "nv": ("absent", "present"),
}
DECODER_LAYERS = 2
QUESTION_LENGTH = 8
CROP_GRID = CROP_SIDE // TINY_PATCH
SHEET_PATCH = TINY_PATCH // SHEET_STRIDE
COVERED = 0.35
"""A token counts as covered from this share of its pixels on."""


@dataclass(frozen=True)
class Memory:
    """What a question looks at: `tokens` [N, T, D]; the grounder's class embedding of each token, of length
    1, `classes` [N, T, E], with the `shift` and `scale` [N, T] of its logits; and the share of each token
    that lies under a mask, `covered` [N, T]. T is one grid or, for crops, two.
    """

    tokens: Tensor
    classes: Tensor
    shift: Tensor
    scale: Tensor
    covered: Tensor

    def take(self, index: Tensor | slice) -> Memory:
        """The memories of some rows."""
        return Memory(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Memory]) -> Memory:
        """Memories one after the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class DecoderLayer(nn.Module):
    """Question tokens attend to each other, then to the memory, then pass an MLP; normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(4)])
        self.own = nn.MultiheadAttention(width, heads, batch_first=True)
        self.memory = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

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
    afterwards. Crops see their mask from the first convolution on."""

    def __init__(self, vocabulary: int, pad: int, bos: int, eos: int) -> None:
        super().__init__()
        self.owl = build_tiny(vocabulary, pad, bos, eos)
        del self.owl.box_head, self.owl.objectness_head
        self.crop_position_embed = nn.Parameter(torch.randn(2 * CROP_GRID**2, TINY_WIDTH) * 0.02)
        first, stride = TINY_STEM["widths"][0], TINY_STEM["strides"][0]
        self.crop_mask_stem = nn.ModuleList([nn.Conv2d(2, first, 5, stride, 2, bias=False) for _ in range(2)])
        self.sheet_embed = nn.Conv2d(SHEET_CHANNELS, TINY_WIDTH, SHEET_PATCH, SHEET_PATCH)
        self.sheet_mix = nn.Sequential(
            nn.LayerNorm(TINY_WIDTH),
            nn.Linear(TINY_WIDTH, TINY_WIDTH),
            nn.GELU(),
            nn.Linear(TINY_WIDTH, TINY_WIDTH),
        )
        # The tower's tokens have a large common part; normalised, masks and phrases added to them show.
        self.memory_norm = nn.LayerNorm(TINY_WIDTH)
        self.match_out = nn.Linear(TEXT_WIDTH + 1, TINY_WIDTH)
        self.strongest_in = nn.Linear(5, TINY_WIDTH)
        self.word_embed = nn.Embedding(vocabulary, TINY_WIDTH)
        self.place_embed = nn.Parameter(torch.randn(QUESTION_LENGTH + 1, TINY_WIDTH) * 0.02)
        self.task_embed = nn.Embedding(len(TASKS), TINY_WIDTH)
        self.layers = nn.ModuleList([DecoderLayer(TINY_WIDTH, 3) for _ in range(DECODER_LAYERS)])
        self.heads = nn.ModuleDict({task: nn.Linear(TINY_WIDTH, len(CHOICES[task])) for task in TASKS})
        nn.init.normal_(self.word_embed.weight, std=0.3)
        nn.init.normal_(self.task_embed.weight, std=0.3)

    def encode_images(self, pixels: Tensor) -> Memory:
        """Memories of normalised pixels [B, 3, 324, 324], without masks."""
        hidden = tower_states(self.owl, pixels)
        return self._memory(hidden, hidden.new_zeros(len(hidden), hidden.shape[1] - 1))

    def encode_crops(self, crops: Tensor) -> Memory:
        """Memories of near and far crops [N, 2, 5, 120, 120] with normalised colours; both are one
        sequence.
        """
        vision = self.owl.owlv2.vision_model
        stem = vision.embeddings.patch_embedding
        views = [
            stem(crops[:, view, :3], mask(crops[:, view, 3:])).flatten(2).transpose(1, 2)
            for view, mask in enumerate(self.crop_mask_stem)
        ]
        tokens = torch.cat(views, 1) + self.crop_position_embed
        head = vision.embeddings.class_embedding + vision.embeddings.position_embedding.weight[0]
        tokens = torch.cat([head.expand(len(crops), 1, -1), tokens], 1)
        hidden = vision.encoder(inputs_embeds=vision.pre_layernorm(tokens)).last_hidden_state
        # The near view's mask is its third channel beside the colours, the far view's its fourth.
        masks = torch.stack([crops[:, 0, 3], crops[:, 1, 4]], 1)
        covered = functional.avg_pool2d(masks, TINY_PATCH).flatten(1)
        return self._memory(hidden, covered)

    def _memory(self, hidden: Tensor, covered: Tensor) -> Memory:
        head, features = self.owl.class_head, detection_features(self.owl, hidden)
        return Memory(
            self.memory_norm(hidden[:, 1:]),
            functional.normalize(head.dense0(features), dim=-1),
            head.logit_shift(features)[..., 0],
            functional.elu(head.logit_scale(features)[..., 0]) + 1,
            covered,
        )

    def lay_masks(self, whole: Memory, sheets: Tensor) -> Memory:
        """Whole images' memories with mask sheets [N, 4, 108, 108] laid over them."""
        laid = whole.tokens + self.sheet_embed(sheets).flatten(2).transpose(1, 2)
        return replace(whole, tokens=laid + self.sheet_mix(laid), covered=sheet_coverage(sheets))

    def match(self, memory: Memory, ids: Tensor, attention: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Memory tokens [N, T, D] that know how each fits the phrase, what the question is told of it [N,
        D], and the fits [N, T]: logits, as the grounder gives them.
        """
        queries = functional.normalize(embed_phrases(self.owl, ids, attention), dim=-1)
        product = memory.classes * queries[:, None]
        fits = ((product.sum(-1) + memory.shift) * memory.scale).float()
        near = fits.clamp(-10, 10) / 5
        matched = torch.cat([product * TEXT_WIDTH**0.5, near[..., None].to(product.dtype)], -1)
        told: Tensor = self.strongest_in(strongest_fits(near, memory.covered))
        return memory.tokens + self.match_out(matched), told, fits

    def ask(self, task: str, told: Tensor, ids: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Question tokens [N, 1 + L, D] and which of them are padding [N, 1 + L]."""
        number = torch.full((len(ids), 1), TASKS.index(task), device=ids.device)
        question = torch.cat([self.task_embed(number) + told[:, None], self.word_embed(ids)], 1)
        padding = torch.cat([torch.zeros_like(attention[:, :1]), 1 - attention], 1).bool()
        return question + self.place_embed[: question.shape[1]], padding

    def answer(self, task: str, memory: Memory, ids: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, choices of the task] of phrases [N, L] about memories, and how well each token fits the
        phrase, [N, T].
        """
        tokens, told, fits = self.match(memory, ids, attention)
        question, padding = self.ask(task, told, ids, attention)
        for layer in self.layers:
            question = layer(question, tokens, padding)
        logits: Tensor = self.heads[task](question[:, 0])
        return logits.float(), fits


def empty_sheets(count: int) -> Tensor:
    """Mask sheets [N, 4, 108, 108] without masks."""
    return mask_sheet(torch.zeros(0, SERVED_SIDE, SERVED_SIDE)).repeat(count, 1, 1, 1)


def sheet_coverage(sheets: Tensor) -> Tensor:
    """Share of each token [N, T] under the masks of sheets [N, 4, S, S]."""
    return functional.avg_pool2d(sheets[:, 0], SHEET_PATCH).flatten(1)


def strongest_fits(fits: Tensor, covered: Tensor) -> Tensor:
    """Five figures [N, 5] of fits [N, T] in -2..2: the strongest, that of covered tokens, of tokens that are
    not covered, of those that do not touch a covered one either, and the mean of covered ones.
    """
    under = covered >= COVERED
    side = CROP_GRID if covered.shape[1] == 2 * CROP_GRID**2 else int(covered.shape[1] ** 0.5)
    grids = (covered > 0.05).float().reshape(len(covered), -1, side, side)
    beside = functional.max_pool2d(grids, 3, 1, 1).flatten(1) > 0
    lowest = torch.full_like(fits, -2)
    mean = (fits * under).sum(1) / under.sum(1).clamp(min=1)
    return torch.stack(
        [
            fits.amax(1),
            torch.where(under, fits, lowest).amax(1),
            torch.where(under, lowest, fits).amax(1),
            torch.where(beside, lowest, fits).amax(1),
            mean,
        ],
        1,
    )


def normalise(images: Tensor) -> Tensor:
    """Colours 0..255 to the tower's pixels."""
    return (images.float() - 127.5) / 63.75


def normalise_crops(crops: Tensor) -> Tensor:
    """Crops [..., 5, h, w] with their first three channels normalised."""
    return torch.cat([normalise(crops[..., :3, :, :]), crops[..., 3:, :, :]], -3)
