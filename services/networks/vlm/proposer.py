"""A public vision-language model as concept proposer: it writes phrases and hard negatives in one pass."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.networks.batching import BatchedModel
from services.networks.errors import ModelError
from services.networks.images import decode_image, fit_longest_side
from services.networks.precision import choose_device, choose_dtype
from services.networks.proposer.language import confused_with
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor, read_count, read_one
from services.networks.vlm.answers import read_answer
from services.networks.vlm.directory import load_directory
from services.networks.vlm.lenient import Unreadable
from services.networks.vlm.prompting import Prompt, read_prompt
from services.networks.vlm.speaking import Question, Speaker, Written

MOST_PHRASES = 20
MOST_NEGATIVES = 10
LIMIT = 100
QUOTED = 160
"""Characters of an output that an error shows."""


@dataclass(frozen=True)
class Look:
    """A parsed request: pixels uint8 [H, W, 3] and how many phrases and negatives are wanted."""

    pixels: npt.NDArray[np.uint8]
    phrases: int
    negatives: int


class VlmProposer(BatchedModel[Look]):
    """Phrases and negatives as the model orders them; a score is the geometric mean of the probabilities of
    the tokens that wrote the phrase. An output that is not what the prompt asks for fails its request.
    """

    name = "concept_proposer"

    def __init__(
        self, speaker: Speaker, prompt: Prompt, batch: int, longest: int, tokens: int, temperature: float
    ) -> None:
        self.version = speaker.version
        self._speaker = speaker
        self._prompt = prompt
        self._batch, self._longest, self._tokens, self._temperature = batch, longest, tokens, temperature

    def parse(self, request: Request) -> Look:
        pixels = decode_image(read_one(request, "image"))
        if max(pixels.shape[:2]) > self._longest:
            pixels = fit_longest_side(pixels, self._longest)
        return Look(
            pixels,
            read_count(request, "max_phrases", MOST_PHRASES, LIMIT),
            read_count(request, "max_negatives", MOST_NEGATIVES, LIMIT),
        )

    def compute(self, batch: Sequence[Look]) -> list[Tensors | ModelError]:
        told = self._write(batch, self._tokens)
        return [
            text if isinstance(text, ModelError) else self._answer(look, text)
            for look, text in zip(batch, told, strict=True)
        ]

    def warm_up(self) -> None:
        """Write a few tokens about a plain image; raises `ModelError` where the network cannot."""
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (90, 120, 150)).save(buffer, "PNG")
        look = self.parse({"image": bytes_tensor([buffer.getvalue()])})
        for text in self._write([look], 4):
            if isinstance(text, ModelError):
                raise text

    def _write(self, looks: Sequence[Look], tokens: int) -> list[Written | ModelError]:
        return self._speaker.ask(
            [functools.partial(self._question, look) for look in looks],
            self._batch,
            lambda questions: self._speaker.write(questions, tokens, self._temperature),
        )

    def _question(self, look: Look) -> Question:
        text = self._prompt.fill(max_phrases=look.phrases, max_negatives=look.negatives)
        return Question((look.pixels,), text)

    def _answer(self, look: Look, written: Written) -> Tensors | ModelError:
        try:
            reading = read_answer(written.text)
        except Unreadable as fault:
            return self._failure(written, str(fault))
        phrases, negatives = reading.phrases[: look.phrases], reading.negatives[: look.negatives]
        there = [entry.phrase for entry in phrases]
        confused = [
            entry.confused_with if entry.confused_with in there else confused_with(entry.phrase, there)
            for entry in negatives
        ]
        return {
            "phrases": bytes_tensor(there),
            "phrase_scores": np.array([written.score(e.start, e.end) for e in phrases], np.float32),
            "negatives": bytes_tensor([entry.phrase for entry in negatives]),
            "negative_scores": np.array([written.score(e.start, e.end) for e in negatives], np.float32),
            "confused_with": bytes_tensor(confused),
        }

    def _failure(self, written: Written, reason: str) -> ModelError:
        """A fault of the request: decoding is deterministic, so that asking again would not help."""
        shown = written.text if len(written.text) <= QUOTED else written.text[:QUOTED] + "..."
        fix = (
            "choose an instruction-tuned model, or adapt propose.md in a folder named by "
            "TERCET_NETWORKS_VLM_PROMPTS"
            if written.ended
            else f"it was cut off at {self._tokens} tokens: raise TERCET_NETWORKS_VLM_TOKENS, or choose an "
            "instruction-tuned model"
        )
        return ModelError(
            f"{self.version} did not write the JSON that its prompt asks for: {reason}. It began {shown!r}; "
            f"{fix}"
        )


def load_vlm_proposer(folder: Path, settings: NetworkSettings) -> VlmProposer:
    """The proposer of a public directory. Raises `ModelError` naming what is missing or unfit."""
    prompt = read_prompt("propose", settings.vlm_prompts)
    device = choose_device(settings.device)
    directory = load_directory(folder, device, choose_dtype(settings.precision, device))
    return VlmProposer(
        Speaker(directory, device),
        prompt,
        settings.vlm_batch,
        settings.vlm_longest_side,
        settings.vlm_tokens,
        settings.vlm_temperature,
    )
