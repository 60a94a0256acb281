"""SAM 3 as a served model: the concept grounder's contract, with a mask beside each box.

The image encoder, by far the dearest part, runs once an image; its features are kept for the next calls about
the same image. A phrase's text is encoded once. Only the detector and the mask decoder run for each phrase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from services.core.kept import Kept
from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint
from services.networks.errors import ModelError
from services.networks.grounder.questions import blank_question, read_phrases
from services.networks.images import Pixels, content_hash, decode_image
from services.networks.precision import autocast, choose_dtype
from services.networks.pretrained import padded_tokens
from services.networks.sam3.loading import TEXT_LENGTH, Sam3, load_directory
from services.networks.sam3.masks import record
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor, read_one

PHRASES_KEPT = 4096


@dataclass(frozen=True)
class Question:
    """A parsed request: upright pixels uint8 [H, W, 3], named by the hash of the image's bytes."""

    key: str
    pixels: Pixels
    phrases: list[str]
    threshold: float


@dataclass(frozen=True)
class Features:
    """What the image encoder makes of one image: maps [1, C, h, w] and their positions, finest first."""

    maps: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]

    def repeated(self, times: int) -> Any:
        """The same for several phrases, as transformers takes it; without copying."""
        return Sam3VisionEncoderOutput(
            fpn_hidden_states=tuple(one.expand(times, -1, -1, -1) for one in self.maps),
            fpn_position_encoding=tuple(one.expand(times, -1, -1, -1) for one in self.positions),
        )


@dataclass(frozen=True)
class Words:
    """A phrase's features [L, C] and which of the L tokens are its own."""

    features: Tensor
    own: Tensor


class ServedSam3(BatchedModel[Question]):
    """Scores are transformers': sigmoid(query) x sigmoid(presence). Boxes are those of the masks' pixels;
    empty masks are left out. Phrases are worked `at_once`, each with its own set of queries.
    """

    name = "concept_grounder"

    def __init__(
        self,
        sam3: Sam3,
        version: str,
        device: torch.device,
        dtype: torch.dtype,
        *,
        at_once: int,
        images_kept: int,
    ) -> None:
        self.version = version
        self._sam3 = sam3
        self._network = sam3.network.to(device)
        self._device, self._dtype = device, dtype
        self._at_once = at_once
        self._seen: Kept[str, Features] = Kept(images_kept)
        self._words: Kept[str, Words] = Kept(PHRASES_KEPT)

    def parse(self, request: Request) -> Question:
        encoded = read_one(request, "image")
        pixels = decode_image(encoded)
        phrases, threshold = read_phrases(request, self._sam3.extra.threshold)
        return Question(content_hash(encoded), pixels, phrases, threshold)

    def compute(self, batch: Sequence[Question]) -> list[Tensors | ModelError]:
        features = self._look(batch)
        words = self._read({phrase for question in batch for phrase in question.phrases})
        return [self.answered(self._answer, question, features[question.key], words) for question in batch]

    def warm_up(self) -> None:
        self.try_out(blank_question())

    def _look(self, batch: Sequence[Question]) -> dict[str, Features]:
        """Features by image; the images that are not known are encoded together."""
        wanted = {question.key: question for question in batch if question.phrases}
        known = {key: self._seen.get(key) for key in wanted}
        found = {key: features for key, features in known.items() if features is not None}
        fresh = [key for key in wanted if key not in found]
        for start in range(0, len(fresh), self._at_once):
            some = fresh[start : start + self._at_once]
            pixels = torch.stack([self._sam3.prepare(wanted[key].pixels) for key in some])
            with autocast(self._device, self._dtype):
                seen = self._network.get_vision_features(pixel_values=pixels.to(self._device))
            for row, key in enumerate(some):
                # Copies: a part of a batch would keep all of it in memory.
                found[key] = Features(
                    tuple(one[row : row + 1].clone() for one in seen.fpn_hidden_states),
                    tuple(one[row : row + 1].clone() for one in seen.fpn_position_encoding),
                )
                self._seen.put(key, found[key])
        empty = Features((), ())
        return {question.key: found.get(question.key, empty) for question in batch}

    def _read(self, phrases: set[str]) -> dict[str, Words]:
        """The phrases' features; those not known are computed together and kept."""
        known = {phrase: self._words.get(phrase) for phrase in phrases}
        found = {phrase: words for phrase, words in known.items() if words is not None}
        fresh = sorted(phrases - found.keys())
        for start in range(0, len(fresh), 4 * self._at_once):
            some = fresh[start : start + 4 * self._at_once]
            texts = [self._sam3.extra.prompt.format(phrase=phrase) for phrase in some]
            tokens = padded_tokens(self._sam3.tokenizer, texts, TEXT_LENGTH).to(self._device)
            with autocast(self._device, self._dtype):
                read = self._network.get_text_features(
                    input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
                ).pooler_output
            for row, phrase in enumerate(some):
                found[phrase] = Words(read[row], tokens["attention_mask"][row])
                self._words.put(phrase, found[phrase])
        return found

    def _answer(self, question: Question, features: Features, known: dict[str, Words]) -> Tensors:
        height, width = question.pixels.shape[:2]
        presence, scores = np.zeros(len(question.phrases), np.float32), [np.zeros(0, np.float32)]
        index, logits = [np.zeros(0, np.int32)], []
        for start in range(0, len(question.phrases), self._at_once):
            words = [known[phrase] for phrase in question.phrases[start : start + self._at_once]]
            with autocast(self._device, self._dtype):
                answer = self._network(
                    vision_embeds=features.repeated(len(words)),
                    text_embeds=BaseModelOutputWithPooling(
                        pooler_output=torch.stack([one.features for one in words])
                    ),
                    attention_mask=torch.stack([one.own for one in words]),
                )
            there = answer.presence_logits.float()
            chances = answer.pred_logits.float().sigmoid() * there.sigmoid()
            self.require_finite(chances, answer.pred_masks)
            presence[start : start + len(words)] = there.sigmoid()[:, 0].cpu().numpy()
            rows, queries = (chances >= max(question.threshold, 1e-6)).nonzero(as_tuple=True)
            order = torch.argsort(rows.double() - chances[rows, queries].double() / 2, stable=True)
            rows, queries = rows[order], queries[order]
            index.append((rows + start).cpu().numpy().astype(np.int32))
            scores.append(chances[rows, queries].cpu().numpy())
            logits.append(answer.pred_masks[rows, queries])
        records = record(torch.cat(logits) if logits else torch.zeros(0, 1, 1), height, width)
        solid = np.array(records.areas, np.int64) > 0
        return {
            "presence": presence,
            "phrase_index": np.concatenate(index)[solid],
            "scores": np.concatenate(scores).astype(np.float32)[solid],
            "boxes": np.array(records.boxes, np.float32).reshape(-1, 4)[solid],
            "rles": bytes_tensor(records.rles)[solid],
            "areas": np.array(records.areas, np.int64)[solid],
            "predicted_iou": np.array(records.predicted_iou, np.float32)[solid],
            "stability": np.array(records.stability, np.float32)[solid],
            "size": np.array([height, width], np.int32),
        }


def load_sam3(folder: Path, settings: NetworkSettings, device: torch.device) -> ServedSam3:
    """The SAM 3 of a directory. Raises `ModelError` naming what is missing or does not fit."""
    sam3 = load_directory(folder, settings.grounder_threshold)
    return ServedSam3(
        sam3,
        f"{sam3.extra.name}-{fingerprint(folder)}",
        device,
        choose_dtype(settings.precision, device),
        at_once=settings.sam3_phrases,
        images_kept=settings.sam3_images_kept,
    )
