"""Training and measuring the bundled verifier on cases with known answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from services.core.evaluation.calibration import ece, gaps
from services.networks.checkpoints import save_half
from services.networks.grounder.architecture import SERVED_SIDE
from services.networks.precision import autocast
from services.networks.verifier.architecture import (
    CHOICES,
    QUESTION_LENGTH,
    Verifier,
    empty_sheets,
    normalise,
    normalise_crops,
)
from services.networks.verifier.views import mask_crops, mask_sheet
from services.scenes.ontology import ontology
from services.trainer.cases import MERGED, CaseMaker, MaskCase, SetCase
from services.trainer.following import start_from_grounder
from services.trainer.optimisation import optimisers
from services.trainer.phrase_bank import composition_numbers, scene_tokenizer
from services.trainer.recipes.base import Metrics, Recipe, Surroundings
from services.trainer.recipes.grounder import assign, labels_of
from services.trainer.scenes import Batch, TrainingScenes

CASES = (4, 5, 8)
"""Cases of mv, ev and nv a scene."""

FROZEN_CASES = (2, 16, 8)
FROZEN_MERGED = 0.2
"""With frozen towers a question about a whole image costs little, and what is merged is rare and hard to
learn: more of both.
"""

FIXED = 0.25
"""Share of a run in which whole images teach the tower nothing, which saves a quarter of the time."""

Drawn = dict[str, list[tuple[int, MaskCase | SetCase]]]


class VerifierRecipe(Recipe):
    """Cross-entropy over the choices of each task, and for presence over which tokens fit the phrase.

    Towers and class head start as the grounder's.
    """

    name = "verifier"
    weights = "weights.safetensors"
    batch_size = 8

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.tokenizer = scene_tokenizer()
        marks = self.tokenizer.pad_token_id, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        self.verifier = Verifier(len(self.tokenizer), *marks).to(around.device)
        tower, prefix = self.tower()
        start_from_grounder(tower, around.repository, prefix)
        self._learning_wholes = True

    def network(self) -> nn.Module:
        return self.verifier

    def served(self) -> nn.Module:
        return self.verifier

    @override
    def tower(self) -> tuple[nn.Module, str]:
        return self.verifier.owl, ""

    def dearest(self) -> list[nn.Module]:
        return [self.verifier.owl.owlv2.vision_model]

    @override
    def freeze_towers(self) -> None:
        """The crops' mask stems are part of their tower."""
        super().freeze_towers()
        for module in (self.verifier.owl, self.verifier.crop_mask_stem):
            module.requires_grad_(False)
        self.verifier.crop_position_embed.requires_grad_(False)

    def optimisers(self) -> list[torch.optim.Optimizer]:
        named = list(self.verifier.named_parameters())
        tower = optimisers([(n, p) for n, p in named if n.startswith("owl")], 6e-4, 5e-4)
        return optimisers([(n, p) for n, p in named if not n.startswith("owl")], 2e-3, 1e-3) + tower

    @override
    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Metrics]:
        self._learning_wholes = progress >= FIXED and not self.towers_frozen
        counts, merged = (FROZEN_CASES, FROZEN_MERGED) if self.towers_frozen else (CASES, MERGED)
        drawn = draw_cases(batch, self.around.rng, counts, held_out=False, merged=merged)
        total = torch.zeros((), device=self.around.device)
        metrics: Metrics = {}
        answers, fits = self._answers(batch, drawn)
        for task, (logits, right) in answers.items():
            total = total + functional.cross_entropy(logits, right, label_smoothing=0.02)
            metrics[f"{task} accuracy"] = float((logits.argmax(-1) == right).float().mean())
        if fits is not None:
            wanted = self._fitting_tokens(batch, drawn["nv"])
            each = functional.binary_cross_entropy_with_logits(fits, wanted.float(), reduction="none")
            # Tokens that fit are few: each side has a mean of its own.
            there, not_there = each[wanted], each[~wanted]
            total = total + (there.mean() if len(there) else 0.0) + not_there.mean()
            metrics["token recall"] = float((fits[wanted] > 0).float().mean()) if len(there) else 0.0
            metrics["token refusal"] = float((fits[~wanted] <= 0).float().mean())
        return total, metrics

    def _fitting_tokens(self, batch: Batch, cases: list[tuple[int, MaskCase | SetCase]]) -> Tensor:
        """Which tokens [N, 729] of the whole image belong to an object that the case's phrase fits."""
        small = functional.interpolate(
            batch.ids[:, None].float(), (SERVED_SIDE, SERVED_SIDE), mode="nearest"
        )[:, 0]
        owner, _ = assign(small.long(), batch.objects[..., 3:7].float() / batch.ids.shape[-1], batch.present)
        label = labels_of(owner, composition_numbers(batch.objects))
        triples = ontology().compositions
        fitting = torch.zeros(len(cases), len(triples) + 1, dtype=torch.bool)
        for row, (_, case) in zip(fitting, cases, strict=True):
            words = set(case.phrase.split())
            row[[number for number, triple in enumerate(triples) if words <= set(triple)]] = True
        image = torch.tensor([number for number, _ in cases])
        return fitting.gather(1, label[image]).to(self.around.device)

    def _words(self, cases: list[tuple[int, MaskCase | SetCase]]) -> tuple[Tensor, Tensor]:
        tokens = self.tokenizer(
            [case.phrase for _, case in cases],
            padding="max_length",
            max_length=QUESTION_LENGTH,
            truncation=True,
            return_tensors="pt",
        )
        return tokens["input_ids"].to(self.around.device), tokens["attention_mask"].to(self.around.device)

    def _answers(self, batch: Batch, drawn: Drawn) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor | None]:
        """Logits and right answers of each task's cases, and how well each token fits the phrases of nv's."""
        device = self.around.device
        found = {}
        fits = None
        whole = functional.interpolate(
            batch.images.float(), (SERVED_SIDE, SERVED_SIDE), mode="bilinear", antialias=True
        )
        with autocast(device, self.around.dtype):
            with torch.set_grad_enabled(self._learning_wholes and torch.is_grad_enabled()):
                wholes = self.verifier.encode_images(normalise(whole).to(device))
            for task, cases in drawn.items():
                if not cases:
                    continue
                ids, attention = self._words(cases)
                image = torch.tensor([number for number, _ in cases])
                if task == "mv":
                    crops = torch.stack(
                        [
                            mask_crops(batch.images[number], case.mask)
                            for number, case in cases
                            if isinstance(case, MaskCase)
                        ]
                    )
                    with torch.set_grad_enabled(not self.towers_frozen and torch.is_grad_enabled()):
                        memory = self.verifier.encode_crops(normalise_crops(crops).to(device))
                else:
                    sheets = torch.stack(
                        [_sheet(case.masks) for _, case in cases if isinstance(case, SetCase)]
                    )
                    memory = self.verifier.lay_masks(wholes.take(image.to(device)), sheets.to(device))
                logits, fitting = self.verifier.answer(task, memory, ids, attention)
                fits = fitting if task == "nv" else fits
                right = torch.tensor([CHOICES[task].index(case.answer) for _, case in cases], device=device)
                found[task] = (logits, right)
        return found, fits

    @torch.inference_mode()
    def collect(self, scenes: TrainingScenes, limit: int) -> dict[str, tuple[Tensor, Tensor, list[str]]]:
        """Logits, right answers and kinds of case of each task, on held-out scenes with a fixed seed."""
        self.verifier.eval()
        rng = np.random.default_rng(1)
        logits: dict[str, list[Tensor]] = {task: [] for task in CHOICES}
        right: dict[str, list[Tensor]] = {task: [] for task in CHOICES}
        kinds: dict[str, list[str]] = {task: [] for task in CHOICES}
        for batch in scenes.in_order(self.batch_size, limit):
            drawn = draw_cases(batch, rng, CASES, held_out=True)
            for task, (found, answers) in self._answers(batch, drawn)[0].items():
                logits[task].append(found.cpu())
                right[task].append(answers.cpu())
                kinds[task] += [case.kind for _, case in drawn[task]]
        self.verifier.train()
        return {
            task: (torch.cat(logits[task]), torch.cat(right[task]), kinds[task])
            for task in CHOICES
            if logits[task]
        }

    def evaluate(self, scenes: TrainingScenes, limit: int) -> Metrics:
        """Accuracy of each task, the same averaged over the answers that occur, of each kind of case, and
        calibration.
        """
        metrics: Metrics = {}
        for task, (logits, right, kinds) in self.collect(scenes, limit).items():
            hit = (logits.argmax(-1) == right).float()
            metrics[f"{task} accuracy"] = float(hit.mean())
            metrics[f"{task} accuracy, answers alike"] = float(
                np.mean([float(hit[right == answer].mean()) for answer in sorted(set(right.tolist()))])
            )
            metrics[f"{task} calibration error"] = calibration_error(logits, right)
            for kind in sorted(set(kinds)):
                metrics[f"{task}, {kind}"] = float(hit[torch.tensor([k == kind for k in kinds])].mean())
        return metrics

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_half(self.served(), folder / self.weights)
        self.tokenizer.save_pretrained(folder)
        temperatures = {}
        if self.calibration_scenes is not None:
            temperatures = {
                task: round(best_temperature(logits, right), 3)
                for task, (logits, right, _) in self.collect(self.calibration_scenes, 300).items()
            }
        (folder / "tercet.json").write_text(json.dumps({"temperatures": temperatures}), "utf-8")


