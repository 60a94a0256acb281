"""The bundled concept proposer as a served model."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint
from services.networks.errors import ModelError
from services.networks.images import decode_image, fit_longest_side, pad_square
from services.networks.precision import autocast, choose_attention, choose_device, choose_dtype
from services.networks.pretrained import load_directory, number_of, read_json
from services.networks.proposer.architecture import IMAGE_TOKENS, StemmedLlava, embed_image
from services.networks.proposer.decoding import Marks, Written, decode
from services.networks.proposer.language import MOST_WORDS, NEGATIVES, SEPARATOR, confused_with
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor, read_count, read_one
from services.networks.vlm.selection import serves_vlm

MOST_PHRASES = 20
MOST_NEGATIVES = 10
LIMIT = 100
MOST_WORDS_WRITTEN = 96


@dataclass(frozen=True)
class Look:
    """A parsed request: pixels uint8 [S, S, 3] of the padded image."""

    pixels: npt.NDArray[np.uint8]
    phrases: int
    negatives: int


class ServedProposer(BatchedModel[Look]):
    """Phrases with the mean probability of their words, best first as the network writes them; negatives
    likewise.
    """

    name = "concept_proposer"

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        version: str,
        device: torch.device,
        dtype: torch.dtype,
        threshold: float,
    ) -> None:
        self.version = version
        self._network = network.to(device)
        network.set_attn_implementation(choose_attention(device, dtype, IMAGE_TOKENS))
        self._tokenizer = tokenizer
        self._threshold = threshold
        self._device, self._dtype = device, dtype
        self._side = int(network.config.vision_config.image_size)
        number = tokenizer.convert_tokens_to_ids
        self._marks = Marks(
            tokenizer.bos_token_id, tokenizer.eos_token_id, number(SEPARATOR), number(NEGATIVES)
        )

    def parse(self, request: Request) -> Look:
        pixels = decode_image(read_one(request, "image"))
        return Look(
            fit_longest_side(pad_square(pixels), self._side),
            read_count(request, "max_phrases", MOST_PHRASES, LIMIT),
            read_count(request, "max_negatives", MOST_NEGATIVES, LIMIT),
        )

    def compute(self, batch: Sequence[Look]) -> list[Tensors | ModelError]:
        stacked = torch.from_numpy(np.stack([look.pixels for look in batch])).to(self._device)
        pixels = (stacked.permute(0, 3, 1, 2).float() - 127.5) / 63.75
        phrases, negatives = max(look.phrases for look in batch), max(look.negatives for look in batch)
        with autocast(self._device, self._dtype):
            images = embed_image(self._network, pixels)
            self.require_finite(images)
            written = decode(
                self._network,
                images,
                self._marks,
                phrases,
                negatives,
                min(4 * (phrases + negatives) + 2, MOST_WORDS_WRITTEN),
            )
        return [self.answered(self._answer, *told) for told in zip(batch, written, strict=True)]

    def warm_up(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (90, 120, 150)).save(buffer, "PNG")
        self.try_out(
            {
                "image": bytes_tensor([buffer.getvalue()]),
                "max_phrases": np.array([2], np.int32),
                "max_negatives": np.array([1], np.int32),
            }
        )

    def _texts(self, entries: list[tuple[tuple[int, ...], float]], most: int) -> dict[str, float]:
        """Well-formed phrases with their probability: known words only, each once, at most MOST_WORDS of
        them.
        """
        texts: dict[str, float] = {}
        odd = set(self._tokenizer.all_special_ids)
        for tokens, worth in entries:
            if len(tokens) <= MOST_WORDS and not odd & set(tokens) and len(set(tokens)) == len(tokens):
                texts.setdefault(
                    " ".join(self._tokenizer.convert_ids_to_tokens(list(tokens))), math.exp(worth)
                )
        return dict(list(texts.items())[:most])

    def _answer(self, look: Look, state: Written) -> Tensors:
        self.require_finite(torch.tensor([worth for _, worth in (*state.phrases, *state.negatives)]))
        said = self._texts(state.phrases, LIMIT)
        sure = [(text, worth) for text, worth in said.items() if worth >= self._threshold]
        phrases = dict(sure[: look.phrases])
        negatives = {
            text: worth for text, worth in self._texts(state.negatives, LIMIT).items() if text not in said
        }
        negatives = dict(list(negatives.items())[: look.negatives])
        return {
            "phrases": bytes_tensor(list(phrases)),
            "phrase_scores": np.array(list(phrases.values()), np.float32),
            "negatives": bytes_tensor(list(negatives)),
            "negative_scores": np.array(list(negatives.values()), np.float32),
            "confused_with": bytes_tensor([confused_with(text, list(phrases)) for text in negatives]),
        }


def load_served(settings: NetworkSettings) -> BatchedModel[Any]:
    """The proposer of the settings' directory: the bundled network or a public vision-language model."""
    folder = settings.weights("concept_proposer")
    if serves_vlm("concept_proposer", settings.concept_proposer, folder):
        from services.networks.vlm.proposer import load_vlm_proposer

        return load_vlm_proposer(folder, settings)
    network, tokenizer = load_directory(StemmedLlava, folder, "llava")
    device = choose_device(settings.device)
    extra = read_json(folder / "tercet.json")
    threshold = number_of(folder / "tercet.json", extra, "phrase_threshold", 0.0, least=0, most=1)
    return ServedProposer(
        network,
        tokenizer,
        f"{extra.get('name', 'llava')}-{fingerprint(folder)}",
        device,
        choose_dtype(settings.precision, device),
        threshold,
    )
