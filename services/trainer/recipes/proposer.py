"""Training and measuring the bundled LLaVA on scenes: full phrases from left to right, then a few near
misses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from services.networks.checkpoints import save_half
from services.networks.grounder.architecture import TINY_SIDE
from services.networks.precision import autocast
from services.networks.proposer.architecture import build_tiny, embed_image
from services.networks.proposer.decoding import Marks, decode
from services.networks.proposer.language import IMAGE, NEGATIVES, SEPARATOR, write
from services.scenes.ontology import ontology
from services.trainer.calibration import average_precision
from services.trainer.following import start_from_grounder
from services.trainer.optimisation import optimisers, rate_factor, set_rate
from services.trainer.phrase_bank import composition_numbers, phrase_bank, scene_tokenizer
from services.trainer.recipes.base import Metrics, Recipe, Surroundings
from services.trainer.recipes.grounder import crop, near_misses, resize
from services.trainer.scenes import Batch, TrainingScenes

FROZEN = 0.1
"""Share of a run in which the grounder's tower stays as it is. Longer is waste: word accuracy stood still at
.645 from a tenth of the first run on, until the tower moved.
"""
WRITTEN_NEGATIVES = 3
TOWER_SHARE = 0.3
"""The tower's learning rate as a share of the others'."""


@dataclass(frozen=True)
class Heard:
    """One scene: the full phrases that hold, those said with their probability, and the negatives said."""

    there: frozenset[str]
    said: dict[str, float]
    negatives: list[str]


class ProposerRecipe(Recipe):
    """The tower starts as the grounder's, frozen at first; next-word loss on phrases and negatives."""

    name = "concept_proposer"
    batch_size = 8

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.tokenizer = scene_tokenizer()
        number: Callable[[str], int] = self.tokenizer.get_vocab().__getitem__
        self.marks = Marks(
            self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, number(SEPARATOR), number(NEGATIVES)
        )
        llava: Any = build_tiny(
            len(self.tokenizer), self.tokenizer.pad_token_id, self.marks.bos, self.marks.eos, number(IMAGE)
        )
        self.llava = llava.to(around.device)
        tower, prefix = self.tower()
        start_from_grounder(tower, around.repository, prefix)
        self.bank = phrase_bank()
        self._tower_optimisers: list[torch.optim.Optimizer] = []

    def network(self) -> nn.Module:
        network: nn.Module = self.llava
        return network

    def served(self) -> nn.Module:
        served: nn.Module = self.llava
        return served

    @override
    def tower(self) -> tuple[nn.Module, str]:
        return self.llava.model.vision_tower, "owlv2.vision_model."

    def dearest(self) -> list[nn.Module]:
        return [self.llava.model.vision_tower, self.llava.model.language_model]

    def optimisers(self) -> list[torch.optim.Optimizer]:
        named = list(self.llava.named_parameters())
        tower = optimisers(
            [(n, p) for n, p in named if "vision_tower" in n], 2e-3 * TOWER_SHARE, 1.5e-3 * TOWER_SHARE
        )
        self._tower_optimisers = tower
        return optimisers([(n, p) for n, p in named if "vision_tower" not in n], 2e-3, 1.5e-3) + tower

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Metrics]:
        frozen = self.towers_frozen or progress < FROZEN
        for parameter in self.llava.model.vision_tower.parameters():
            parameter.requires_grad_(not frozen)
        if not frozen:
            set_rate(self._tower_optimisers, rate_factor(progress) * min(1.0, (progress - FROZEN) / 0.05))
        left, top = (int(self.around.rng.integers(0, 5)) for _ in range(2))
        pixels, _, boxes = crop(batch, left, top)
        texts = [
            self._text(rows, box) for rows, box in zip(composition_numbers(batch.objects), boxes, strict=True)
        ]
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt")
        ids = tokens["input_ids"].to(self.around.device)
        labels = torch.where(tokens["attention_mask"].bool(), tokens["input_ids"], -100)[:, 1:].to(
            self.around.device
        )
        with autocast(self.around.device, self.around.dtype):
            image = embed_image(self.llava, pixels.to(self.around.device))
            words = self.llava.get_input_embeddings()(ids[:, :-1]).to(image.dtype)
            hidden = self.llava.model.language_model(
                inputs_embeds=torch.cat([image, words], 1), use_cache=False
            ).last_hidden_state
            logits = self.llava.lm_head(hidden[:, image.shape[1] :]).float()
        # Which near misses are written is chance; their words weigh less than what is there to be seen.
        after_not = (labels == self.marks.negatives).cumsum(1) > 0
        weight = torch.where(labels < 0, 0.0, torch.where(after_not, 0.15, 1.0))
        each = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none"
        )
        loss = (each.view_as(weight) * weight).sum() / weight.sum()
        seen = weight == 1
        return loss, {"word accuracy": float((logits.argmax(-1) == labels)[seen].float().mean())}

    def _text(self, numbers: Tensor, boxes: Tensor) -> str:
        """Phrases by the x of their first instance's centre, then near misses by chance."""
        rows = numbers[numbers < len(self.bank.holds) - 1]
        order = (boxes[: len(rows), 0] + boxes[: len(rows), 2]).argsort()
        phrases = list(dict.fromkeys(full_phrase(int(rows[i])) for i in order))
        near = [
            self.bank.texts[i] for i in near_misses(rows, self.bank.holds).tolist() if self.bank.depth[i] == 3
        ]
        chosen = [near[i] for i in self.around.rng.permutation(len(near))[:WRITTEN_NEGATIVES]]
        return write(phrases, chosen)

    @torch.inference_mode()
    def listen(self, scenes: TrainingScenes, limit: int) -> list[Heard]:
        """What the network says of the first `limit` scenes, beside the truth."""
        self.llava.eval()
        heard = []
        for batch in scenes.in_order(25, limit):
            with autocast(self.around.device, self.around.dtype):
                image = embed_image(self.llava, resize(batch, TINY_SIDE).to(self.around.device))
                written = decode(self.llava, image, self.marks, 20, WRITTEN_NEGATIVES, 92)
            for rows, state in zip(composition_numbers(batch.objects), written, strict=True):
                there = frozenset(full_phrase(int(row)) for row in rows if row < 384)
                said = {self._spell(tokens): math.exp(worth) for tokens, worth in state.phrases}
                heard.append(Heard(there, said, [self._spell(tokens) for tokens, _ in state.negatives]))
        self.llava.train()
        return heard

    def threshold(self) -> float:
        """The probability from which on a phrase is worth saying: best F1 on the scenes for calibration."""
        if self.calibration_scenes is None:
            return 0.0
        heard = self.listen(self.calibration_scenes, 300)
        scored = [(worth, text in one.there) for one in heard for text, worth in one.said.items()]
        return average_precision(scored, sum(len(one.there) for one in heard))[2]

    def evaluate(self, scenes: TrainingScenes, limit: int) -> Metrics:
        """Precision and recall of full phrases, two words and kinds; how many negatives are truly absent."""
        counts = {name: [0, 0, 0] for name in ("full phrases", "two words", "kinds", "held-out triples")}
        negatives, absent, close = 0, 0, 0
        threshold = self.threshold()
        for one in self.listen(scenes, limit):
            said = {text for text, worth in one.said.items() if worth >= threshold}
            unseen = {phrase for phrase in one.there if tuple(phrase.split()) in ontology().held_out}
            for name, cut in (("full phrases", _whole), ("two words", _two), ("kinds", _kind)):
                first, second = {cut(p) for p in said}, {cut(p) for p in one.there}
                for place, number in enumerate((len(first & second), len(first), len(second))):
                    counts[name][place] += number
            counts["held-out triples"][0] += len(unseen & said)
            counts["held-out triples"][2] += len(unseen)
            negatives += len(one.negatives)
            absent += sum(text not in one.there for text in one.negatives)
            close += sum(
                any(len(set(text.split()) & set(phrase.split())) == 2 for phrase in one.there)
                for text in one.negatives
            )
        metrics: Metrics = {"phrase threshold": threshold}
        for name, (right, said_count, there_count) in counts.items():
            if name != "held-out triples":
                metrics[f"precision, {name}"] = right / max(said_count, 1)
            metrics[f"recall, {name}"] = right / max(there_count, 1)
        return metrics | {
            "negatives absent": absent / max(negatives, 1),
            "negatives close": close / max(negatives, 1),
        }

    def _spell(self, tokens: tuple[int, ...]) -> str:
        return " ".join(self.tokenizer.convert_ids_to_tokens(list(tokens)))

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.llava.config.save_pretrained(folder)
        save_half(self.served(), folder / self.weights)
        self.tokenizer.save_pretrained(folder)
        extra = {"name": "llava-tiny", "phrase_threshold": round(self.threshold(), 4)}
        (folder / "tercet.json").write_text(json.dumps(extra), "utf-8")


def full_phrase(number: int) -> str:
    """The three-word phrase of a composition's number."""
    return " ".join(ontology().compositions[number])


def _whole(phrase: str) -> str:
    return phrase


def _two(phrase: str) -> str:
    words = phrase.split()
    return f"{words[0]} {words[-1]}" if words else phrase


def _kind(phrase: str) -> str:
    return phrase.split()[-1] if phrase else phrase