def draw_cases(
    batch: Batch,
    rng: np.random.Generator,
    counts: tuple[int, int, int],
    *,
    held_out: bool,
    merged: float = MERGED,
) -> Drawn:
    """Cases of every scene of a batch by task, `counts` of mv, ev and nv, with the number of their scene."""
    drawn: Drawn = {task: [] for task in CHOICES}
    for number in range(len(batch.ids)):
        objects = batch.objects[number][batch.present[number]]
        rows = ((objects[:, 0] * 4 + objects[:, 1]) * 12 + objects[:, 2]).tolist()
        maker = CaseMaker(batch.ids[number], rows, rng, held_out=held_out, merged=merged)
        wanted: tuple[tuple[str, int, Callable[[], MaskCase | SetCase | None]], ...] = (
            ("mv", counts[0], maker.mask_case),
            ("ev", counts[1], maker.set_case),
            ("nv", counts[2], maker.presence_case),
        )
        for task, count, make in wanted:
            made = [make() for _ in range(count)]
            drawn[task] += [(number, case) for case in made if case is not None]
    return drawn


def _sheet(masks: Tensor) -> Tensor:
    if not len(masks):
        return empty_sheets(1)[0]
    small = functional.interpolate(
        masks[:, None].float(), (SERVED_SIDE, SERVED_SIDE), mode="bilinear", antialias=True
    )[:, 0]
    return mask_sheet(small)


def calibration_error(logits: Tensor, right: Tensor) -> float:
    """Expected calibration error of the chosen answers."""
    confidence, chosen = torch.softmax(logits.double(), -1).max(-1)
    hit, row = (chosen == right).numpy(), np.zeros(len(right), np.int64)
    return float(ece(gaps(confidence.numpy(), hit, row, 1), np.array([float(len(right))]))[0])


def best_temperature(logits: Tensor, right: Tensor) -> float:
    """The temperature with the least cross-entropy, of 0.5 to 3."""
    choices = np.geomspace(0.5, 3.0, 40)
    losses = [float(functional.cross_entropy(logits / float(t), right)) for t in choices]
    return float(choices[int(np.argmin(losses))])
