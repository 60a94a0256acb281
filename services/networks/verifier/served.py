"""The verifier as a served model."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer

from services.core import masks as rle
from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint, load_into
from services.networks.errors import ModelError
from services.networks.grounder.architecture import TINY_SIDE
from services.networks.images import fit_longest_side, pad_square
from services.networks.precision import autocast, choose_device, choose_dtype
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor
from services.networks.verifier.architecture import (
    CHOICES,
    QUESTION_LENGTH,
    TASKS,
    Verifier,
    normalise,
    normalise_crops,
)
from services.networks.verifier.cases import Case, read_case
from services.networks.verifier.views import mask_crops, mask_sheet
from services.networks.vlm.selection import serves_vlm

AT_ONCE = 64


class ServedVerifier(BatchedModel[Case]):
    """MV answers a mask, EV and NV a phrase; every answer is a calibrated softmax over the task's choices."""

    name = "verifier"

    def __init__(
        self,
        network: Verifier,
        tokenizer: Any,
        temperatures: dict[str, float],
        version: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.version = version
        self._network = network.to(device)
        self._tokenizer = tokenizer
        self._temperatures = temperatures
        self._device, self._dtype = device, dtype

    def parse(self, request: Request) -> Case:
        return read_case(request)

    def compute(self, batch: Sequence[Case]) -> list[Tensors | ModelError]:
        answers: list[Tensors | ModelError] = []
        whole = self._encode_wholes([case for case in batch if case.task != "mv" and case.phrases])
        for case in batch:
            logits = (
                self._judge_masks(case)
                if case.task == "mv"
                else self._judge_phrases(case, whole.get(id(case)))
            )
            if not bool(logits.isfinite().all()):
                answers.append(
                    ModelError(f"{self.version} gave NaN or infinity; its weights are unfit", invalid=False)
                )
                continue
            chances = torch.softmax(logits / self._temperatures.get(case.task, 1.0), -1)
            answers.append({"probabilities": chances.cpu().numpy().astype(np.float32)})
        return answers

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
        for task in TASKS:
            self.try_out({**request, "task": bytes_tensor([task])})

    def _words(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = self._tokenizer(
            list(phrases),
            padding="max_length",
            max_length=QUESTION_LENGTH,
            truncation=True,
            return_tensors="pt",
        )
        return tokens["input_ids"].to(self._device), tokens["attention_mask"].to(self._device)

    def _encode_wholes(self, cases: Sequence[Case]) -> dict[int, Tensor]:
        if not cases:
            return {}
        squares = np.stack([fit_longest_side(pad_square(case.pixels), TINY_SIDE) for case in cases])
        pixels = normalise(torch.from_numpy(squares).to(self._device).permute(0, 3, 1, 2))
        with autocast(self._device, self._dtype):
            tokens = self._network.encode_images(pixels)
        return {id(case): row for case, row in zip(cases, tokens, strict=True)}

    def _judge_masks(self, case: Case) -> Tensor:
        """Logits [M, 5]; a mask that several phrases share is looked at once."""
        if not case.masks:
            return torch.zeros(0, len(CHOICES["mv"]))
        image = torch.from_numpy(np.array(case.pixels)).permute(2, 0, 1)
        first = {key: number for number, key in reversed(list(enumerate(case.keys)))}
        rows = {key: row for row, key in enumerate(first)}
        crops = normalise_crops(
            torch.stack(
                [mask_crops(image, torch.from_numpy(case.masks[number])) for number in first.values()]
            )
        )
        ids, attention = self._words([case.phrases[number] for number in case.owner])
        with autocast(self._device, self._dtype):
            memories = torch.cat(
                [
                    self._network.encode_crops(crops[start : start + AT_ONCE].to(self._device))
                    for start in range(0, len(crops), AT_ONCE)
                ]
            )
            memory = memories[[rows[key] for key in case.keys]]
            return torch.cat(
                [
                    self._network.answer(
                        "mv", memory[s : s + AT_ONCE], ids[s : s + AT_ONCE], attention[s : s + AT_ONCE]
                    )
                    for s in range(0, len(ids), AT_ONCE)
                ]
            )

    def _judge_phrases(self, case: Case, tokens: Tensor | None) -> Tensor:
        """Logits [P, 6 or 2] of whole-image questions."""
        if tokens is None:
            return torch.zeros(0, len(CHOICES[case.task]))
        small = [self._shrink(mask) for mask in case.masks]
        sheets = []
        for phrase in range(len(case.phrases)):
            mine = [mask for mask, owner in zip(small, case.owner, strict=True) if owner == phrase]
            sheets.append(mask_sheet(torch.stack(mine) if mine else torch.zeros(0, TINY_SIDE, TINY_SIDE)))
        ids, attention = self._words(case.phrases)
        logits = []
        for start in range(0, len(ids), AT_ONCE):
            some = torch.stack(sheets[start : start + AT_ONCE]).to(self._device)
            with autocast(self._device, self._dtype):
                memory = self._network.lay_masks(tokens[None].expand(len(some), -1, -1), some)
                logits.append(
                    self._network.answer(
                        case.task, memory, ids[start : start + AT_ONCE], attention[start : start + AT_ONCE]
                    )
                )
        return torch.cat(logits)

    def _shrink(self, mask: npt.NDArray[np.bool_]) -> Tensor:
        """A mask as float [S, S] in the padded square."""
        side = max(mask.shape)
        square = torch.zeros(1, 1, side, side)
        square[0, 0, : mask.shape[0], : mask.shape[1]] = torch.from_numpy(mask)
        return functional.interpolate(square, (TINY_SIDE, TINY_SIDE), mode="bilinear", antialias=True)[0, 0]


def load_verifier(folder: Path) -> tuple[Verifier, Any, dict[str, Any]]:
    """The network, its tokenizer and `tercet.json`. Raises `ModelError` naming what is missing."""
    if not (folder / "tokenizer.json").exists():
        raise ModelError(f"{folder} has no tokenizer.json; copy the whole directory", invalid=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = Verifier(len(tokenizer))
    load_into(network, folder / "weights.safetensors")
    extra = folder / "tercet.json"
    return network.eval(), tokenizer, dict(json.loads(extra.read_text("utf-8"))) if extra.exists() else {}


def load_served(settings: NetworkSettings) -> BatchedModel[Case]:
    """The verifier of the settings' directory: the bundled network or a public vision-language model."""
    folder = settings.weights("verifier")
    if serves_vlm("verifier", settings.verifier, folder):
        from services.networks.vlm.verifier import load_vlm_verifier

        return load_vlm_verifier(folder, settings)
    network, tokenizer, extra = load_verifier(folder)
    device = choose_device(settings.device)
    return ServedVerifier(
        network,
        tokenizer,
        extra.get("temperatures", {}),
        f"verifier-tiny-{fingerprint(folder)}",
        device,
        choose_dtype(settings.precision, device),
    )
