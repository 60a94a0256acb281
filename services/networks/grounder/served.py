"""The concept grounder as a served model: phrases to presence, boxes and scores."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint
from services.networks.errors import ModelError
from services.networks.geometry import suppress
from services.networks.grounder.architecture import box_corners, embed_phrases, phrase_logits, token_features
from services.networks.grounder.loading import Grounder, load_grounder
from services.networks.images import decode_image, fit_longest_side, pad_square
from services.networks.precision import autocast, choose_device, choose_dtype
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor, read_number, read_one, read_text

MOST_PHRASES = 1024
PHRASES_KEPT = 4096


@dataclass(frozen=True)
class Question:
    """A parsed request: pixels uint8 [S, S, 3] of the padded image at the network's size, and the image's own
    size.
    """

    pixels: npt.NDArray[np.uint8]
    height: int
    width: int
    phrases: list[str]
    threshold: float


class ServedGrounder(BatchedModel[Question]):
    """Images are encoded together; phrase embeddings are kept, so that a phrase seen before costs nothing."""

    name = "concept_grounder"

    def __init__(
        self,
        grounder: Grounder,
        version: str,
        device: torch.device,
        dtype: torch.dtype,
        threshold: float | None,
    ) -> None:
        self.version = version
        self._grounder = grounder
        self._network = grounder.network.to(device)
        self._device, self._dtype = device, dtype
        self._threshold = grounder.threshold if threshold is None else threshold
        self._mean = torch.tensor(grounder.mean, device=device)[:, None, None]
        self._std = torch.tensor(grounder.std, device=device)[:, None, None]
        self._queries: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def parse(self, request: Request) -> Question:
        pixels = decode_image(read_one(request, "image"))
        phrases = read_text(request, "phrases")
        if len(phrases) > MOST_PHRASES:
            raise ModelError(f"at most {MOST_PHRASES} phrases are taken at once, not {len(phrases)}")
        if any(not phrase.strip() for phrase in phrases):
            raise ModelError("a phrase is empty")
        threshold = read_number(request, "threshold", self._threshold)
        if not 0 <= threshold <= 1:
            raise ModelError(f"threshold must be 0 to 1, not {threshold:g}")
        height, width = pixels.shape[:2]
        square = fit_longest_side(pad_square(pixels), self._grounder.side)
        return Question(square, height, width, phrases, threshold)

    def compute(self, batch: Sequence[Question]) -> list[Tensors | ModelError]:
        stacked = torch.from_numpy(np.stack([question.pixels for question in batch])).to(self._device)
        pixels = (stacked.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
        with autocast(self._device, self._dtype):
            features, _ = token_features(self._network, pixels)
            corners = box_corners(self._network, features)
        answers: list[Tensors | ModelError] = []
        for question, tokens, boxes in zip(batch, features, corners, strict=True):
            if not bool(tokens.isfinite().all()):
                answers.append(
                    ModelError(f"{self.version} gave NaN or infinity; its weights are unfit", invalid=False)
                )
                continue
            answers.append(self._answer(question, tokens, boxes))
        return answers

    def warm_up(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (90, 120, 150)).save(buffer, "PNG")
        self.execute([{"image": bytes_tensor([buffer.getvalue()]), "phrases": bytes_tensor(["bus"])}])

    def _embed(self, phrases: Sequence[str]) -> Tensor:
        """Query embeddings [P, E] of phrases; new ones are computed together and kept."""
        with self._lock:
            kept = {phrase: self._queries[phrase] for phrase in phrases if phrase in self._queries}
        fresh = sorted(set(phrases) - kept.keys())
        if fresh:
            length = self._network.config.text_config.max_position_embeddings
            tokens = self._grounder.tokenizer(
                [self._grounder.prompt.format(phrase=phrase) for phrase in fresh],
                padding="max_length",
                max_length=length,
                truncation=True,
                return_tensors="pt",
            )
            with autocast(self._device, self._dtype):
                queries = embed_phrases(
                    self._network,
                    tokens["input_ids"].to(self._device),
                    tokens["attention_mask"].to(self._device),
                )
            kept |= dict(zip(fresh, queries, strict=True))
            with self._lock:
                self._queries.update({phrase: kept[phrase] for phrase in fresh})
                while len(self._queries) > PHRASES_KEPT:
                    self._queries.popitem(last=False)
        return torch.stack([kept[phrase] for phrase in phrases])

    def _answer(self, question: Question, tokens: Tensor, boxes: Tensor) -> Tensors:
        side = max(question.height, question.width)
        limit = torch.tensor([question.width, question.height] * 2, device=self._device)
        pixel_boxes = torch.minimum((boxes * side).clamp(min=0), limit)
        solid = ((pixel_boxes[:, 2:] - pixel_boxes[:, :2]) >= 1).all(1)
        presence, index, scores, found = [], [], [], []
        if question.phrases:
            with autocast(self._device, self._dtype):
                logits = phrase_logits(self._network, tokens[None], self._embed(question.phrases))[0]
            scale, shift = self._grounder.presence
            presence = torch.sigmoid(scale * logits.amax(0) + shift).tolist()
            chances = torch.sigmoid(logits) * solid[:, None]
            for number in range(len(question.phrases)):
                worth = (chances[:, number] >= max(question.threshold, 1e-6)).nonzero()[:, 0]
                kept = worth[suppress(pixel_boxes[worth], chances[worth, number], self._grounder.nms)]
                index += [number] * len(kept)
                scores += chances[kept, number].tolist()
                found.append(pixel_boxes[kept])
        corners = torch.cat(found).cpu().numpy() if found else np.zeros((0, 4))
        xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        return {
            "presence": np.array(presence, np.float32),
            "phrase_index": np.array(index, np.int32),
            "scores": np.array(scores, np.float32),
            "boxes": xywh.astype(np.float32),
            "size": np.array([question.height, question.width], np.int32),
        }


def load_served(settings: NetworkSettings) -> ServedGrounder:
    """The grounder of the settings' directory."""
    folder = settings.weights("concept_grounder")
    grounder = load_grounder(folder)
    device = choose_device(settings.device)
    return ServedGrounder(
        grounder,
        f"{grounder.name}-{fingerprint(folder)}",
        device,
        choose_dtype(settings.precision, device),
        settings.grounder_threshold,
    )
