"""Training and measuring the bundled SAM's refiner on scenes: SAM as it is served gives the coarse masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from services.networks.checkpoints import save_half
from services.networks.precision import autocast
from services.networks.sam.prompts import mask_logits_of
from services.networks.sam.refining import (
    CELLS,
    Prompted,
    Refiner,
    crop,
    cut,
    mask_boxes,
    refine,
    window_logits,
)
from services.trainer.optimisation import optimisers
from services.trainer.recipes.base import Metrics, Recipe, Surroundings
from services.trainer.recipes.instances import (
    all_objects,
    boundary_iou,
    box_prompt,
    mask_iou,
    object_masks,
    point_prompt,
    second_click,
    some_objects,
)
from services.trainer.recipes.sam import SamRecipe
from services.trainer.scenes import Batch, TrainingScenes

OBJECTS_AN_IMAGE = 8
SECOND_CLICKS = 0.3
"""Share of clicked instances that get a second click, where SAM's first mask is wrong."""
BLIND, BLIND_CELLS = 0.6, 48
"""Share of a run from random weights, at its beginning, in which boxes come without SAM's masks, and the
cells of a crop there. What may copy a mask that is nearly right learns little of images; and SAM costs more
than the refiner.
"""


class SamRefinerRecipe(Recipe):
    """Dice, cross-entropy and IoU-regression losses on crops around boxes and clicks."""

    name = "sam_refiner"
    model = "sam"
    weights = "refiner.safetensors"
    batch_size = 8

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.sam = SamRecipe(around)
        self.sam.start_from(self.sam.home(around.repository))
        self.sam.served().eval().requires_grad_(False)
        self.refiner = Refiner().to(around.device)
        self.blind = BLIND

    def network(self) -> nn.Module:
        return self.refiner

    def served(self) -> nn.Module:
        return self.refiner

    def dearest(self) -> list[nn.Module]:
        return [self.sam.sam.image_encoder]

    def optimisers(self) -> list[torch.optim.Optimizer]:
        return optimisers(self.refiner.named_parameters(), 1.5e-3, 2e-3, weight_decay=0.02)

    @override
    def start_from(self, folder: Path) -> None:
        super().start_from(folder)
        self.blind = 0.0  # it would forget what to make of SAM's masks

    @override
    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Metrics]:
        rng, device = self.around.rng, self.around.device
        pairs = some_objects(batch, rng, OBJECTS_AN_IMAGE)
        truth = object_masks(batch, pairs).to(device)
        if progress < self.blind:
            cells, coarse = BLIND_CELLS, [self.unseen(batch, pairs, rng)]
        else:
            cells = CELLS
            with torch.no_grad(), autocast(device, self.around.dtype):
                embeddings = self.sam.encode(batch)
                coarse = [
                    self.boxed(batch, pairs, embeddings, rng),
                    self.clicked(batch, pairs, embeddings, rng, truth),
                ]
        images = batch.images.to(device).float()
        seen, wanted = [], []
        for prompted in coarse:
            windows = prompted.windows()
            seen.append(crop(images, prompted, windows, cells))
            own = torch.arange(len(windows), device=device)
            wanted.append(cut(truth[:, None].float(), own, windows, cells, (1, 1)))
        both = torch.cat([torch.cat(seen), torch.cat(wanted)], 1)
        # An object is one whichever way it is turned.
        both = both.flip([axis for axis in (2, 3) if rng.random() < 0.5])
        both = both.transpose(2, 3) if rng.random() < 0.5 else both
        # Nothing is left to learn where a click's mask missed the object wholly.
        hit = both[:, -1].amax((1, 2)) > 0.5
        crops, target = both[hit, :-1], both[hit, -1]
        with autocast(device, self.around.dtype):
            logits, predicted = self.refiner(crops)
        return _loss(logits.float(), predicted.float(), target, crops[:, 3])

    def unseen(self, batch: Batch, pairs: list[tuple[int, int]], rng: np.random.Generator) -> Prompted:
        """Boxes without SAM's masks."""
        boxes, owner = self._boxes(batch, pairs, rng), self._owner(pairs)
        return self._of_boxes(owner, torch.full((len(pairs), 8, 8), -20.0, device=boxes.device), 1.0, boxes)

    def boxed(
        self, batch: Batch, pairs: list[tuple[int, int]], embeddings: Tensor, rng: np.random.Generator | None
    ) -> Prompted:
        """SAM's masks of boxes."""
        boxes, owner = self._boxes(batch, pairs, rng), self._owner(pairs)
        logits, _ = self.sam.decode(embeddings[owner], None, None, boxes * self.scale(batch), None)
        return self._of_boxes(owner, logits[:, 0], logits.shape[-1] / batch.images.shape[-1], boxes)

    def _boxes(self, batch: Batch, pairs: list[tuple[int, int]], rng: np.random.Generator | None) -> Tensor:
        """The truth's boxes [N, 4], two thirds of them jittered with `rng`."""
        jitter = [rng if rng is not None and rng.random() < 2 / 3 else None for _ in pairs]
        boxes = torch.stack([box_prompt(batch, b, o, r) for (b, o), r in zip(pairs, jitter, strict=True)])
        return boxes.to(self.around.device)

    def _owner(self, pairs: list[tuple[int, int]]) -> Tensor:
        """The numbers of the objects' images [N]."""
        return torch.tensor([pair[0] for pair in pairs], device=self.around.device)

    def _of_boxes(self, owner: Tensor, logits: Tensor, scale: float, boxes: Tensor) -> Prompted:
        none = torch.full((len(owner), 1, 3), -1.0, device=boxes.device)
        return Prompted(owner, logits, (scale, scale), boxes, torch.ones_like(owner, dtype=torch.bool), none)

    def clicked(
        self,
        batch: Batch,
        pairs: list[tuple[int, int]],
        embeddings: Tensor,
        rng: np.random.Generator | None,
        truth: Tensor,
    ) -> Prompted:
        """SAM's masks of a click: with `rng` anywhere in the object, and for some a second one where the
        first mask is wrong; without, in the middle.
        """
        device = self.around.device
        points = torch.stack([point_prompt(batch, b, o, rng) for b, o in pairs]).to(device)
        owner = self._owner(pairs)
        to_input, every = self.scale(batch), torch.arange(len(pairs), device=device)
        ones = torch.ones(len(pairs), 1, device=device)
        found, predicted = self.sam.decode(embeddings[owner], points[:, None] * to_input, ones, None, None)
        logits = found[every, predicted[:, 1:].argmax(1) + 1].float()
        clicks = torch.cat([points, ones], 1)[:, None]
        scale = logits.shape[-1] / batch.images.shape[-1]
        if rng is not None and rng.random() < SECOND_CLICKS:
            low = functional.interpolate(truth[:, None].float(), logits.shape[1:], mode="area")[:, 0] > 0.5
            second, label = second_click(logits > 0, low)
            clicks = torch.cat([clicks, torch.cat([second / scale, label], 1)[:, None]], 1)
            found, _ = self.sam.decode(
                embeddings[owner],
                clicks[..., :2] * to_input,
                clicks[..., 2],
                None,
                mask_logits_of(logits > 0),
            )
            logits = found[:, 0].float()
        boxes = mask_boxes(logits, (scale, scale))
        return Prompted(
            owner, logits, (scale, scale), boxes, torch.zeros_like(owner, dtype=torch.bool), clicks
        )

    def scale(self, batch: Batch) -> float:
        """Factor from the arrays' pixels to those of SAM's input."""
        return self.sam.side / batch.images.shape[-1]

    @torch.inference_mode()
    def evaluate(self, scenes: TrainingScenes, limit: int) -> Metrics:
        """Mean IoU and boundary IoU at full size from the truth's box and from a central point, SAM's own and
        refined.
        """
        self.refiner.eval()
        found: dict[str, list[float]] = {}
        for batch in scenes.in_order(10, limit):
            pairs = all_objects(batch)
            truth = object_masks(batch, pairs)
            with autocast(self.around.device, self.around.dtype):
                embeddings = self.sam.encode(batch)
                kinds = {
                    "box": self.boxed(batch, pairs, embeddings, None),
                    "point": self.clicked(batch, pairs, embeddings, None, truth),
                }
            for kind, prompted in kinds.items():
                windows = prompted.windows()
                with autocast(self.around.device, self.around.dtype):
                    crops = crop(batch.images.to(windows.device).float(), prompted, windows)
                    logits, guess = refine(self.refiner, crops)
                refined = torch.zeros_like(truth)
                for mask, each, window in zip(refined, logits.cpu(), windows, strict=True):
                    inside, place = window_logits(each, window, *truth.shape[1:])
                    mask[place] = inside > 0
                coarse = functional.interpolate(
                    prompted.logits[:, None].float(), truth.shape[1:], mode="bilinear"
                )
                for name, masks in (("coarse ", coarse[:, 0].cpu() > 0), ("", refined)):
                    overlap = mask_iou(masks, truth)
                    found.setdefault(f"{name}mIoU {kind}", []).extend(overlap.tolist())
                    found.setdefault(f"{name}boundary {kind}", []).extend(boundary_iou(masks, truth).tolist())
                error = (guess.cpu() - mask_iou(refined, truth)).abs()
                found.setdefault(f"predicted IoU, mean error, {kind}", []).extend(error.tolist())
        metrics = {name: float(np.mean(values)) for name, values in found.items()}
        return metrics | {"instances": float(len(found["mIoU box"]))}

    def export(self, folder: Path) -> None:
        save_half(self.refiner, folder / self.weights)


def _loss(logits: Tensor, predicted: Tensor, target: Tensor, coarse: Tensor) -> tuple[Tensor, Metrics]:
    share = logits.sigmoid()
    overlap = 2 * (share * target).sum((1, 2)) + 1
    dice = 1 - overlap / (share.sum((1, 2)) + target.sum((1, 2)) + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, target)
    with torch.no_grad():
        iou = mask_iou(logits > 0, target > 0.5)
        before = mask_iou(coarse > 0.5, target > 0.5)
    loss = dice.mean() + 5 * entropy + functional.mse_loss(predicted, iou)
    return loss, {
        "dice": float(dice.mean().detach()),
        "iou": float(iou.mean()),
        "coarse iou": float(before.mean()),
    }
