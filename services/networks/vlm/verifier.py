"""A public vision-language model as verifier: every answer is a softmax over the letters of the choices,
which the prompt lists in the contract's order.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from services.core import masks as rle
from services.networks.batching import BatchedModel
from services.networks.errors import ModelError, NotFinite
from services.networks.precision import choose_device, choose_dtype
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor
from services.networks.verifier.architecture import CHOICES, TASKS
from services.networks.verifier.cases import Case, read_case
from services.networks.vlm.choices import choice_tokens
from services.networks.vlm.directory import load_directory
from services.networks.vlm.prompting import Prompt, read_prompt
from services.networks.vlm.speaking import Question, Speaker
from services.networks.vlm.views import draw_masks, far_crop, near_crop, side_by_side

ONE_PICTURE = frozenset({"llava", "llava_next", "vipllava", "mllama", "paligemma"})
"""Architectures trained on one picture a prompt: the two crops of a mask are shown side by side in one.
`crops` in tercet.json, "apart" or "together", says otherwise."""


class VlmVerifier(BatchedModel[Case]):
    """MV shows two crops of a mask, EV the image with the phrase's masks drawn, NV the image."""

    name = "verifier"

    def __init__(
        self, speaker: Speaker, prompts: dict[str, Prompt], batch: int, longest: int, apart: bool
    ) -> None:
        self.version = speaker.version
        self._speaker = speaker
        self._letters = choice_tokens(speaker)
        self._prompts = prompts
        self._batch, self._longest, self._apart = batch, longest, apart

    def parse(self, request: Request) -> Case:
        case = read_case(request, self._longest)
        for phrase in case.phrases:
            self._speaker.refuse_reserved(phrase)
        return case

    def compute(self, batch: Sequence[Case]) -> list[Tensors | ModelError]:
        asked = [(number, make) for number, case in enumerate(batch) for make in self._questions(case)]
        told = self._speaker.ask([make for _, make in asked], self._batch, self._judge)
        rows: list[list[Tensor | ModelError]] = [[] for _ in batch]
        for (number, _), row in zip(asked, told, strict=True):
            rows[number].append(row)
        return [self._answer(case, found) for case, found in zip(batch, rows, strict=True)]

    def warm_up(self) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (90, 120, 150)).save(buffer, "PNG")
        mask = np.zeros((48, 64), np.bool_)
        mask[10:30, 10:30] = True
        request = {
            "image": bytes_tensor([buffer.getvalue()]),
            "phrases": bytes_tensor(["bus"]),
            "rles": bytes_tensor([rle.encode(mask)]),
            "phrase_index": np.zeros(1, np.int32),
        }
        for answer in self.execute([{**request, "task": bytes_tensor([task])} for task in TASKS]):
            if isinstance(answer, ModelError):
                raise answer

    def _questions(self, case: Case) -> Iterator[Callable[[], Question]]:
        """One question a mask (MV) or a phrase (EV, NV); its pictures are made when its turn comes."""
        if case.task == "mv":
            for mask, owner in zip(case.masks, case.owner, strict=True):
                yield functools.partial(self._about_mask, case, mask, case.phrases[owner])
        else:
            for number in range(len(case.phrases)):
                yield functools.partial(self._about_phrase, case, number)

    def _about_mask(
        self, case: Case, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], phrase: str
    ) -> Question:
        far, near = far_crop(case.pixels, mask), near_crop(case.pixels, mask)
        if self._apart:
            text = self._prompts["mv"].fill(phrase=phrase, far="The first image", near="The second image")
            return Question((far, near), text)
        text = self._prompts["mv"].fill(phrase=phrase, far="The left half", near="The right half")
        return Question((side_by_side(far, near),), text)

    def _about_phrase(self, case: Case, number: int) -> Question:
        shown = case.pixels
        if case.task == "ev":
            mine = [mask for mask, owner in zip(case.masks, case.owner, strict=True) if owner == number]
            shown = draw_masks(shown, mine)
        return Question((shown,), self._prompts[case.task].fill(phrase=case.phrases[number]))

    def _judge(self, questions: Sequence[Question]) -> list[Tensor | ModelError]:
        """Logits fp32 [6] of the letters for each question."""
        return list(self._speaker.next_logits(questions)[:, self._letters].cpu())

    def _answer(self, case: Case, rows: Sequence[Tensor | ModelError]) -> Tensors | ModelError:
        choices = len(CHOICES[case.task])
        logits = []
        for row in rows:
            if isinstance(row, ModelError):
                return row
            logits.append(row[:choices])
        stacked = torch.stack(logits) if logits else torch.zeros(0, choices)
        if not bool(stacked.isfinite().all()):
            return NotFinite(self.version)
        temperature = self._speaker.directory.temperatures[case.task]
        return {"probabilities": torch.softmax(stacked / temperature, -1).numpy().astype(np.float32)}


def load_vlm_verifier(folder: Path, settings: NetworkSettings) -> VlmVerifier:
    """The verifier of a public directory. Raises `ModelError` naming what is missing or unfit."""
    prompts = {task: read_prompt(task, settings.vlm_prompts) for task in TASKS}
    device = choose_device(settings.device)
    directory = load_directory(folder, device, choose_dtype(settings.precision, device))
    model_type = directory.network.config.model_type
    apart = model_type not in ONE_PICTURE if directory.apart is None else directory.apart
    return VlmVerifier(
        Speaker(directory, device), prompts, settings.vlm_batch, settings.vlm_longest_side, apart
    )
