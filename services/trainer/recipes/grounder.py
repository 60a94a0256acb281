"""Training and measuring the bundled OWLv2 on scenes: dense assignment, focal loss on the phrase bank,
boxes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from services.networks.checkpoints import save_half
from services.networks.geometry import paired_iou, suppress
from services.networks.grounder.architecture import (
    SERVED_SIDE,
    TINY_PATCH,
    TINY_SIDE,
    TINY_WIDTH,
    box_corners,
    build_tiny,
    embed_phrases,
    phrase_logits,
    token_features,
)
from services.networks.precision import autocast
from services.trainer.calibration import average_precision, balanced_threshold, logistic_fit
from services.trainer.optimisation import optimisers
from services.trainer.phrase_bank import composition_numbers, phrase_bank, scene_tokenizer
from services.trainer.recipes.base import Metrics, Recipe, Surroundings
from services.trainer.scenes import MOST_OBJECTS, Batch, TrainingScenes

PHRASES_A_STEP = 80
CENTRE = 0.22
"""Tokens within this share of an object's sides from its centre are positive."""
OWNED = 0.25
"""A token belongs to the object that covers most of it, from this share of its pixels on."""
NMS = 0.5


class GrounderRecipe(Recipe):
    """Tokens near an object's centre answer for it. Heads for kind, colour and pattern help the tower learn;
    they are dropped afterwards.
    """

    name = "concept_grounder"
    batch_size = 8
    clip = 5.0

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        tokenizer = scene_tokenizer()
        self.owl = build_tiny(
            len(tokenizer), tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id
        )
        self.attributes = nn.ModuleDict(
            {
                "kind": nn.Linear(TINY_WIDTH, 13),
                "colour": nn.Linear(TINY_WIDTH, 8),
                "pattern": nn.Linear(TINY_WIDTH, 4),
            }
        )
        self.both = nn.ModuleDict({"owl": self.owl, "attribute_heads": self.attributes}).to(around.device)
        self.bank = phrase_bank()

    def network(self) -> nn.Module:
        return self.both

    def served(self) -> nn.Module:
        return self.owl

    def dearest(self) -> list[nn.Module]:
        return [self.owl.owlv2.vision_model]

    def optimisers(self) -> list[torch.optim.Optimizer]:
        return optimisers(self.both.named_parameters(), 2e-3, 1.5e-3)

    @override
    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Metrics]:
        device = self.around.device
        left, top = (int(self.around.rng.integers(0, 256 - TINY_SIDE + 1)) for _ in range(2))
        pixels, ids, boxes = crop(batch, left, top)
        owner, centre = assign(ids, boxes, batch.present)
        numbers = composition_numbers(batch.objects)
        own_label, label = labels_of(owner, numbers), labels_of(centre, numbers)
        chosen = self._choose_phrases(label)
        with autocast(device, self.around.dtype):
            features, hidden = token_features(self.owl, pixels.to(device))
            queries = embed_phrases(
                self.owl, self.bank.ids[chosen].to(device), self.bank.attention[chosen].to(device)
            )
            logits = phrase_logits(self.owl, features, queries)
            attributes = {name: head(hidden[:, 1:]).float() for name, head in self.attributes.items()}
            objectness = self.owl.objectness_predictor(features).float()
            of, at = (owner > 0).nonzero(as_tuple=True)
            predicted = box_corners(self.owl, features[of, at], self.owl.box_bias[at])
        target = self.bank.holds[label][..., chosen].to(device)
        ignored = self.bank.holds[own_label][..., chosen].to(device) & ~target
        entropy = functional.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
        right = torch.sigmoid(torch.where(target, logits, -logits))
        weight = torch.where(target, 0.6, 0.4) * ~ignored
        positives = (centre > 0).sum().clamp(min=1)
        phrase_loss = (weight * (1 - right) ** 2 * entropy).sum() / positives / 3

        truth = boxes[of, owner[of, at] - 1].to(device)
        central = (centre[of, at] > 0).to(device)
        share = torch.where(central, 1.0, 0.25)
        share = share / share.sum()
        _, giou = paired_iou(predicted, truth)
        box_loss = ((5 * (predicted - truth).abs().mean(-1) + 1.5 * (1 - giou)) * share).sum()

        inside = owner > 0
        number = own_label[inside].to(device)
        kinds = attributes["kind"]
        outside = kinds[(~inside).to(device)]
        named = {name: value[inside.to(device)] for name, value in attributes.items()}
        # Objects and ground each have a mean of their own: ground has most tokens and would drown the kinds.
        attribute_loss = (
            functional.cross_entropy(named["kind"], number % 12 + 1)
            + 0.5 * functional.cross_entropy(outside, outside.new_zeros(len(outside), dtype=torch.long))
            + functional.cross_entropy(named["colour"], number // 48)
            + functional.cross_entropy(named["pattern"], number // 12 % 4)
        )
        object_loss = functional.binary_cross_entropy_with_logits(objectness, (centre > 0).float().to(device))
        total = 2 * phrase_loss + box_loss + attribute_loss + object_loss
        accuracy = {
            f"{name} accuracy": float((value.argmax(-1) == wanted).float().mean())
            for name, value, wanted in (
                ("kind", named["kind"], number % 12 + 1),
                ("colour", named["colour"], number // 48),
                ("pattern", named["pattern"], number // 12 % 4),
            )
        }
        return total, {
            "phrase loss": float(phrase_loss.detach()),
            "box loss": float(box_loss.detach()),
            "central GIoU": float(giou.detach()[central].mean()),
            **accuracy,
        }

    def _choose_phrases(self, labels: Tensor) -> Tensor:
        """Short phrases, those that hold for the batch's compositions, and some at random."""
        present = self.bank.holds[labels.flatten()].any(0).nonzero()[:, 0]
        chance = torch.from_numpy(self.around.rng.permutation(len(self.bank.texts))[:PHRASES_A_STEP])
        chance = chance[self.bank.trained[chance]]
        wanted = torch.zeros(len(self.bank.texts), dtype=torch.bool)
        wanted[torch.cat([self.bank.always, present, chance])] = True
        return wanted.nonzero()[:, 0]

    @torch.inference_mode()
    def sweep(self, scenes: TrainingScenes, limit: int) -> list[tuple[Tensor, Tensor, Batch]]:
        """(logits [B, T, P], corner boxes [B, T, 4] in shares) of every batch for the whole bank, on the
        CPU.
        """
        self.both.eval()
        answers = []
        for batch in scenes.in_order(25, limit):
            pixels = resize(batch, SERVED_SIDE)
            with autocast(self.around.device, self.around.dtype):
                features, _ = token_features(self.owl, pixels.to(self.around.device))
                queries = embed_phrases(
                    self.owl, self.bank.ids.to(self.around.device), self.bank.attention.to(self.around.device)
                )
                logits = phrase_logits(self.owl, features, queries)
                boxes = box_corners(self.owl, features)
            answers.append((logits.cpu(), boxes.cpu(), batch))
        self.both.train()
        return answers

    def evaluate(self, scenes: TrainingScenes, limit: int) -> Metrics:
        """Box AP50 by depth of phrase, presence accuracy and refusal of hard negatives, recall on held-out
        triples.
        """
        metrics, _ = self._measure(scenes, limit)
        return metrics

    def _measure(self, scenes: TrainingScenes, limit: int) -> tuple[Metrics, dict[str, float]]:
        found: dict[int, list[tuple[float, bool]]] = {1: [], 2: [], 3: []}
        wanted = {1: 0, 2: 0, 3: 0}
        present: list[float] = []
        absent: list[float] = []
        unseen: list[tuple[float, bool]] = []
        unseen_wanted = 0
        overlaps: list[float] = []
        for logits, boxes, batch in self.sweep(scenes, limit):
            numbers = composition_numbers(batch.objects)
            strongest = logits.amax(1)
            for b in range(len(boxes)):
                rows = numbers[b][batch.present[b]]
                truth = batch.objects[b, : len(rows), 3:7].float() / 256
                holding = self.bank.holds[rows]
                for phrase in holding.any(0).nonzero()[:, 0].tolist():
                    depth = int(self.bank.depth[phrase])
                    members = holding[:, phrase].nonzero()[:, 0]
                    hits, matched = match(logits[b, :, phrase], boxes[b], truth[members])
                    found[depth] += hits
                    overlaps += matched
                    wanted[depth] += len(members)
                    present.append(float(strongest[b, phrase]))
                    if not self.bank.trained[phrase]:
                        unseen += hits
                        unseen_wanted += len(members)
                for phrase in near_misses(rows, self.bank.holds).tolist():
                    absent.append(float(strongest[b, phrase]))
        scale, shift = logistic_fit(np.array(present), np.array(absent))
        threshold, balanced = balanced_threshold(np.array(present), np.array(absent))
        names = {1: "kinds", 2: "two words", 3: "full phrases"}
        metrics: Metrics = {}
        best = 0.5
        for depth, hits in found.items():
            precision, f1, at = average_precision(hits, wanted[depth])
            metrics |= {f"AP50 of boxes, {names[depth]}": precision, f"best F1, {names[depth]}": f1}
            best = at if depth == 3 else best
        metrics |= {
            "presence balanced accuracy": balanced,
            "hard negatives refused": float((np.array(absent) < threshold).mean()),
            "presence recall": float((np.array(present) >= threshold).mean()),
            "recall of held-out triples": sum(h for s, h in unseen if s >= best) / max(unseen_wanted, 1),
            "IoU of hits": float(np.mean(overlaps or [0.0])),
        }
        return metrics, {"presence_scale": scale, "presence_shift": shift, "score_threshold": best}

    def export(self, folder: Path) -> None:
        """A directory as transformers saves one, and `tercet.json` with what serving adds to it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.owl.config.save_pretrained(folder)
        save_half(self.served(), folder / self.weights)
        scene_tokenizer().save_pretrained(folder)
        preprocessing = {
            "image_mean": [0.5] * 3,
            "image_std": [0.25] * 3,
            "do_pad": True,
            "image_processor_type": "Owlv2ImageProcessor",
            "size": {"height": SERVED_SIDE, "width": SERVED_SIDE},
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=1), "utf-8")
        extra: dict[str, object] = {"name": "owlv2-tiny", "prompt": "{phrase}", "nms": NMS}
        if self.calibration_scenes is not None:
            extra |= self._measure(self.calibration_scenes, 300)[1]
        (folder / "tercet.json").write_text(json.dumps(extra, indent=1), "utf-8")


def normalise(images: Tensor) -> Tensor:
    """uint8 or float 0..255 to the network's pixels: mean 0.5 and deviation 0.25 of 0..1."""
    return (images.float() - 127.5) / 63.75


def crop(batch: Batch, left: int, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, ids and corner boxes (shares) of a TINY_SIDE window."""
    pixels = normalise(batch.images[:, :, top : top + TINY_SIDE, left : left + TINY_SIDE])
    ids = batch.ids[:, top : top + TINY_SIDE, left : left + TINY_SIDE]
    shift = torch.tensor([left, top, left, top])
    boxes = ((batch.objects[..., 3:7] - shift).float() / TINY_SIDE).clamp(0, 1)
    return pixels, ids, boxes


def resize(batch: Batch, side: int) -> Tensor:
    """Whole images at the network's size, normalised."""
    return normalise(
        functional.interpolate(batch.images.float(), (side, side), mode="bilinear", antialias=True)
    )


def assign(ids: Tensor, boxes: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Which object (1-based, 0 none) owns each token [B, T], and which it answers for: tokens near an
    object's centre, and for every object, small ones first, at least one token.
    """
    count, grid = len(ids), ids.shape[-1] // TINY_PATCH
    sampled = ids[:, 1::2, 1::2].reshape(count, grid, TINY_PATCH // 2, grid, TINY_PATCH // 2)
    cells = sampled.permute(0, 1, 3, 2, 4).reshape(count, grid * grid, -1)
    shares = functional.one_hot(cells, MOST_OBJECTS + 1).sum(2)[..., 1:] / cells.shape[-1]
    share, biggest = shares.max(-1)
    owner = torch.where(share >= OWNED, biggest + 1, 0)
    line = (torch.arange(grid).float() + 0.5) / grid
    tokens = torch.stack([line[None].expand(grid, grid), line[:, None].expand(grid, grid)], -1).reshape(-1, 2)
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    offset = (tokens[None, None] - middle[:, :, None]).abs()
    mine = owner[:, None] == torch.arange(1, MOST_OBJECTS + 1)[None, :, None]
    inner = (offset < size[:, :, None] * CENTRE).all(-1) & present[..., None] & mine
    centre = torch.where(inner.any(1), owner, 0)
    distance = ((offset * grid) ** 2).sum(-1) + torch.where(mine, 0.0, 2.0)
    nearest = distance.argsort(2)[:, :, :3]
    by_size = size.prod(-1).argsort(1)
    for b in range(count):
        taken: set[int] = set()
        for obj in by_size[b].tolist():
            if not present[b, obj]:
                continue
            for token in nearest[b, obj].tolist():
                if token not in taken:
                    taken.add(token)
                    centre[b, token] = obj + 1
                    if owner[b, token] == 0:
                        owner[b, token] = obj + 1
                    break
    # A token that answers for an object owns it as well, so that its box is learnt.
    return torch.where(centre > 0, centre, owner), centre


def labels_of(assigned: Tensor, numbers: Tensor) -> Tensor:
    """Composition numbers [B, T] of assigned objects."""
    nothing = torch.full((len(numbers), 1), 384)
    return torch.cat([nothing, numbers], 1).gather(1, assigned)


def near_misses(rows: Tensor, holds: Tensor) -> Tensor:
    """Numbers of bank phrases that differ from a present one by a word and hold for nothing present."""
    near = []
    for row in rows.tolist():
        colour, pattern, kind = row // 48, row // 12 % 4, row % 12
        near += [colour2 * 48 + pattern * 12 + kind for colour2 in range(8)]
        near += [colour * 48 + pattern2 * 12 + kind for pattern2 in range(4)]
        near += [colour * 48 + pattern * 12 + kind2 for kind2 in range(12)]
    if not near:
        return torch.zeros(0, dtype=torch.long)
    absent = holds[torch.tensor(sorted(set(near)))].any(0) & ~holds[rows].any(0)
    return absent.nonzero()[:, 0]


def match(logits: Tensor, boxes: Tensor, truth: Tensor) -> tuple[list[tuple[float, bool]], list[float]]:
    """Detections (score, is a first match at IoU .5) of one phrase after suppression, and the IoUs of the
    matches.
    """
    scores = torch.sigmoid(logits)
    worth = (scores > 0.03).nonzero()[:, 0]
    kept = worth[suppress(boxes[worth], scores[worth], NMS)]
    used: set[int] = set()
    hits, overlaps = [], []
    for token in kept.tolist():
        iou = paired_iou(boxes[token][None], truth)[0]
        best = int(iou.argmax())
        hit = float(iou[best]) >= 0.5 and best not in used
        if hit:
            used.add(best)
            overlaps.append(float(iou[best]))
        hits.append((float(scores[token]), hit))
    return hits, overlaps
