"""The verifier as a served model."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from services.core import masks as rle
from services.core.kept import Kept
from services.networks.batching import BatchedModel
from services.networks.checkpoints import fingerprint, load_into
from services.networks.errors import ModelError
from services.networks.grounder.architecture import SERVED_SIDE, TINY_PATCH
from services.networks.images import fit_longest_side, pad_square
from services.networks.precision import autocast, choose_attention, choose_device, choose_dtype
from services.networks.pretrained import load_tokenizer, padded_tokens, read_json, require_directory
from services.networks.settings import NetworkSettings
from services.networks.tensors import Request, Tensors, bytes_tensor
from services.networks.verifier.architecture import (
    CHOICES,
    QUESTION_LENGTH,
    TASKS,
    Memory,
    Verifier,
    empty_sheets,
    normalise,
    normalise_crops,
)
from services.networks.verifier.cases import Case, read_case
from services.networks.verifier.score import read_tables
from services.networks.verifier.shortcut import answer, laid
from services.networks.verifier.temperatures import read_temperatures
from services.networks.verifier.views import mask_crops, mask_sheet
from services.networks.vlm.selection import serves_vlm

AT_ONCE = 64
IMAGES_KEPT = 64
"""Encoded images kept, least recently used first out: an image is asked about up to three times."""


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
        network.owl.set_attn_implementation(choose_attention(device, dtype, (SERVED_SIDE // TINY_PATCH) ** 2))
        self._tokenizer = tokenizer
        self._temperatures = temperatures
        self._device, self._dtype = device, dtype
        self._kept: Kept[str, tuple[Memory, Tensor]] = Kept(IMAGES_KEPT)

    def parse(self, request: Request) -> Case:
        return read_case(request)

    def compute(self, batch: Sequence[Case]) -> list[Tensors | ModelError]:
        answers: list[Tensors | ModelError] = []
        whole = self._encode_wholes([case for case in batch if case.task != "mv" and case.phrases])
        words = self._words([phrase for case in batch for phrase in case.phrases])
        start = 0
        for case in batch:
            mine = slice(start, start + len(case.phrases))
            start = mine.stop
            asked = words[0][mine], words[1][mine]
            with autocast(self._device, self._dtype):
                logits = (
                    self._judge_masks(case, *asked)
                    if case.task == "mv"
                    else self._judge_phrases(case, whole.get(case.digest), *asked)
                )
            answers.append(self.answered(self._answer, case, logits))
        return answers

    def _answer(self, case: Case, logits: Tensor) -> Tensors:
        self.require_finite(logits)
        chances = torch.softmax(logits / self._temperatures[case.task], -1)
        return {"probabilities": chances.cpu().numpy().astype(np.float32)}

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
        if not phrases:
            none = torch.zeros(0, QUESTION_LENGTH, dtype=torch.long, device=self._device)
            return none, none
        tokens = padded_tokens(self._tokenizer, phrases, QUESTION_LENGTH)
        return tokens["input_ids"].to(self._device), tokens["attention_mask"].to(self._device)

    def _encode_wholes(self, cases: Sequence[Case]) -> Mapping[str, tuple[Memory, Tensor]]:
        """The encoded images of the cases by digest, each with its tokens under an empty sheet; those
        unknown are computed in one batch and kept.
        """
        known = {case.digest: self._kept.get(case.digest) for case in cases}
        found = {digest: image for digest, image in known.items() if image is not None}
        unknown = {case.digest: case.pixels for case in cases if case.digest not in found}
        if unknown:
            squares = np.stack([fit_longest_side(pad_square(p), SERVED_SIDE) for p in unknown.values()])
            pixels = normalise(torch.from_numpy(squares).to(self._device).permute(0, 3, 1, 2))
            with autocast(self._device, self._dtype):
                encoded = self._network.encode_images(pixels)
                bare = self._network.lay_masks(encoded, empty_sheets(1).to(self._device)).tokens
            rows = [slice(row, row + 1) for row in range(len(unknown))]
            for digest, row in zip(unknown, rows, strict=True):
                found[digest] = encoded.take(row), bare[row]
                self._kept.put(digest, found[digest])
        return found

    def _judge_masks(self, case: Case, ids: Tensor, attention: Tensor) -> Tensor:
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
        memories = Memory.join(
            [
                self._network.encode_crops(crops[start : start + AT_ONCE].to(self._device))
                for start in range(0, len(crops), AT_ONCE)
            ]
        )
        place = torch.tensor([rows[key] for key in case.keys], device=self._device)
        asked = torch.from_numpy(case.owner).to(self._device)
        logits = []
        for start in range(0, len(asked), AT_ONCE):
            at, of = place[start : start + AT_ONCE], asked[start : start + AT_ONCE]
            logits.append(answer(self._network, "mv", memories.take(at), ids[of], attention[of]))
        return torch.cat(logits)

    def _judge_phrases(
        self, case: Case, image: tuple[Memory, Tensor] | None, ids: Tensor, attention: Tensor
    ) -> Tensor:
        """Logits [P, 6 or 2] of whole-image questions."""
        if image is None:
            return torch.zeros(0, len(CHOICES[case.task]))
        sheets = empty_sheets(len(case.phrases))
        small = [self._shrink(mask) for mask in case.masks]
        for phrase in set(case.owner.tolist()):
            mine = [mask for mask, owner in zip(small, case.owner, strict=True) if owner == phrase]
            sheets[phrase] = mask_sheet(torch.stack(mine))
        logits = []
        for start in range(0, len(ids), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            memory = laid(self._network, *image, sheets[some].to(self._device))
            logits.append(answer(self._network, case.task, memory, ids[some], attention[some]))
        return torch.cat(logits)

    def _shrink(self, mask: npt.NDArray[np.bool_]) -> Tensor:
        """A mask as float [S, S] in the padded square."""
        side = max(mask.shape)
        square = torch.zeros(1, 1, side, side)
        square[0, 0, : mask.shape[0], : mask.shape[1]] = torch.from_numpy(mask)
        return functional.interpolate(square, (SERVED_SIDE, SERVED_SIDE), mode="bilinear", antialias=True)[
            0, 0
        ]


def load_verifier(folder: Path) -> tuple[Verifier, Any, dict[str, float]]:
    """The network, its tokenizer and its temperatures. Raises `ModelError` naming what is at fault."""
    tokenizer = load_tokenizer(folder)
    network = Verifier(len(tokenizer), tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    load_into(network, folder / "weights.safetensors")
    extra = folder / "tercet.json"
    return network.eval(), tokenizer, read_temperatures(extra, read_json(extra))


def load_served(settings: NetworkSettings) -> BatchedModel[Case]:
    """The verifier of the settings' directory: the bundled network or a public vision-language model.

    Its answers tell the calibration of the score that was measured with these weights, where there is one.
    """
    folder = settings.weights("verifier")
    require_directory(folder)
    tables = read_tables(folder)
    model = _load(folder, settings)
    if tables is not None:
        model.told = tables.tensors()
    return model


def _load(folder: Path, settings: NetworkSettings) -> BatchedModel[Case]:
    if serves_vlm("verifier", settings.verifier, folder):
        from services.networks.vlm.verifier import load_vlm_verifier

        return load_vlm_verifier(folder, settings)
    network, tokenizer, temperatures = load_verifier(folder)
    device = choose_device(settings.device)
    return ServedVerifier(
        network,
        tokenizer,
        temperatures,
        f"verifier-tiny-{fingerprint(folder)}",
        device,
        choose_dtype(settings.precision, device),
    )
