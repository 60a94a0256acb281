"""GroundingDINO (Liu et al., 2023) as a concept grounder, from a directory as transformers saves it.

The network reads all phrases as one text, `yellow bus. red cup.`, and answers a logit for each of its 900
boxes and each token. The score of a box for a phrase is the mean of sigmoid(logit) over the phrase's own
tokens, as in the authors' evaluation on COCO: a box that is a bus and not yellow gets about half. A phrase's
presence comes from its best box (`Extra.presence`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GroundingDinoForObjectDetection

from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint
from services.networks.errors import ModelError
from services.networks.geometry import centre_to_corners, suppress
from services.networks.grounder.loading import Extra
from services.networks.grounder.questions import answer_boxes, blank_question, clip_corners, read_phrases
from services.networks.images import Pixels, decode_image
from services.networks.pretrained import load_image_processor, load_network, load_tokenizer
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, read_one

THRESHOLD = 0.25
DELIMITERS = re.compile(r"[.?]")
"""The network splits its text at these; within a phrase they are read as spaces."""
DELIMITER_TOKENS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
"""Those of bert-base-uncased, by which transformers' network finds the phrases in the text."""


@dataclass(frozen=True)
class Text:
    """Some phrases as one text: token ids, and the slice of each phrase in them."""

    ids: list[int]
    spans: list[slice]


@dataclass(frozen=True)
class Question:
    """A parsed request: upright pixels uint8 [H, W, 3] and the phrases' tokens."""

    pixels: Pixels
    phrases: list[list[int]]
    threshold: float


def write_texts(phrases: Sequence[Sequence[int]], longest: int) -> list[Text]:
    """As few texts of at most `longest` tokens as hold the phrases in their order; a phrase that alone is
    longer is cut.
    """
    texts: list[Text] = []
    ids: list[int] = []
    spans: list[slice] = []
    for tokens in phrases:
        cut = list(islice(tokens, longest - 3))
        if ids and len(ids) + len(cut) + 2 > longest:
            texts.append(Text([*ids, DELIMITER_TOKENS["[SEP]"]], spans))
            ids, spans = [], []
        ids = ids or [DELIMITER_TOKENS["[CLS]"]]
        spans.append(slice(len(ids), len(ids) + len(cut)))
        ids += [*cut, DELIMITER_TOKENS["."]]
    if ids:
        texts.append(Text([*ids, DELIMITER_TOKENS["[SEP]"]], spans))
    return texts


class ServedGroundingDino(BatchedModel[Question]):
    """Each image is worked alone: with others of another shape it would be padded, and answer differently.
    More phrases than fit in one text (about 60) take further passes, image encoder included. fp32, for the
    sampling of its deformable attention does not bear less.
    """

    name = "concept_grounder"

    def __init__(
        self, network: Any, tokenizer: Any, processor: Any, extra: Extra, version: str, device: torch.device
    ) -> None:
        self.version = version
        self._network = network.to(device)
        self._tokenizer, self._processor, self._extra, self._device = tokenizer, processor, extra, device
        config = network.config
        self._longest = min(int(config.max_text_len), int(config.text_config.max_position_embeddings))

    def parse(self, request: Request) -> Question:
        pixels = decode_image(read_one(request, "image"))
        phrases, threshold = read_phrases(request, self._extra.threshold)
        wrapped = [self._extra.prompt.format(phrase=phrase).lower() for phrase in phrases]
        clean = [DELIMITERS.sub(" ", text) for text in wrapped]
        # A `[SEP]` within a phrase is text too: as a token it would end the phrase.
        read = self._tokenizer(clean, add_special_tokens=False, split_special_tokens=True) if clean else {}
        tokens = read.get("input_ids", [])
        for phrase, ids in zip(phrases, tokens, strict=True):
            if not ids:
                raise ModelError(f"the phrase {phrase!r} has no words")
        return Question(pixels, tokens, threshold)

    def compute(self, batch: Sequence[Question]) -> list[Tensors | ModelError]:
        return [self.answered(self._answer, question) for question in batch]

    def warm_up(self) -> None:
        self.try_out(blank_question())

    def _answer(self, question: Question) -> Tensors:
        height, width = question.pixels.shape[:2]
        presence: list[float] = []
        index: list[int] = []
        scores: list[float] = []
        found: list[Tensor] = []
        image = self._processor(
            images=np.array(question.pixels), input_data_format="channels_last", return_tensors="pt"
        ).to(self._device)
        for text in write_texts(question.phrases, self._longest):
            chances, corners = self._detect(image, text)
            boxes, solid = clip_corners(corners, width, height, (height, width))
            presences = self._extra.presence_of(torch.logit(chances.T, 1e-6), solid)
            for chance, there in zip(chances, presences.tolist(), strict=True):
                presence.append(there)
                worth = ((chance >= max(question.threshold, 1e-6)) & solid).nonzero()[:, 0]
                kept = worth[suppress(boxes[worth], chance[worth], self._extra.nms)]
                index += [len(presence) - 1] * len(kept)
                scores += chance[kept].tolist()
                found.append(boxes[kept])
        return answer_boxes(height, width, presence, index, scores, found)

    def _detect(self, image: Any, text: Text) -> tuple[Tensor, Tensor]:
        """Scores [P, Q] of the text's phrases and corner boxes [Q, 4] in shares of the image."""
        ids = torch.tensor([text.ids], device=self._device)
        answer = self._network(
            pixel_values=image["pixel_values"],
            pixel_mask=image["pixel_mask"],
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            token_type_ids=torch.zeros_like(ids),
        )
        logits = answer.logits[0, :, : len(text.ids)].float()
        boxes = answer.pred_boxes[0].float()
        self.require_finite(logits, boxes)
        chances = torch.sigmoid(logits)
        return torch.stack([chances[:, span].mean(1) for span in text.spans]), centre_to_corners(boxes)


def load_grounding_dino(folder: Path, settings: NetworkSettings, device: torch.device) -> ServedGroundingDino:
    """The GroundingDINO of a directory. Raises `ModelError` naming what is missing or does not fit."""
    processor, tokenizer = load_image_processor(folder), load_tokenizer(folder)
    strange = [
        token
        for token, number in DELIMITER_TOKENS.items()
        if tokenizer.convert_tokens_to_ids(token) != number
    ]
    if strange:
        raise ModelError(
            f"the tokenizer of {folder} does not number {' '.join(strange)} as bert-base-uncased does, by "
            "whose numbers GroundingDINO finds the phrases; use the tokenizer of its training",
            invalid=False,
        )
    extra = Extra.read(
        folder, name="grounding-dino", threshold=THRESHOLD, nms=0.5, chosen=settings.grounder_threshold
    )
    network = load_network(GroundingDinoForObjectDetection, folder, "grounding-dino")
    version = f"{extra.name}-{fingerprint(folder)}"
    return ServedGroundingDino(network, tokenizer, processor, extra, version, device)
