"""The concept grounder as a served model: phrases to presence, boxes and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from services.core.kept import Kept
from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint
from services.networks.errors import ModelError
from services.networks.geometry import suppress
from services.networks.grounder.architecture import box_corners, embed_phrases, phrase_logits, token_features
from services.networks.grounder.loading import Grounder, load_grounder
from services.networks.grounder.questions import answer_boxes, blank_question, clip_corners, read_phrases
from services.networks.images import content_hash, decode_image
from services.networks.precision import autocast, choose_attention, choose_device, choose_dtype
from services.networks.pretrained import architecture_of, padded_tokens
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, read_one

PHRASES_KEPT = 4096
SAM3 = ("sam3", "sam3_video")


@dataclass(frozen=True)
class Look:
    """What the network sees of an image: detection features [T, D] and corner boxes [T, 4] in shares."""

    features: Tensor
    corners: Tensor
    height: int
    width: int


@dataclass(frozen=True)
class Question:
    """A parsed request. `look` of an image that was seen lately; else normalised pixels [3, S, S] of the
    padded image at the network's size, and the image's own size.
    """

    key: str
    look: Look | None
    pixels: Tensor | None
    height: int
    width: int
    phrases: list[str]
    threshold: float


class ServedGrounder(BatchedModel[Question]):
    """Images are encoded together. What it saw of the last ones is kept, for the proposer asks about an image
    and the segmenter asks again; so are phrase embeddings: a phrase seen before costs nothing.
    """

    name = "concept_grounder"

    def __init__(
        self, grounder: Grounder, version: str, device: torch.device, dtype: torch.dtype, images_kept: int
    ) -> None:
        self.version = version
        self._grounder, self._extra = grounder, grounder.extra
        self._network = grounder.network.to(device)
        self._device, self._dtype = device, dtype
        vision = self._network.config.vision_config
        tokens = (vision.image_size // vision.patch_size) ** 2
        self._network.set_attn_implementation(choose_attention(device, dtype, tokens))
        self._queries: Kept[str, Tensor] = Kept(PHRASES_KEPT)
        self._looks: Kept[str, Look] = Kept(images_kept)

    def parse(self, request: Request) -> Question:
        encoded = read_one(request, "image")
        phrases, threshold = read_phrases(request, self._extra.threshold)
        key = content_hash(encoded)
        look = self._looks.get(key)
        if look is not None:
            return Question(key, look, None, look.height, look.width, phrases, threshold)
        pixels = decode_image(encoded)
        height, width = pixels.shape[:2]
        return Question(key, None, self._grounder.prepare(pixels), height, width, phrases, threshold)

    def compute(self, batch: Sequence[Question]) -> list[Tensors | ModelError]:
        looks = {question.key: question.look for question in batch if question.look is not None}
        unseen = {question.key: question for question in batch if question.pixels is not None}
        if unseen:
            pixels = torch.stack([q.pixels for q in unseen.values() if q.pixels is not None])
            with autocast(self._device, self._dtype):
                features, _ = token_features(self._network, pixels.to(self._device))
                corners = box_corners(self._network, features)
            for question, tokens, boxes in zip(unseen.values(), features, corners, strict=True):
                # Copies: a part of a batch would keep all of it in memory.
                look = Look(tokens.clone(), boxes.clone(), question.height, question.width)
                looks[question.key] = look
                self._looks.put(question.key, look)
        return [self.answered(self._answer, question, looks[question.key]) for question in batch]

    def warm_up(self) -> None:
        self.try_out(blank_question())

    def _embed(self, phrases: Sequence[str]) -> Tensor:
        """Query embeddings [P, E] of phrases; new ones are computed together and kept."""
        looked_up = {phrase: self._queries.get(phrase) for phrase in phrases}
        kept = {phrase: query for phrase, query in looked_up.items() if query is not None}
        fresh = sorted(looked_up.keys() - kept.keys())
        if fresh:
            length = self._network.config.text_config.max_position_embeddings
            texts = [self._extra.prompt.format(phrase=phrase) for phrase in fresh]
            tokens = padded_tokens(self._grounder.tokenizer, texts, length)
            with autocast(self._device, self._dtype):
                queries = embed_phrases(
                    self._network,
                    tokens["input_ids"].to(self._device),
                    tokens["attention_mask"].to(self._device),
                )
            for phrase, query in zip(fresh, queries, strict=True):
                kept[phrase] = query
                self._queries.put(phrase, query)
        return torch.stack([kept[phrase] for phrase in phrases])

    def _answer(self, question: Question, look: Look) -> Tensors:
        tokens, boxes = look.features, look.corners
        self.require_finite(tokens, boxes)
        side = max(question.height, question.width)
        pixel_boxes, solid = clip_corners(boxes, side, side, (question.height, question.width))
        presence, index, scores, found = [], [], [], []
        if question.phrases:
            with autocast(self._device, self._dtype):
                logits = phrase_logits(self._network, tokens[None], self._embed(question.phrases))[0]
            self.require_finite(logits)
            presence = self._extra.presence_of(logits, solid).tolist()
            chances = torch.sigmoid(logits) * solid[:, None]
            enough = chances >= max(question.threshold, 1e-6)
            for number in enough.any(0).nonzero()[:, 0].tolist():
                worth = enough[:, number].nonzero()[:, 0]
                kept = worth[suppress(pixel_boxes[worth], chances[worth, number], self._extra.nms)]
                index += [number] * len(kept)
                scores += chances[kept, number].tolist()
                found.append(pixel_boxes[kept])
        return answer_boxes(question.height, question.width, presence, index, scores, found)


def load_served(settings: NetworkSettings) -> BatchedModel[Any]:
    """The grounder of the settings' directory: OWLv2, GroundingDINO, or SAM 3, which answers masks too.

    Its `config.json` tells which it is.
    """
    folder = settings.weights("concept_grounder")
    found = architecture_of(folder)
    device = choose_device(settings.device)
    if found in SAM3:
        # Imported here, as those below: a process holds the libraries of the network that it serves.
        from services.networks.sam3.served import load_sam3

        return load_sam3(folder, settings, device)
    if found == "grounding-dino":
        from services.networks.grounder.grounding_dino import load_grounding_dino

        return load_grounding_dino(folder, settings, device)
    if found != "owlv2":
        raise ModelError(
            f"{folder} holds a {found!r} model; a concept grounder is owlv2, grounding-dino or sam3",
            invalid=False,
        )
    grounder = load_grounder(folder, settings.grounder_threshold)
    version = f"{grounder.extra.name}-{fingerprint(folder)}"
    dtype = choose_dtype(settings.precision, device)
    return ServedGrounder(grounder, version, device, dtype, settings.embeddings_kept)
