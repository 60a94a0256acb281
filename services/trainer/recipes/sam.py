"""Training and measuring the bundled SAM on scenes: one click, one box, and a corrected mask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from services.networks.checkpoints import save_half
from services.networks.precision import autocast
from services.networks.sam.architecture import TINY_CHANNELS, build_vit_tiny
from services.networks.sam.decoding import DecodedTokens, decode_tokens, embed_prompts, upscale_masks
from services.networks.sam.prompts import mask_logits_of
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
from services.trainer.scenes import Batch, TrainingScenes

OBJECTS_AN_IMAGE = 3
CORRECTED_SHARE = 0.15
"""Share of steps with a third pass: the first mask and a click on its error go back in."""


class SamRecipe(Recipe):
    """Dice, focal and IoU-regression losses, lowest of the three multimask outputs (Kirillov et al., 2023,
    appendix A).
    """

    name = "sam"
    weights = "weights.safetensors"
    batch_size = 8

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.sam: Any = build_vit_tiny().to(around.device)
        self.dense = DenseHeads().to(around.device)
        self.both = nn.ModuleDict({"sam": self.sam, "dense_heads": self.dense})

    def network(self) -> nn.Module:
        return self.both

    def served(self) -> nn.Module:
        served: nn.Module = self.sam
        return served

    def dearest(self) -> list[nn.Module]:
        return [self.sam.image_encoder]

    def optimisers(self) -> list[torch.optim.Optimizer]:
        return optimisers(self.both.named_parameters(), 1.5e-3, 1e-3)

    @override
    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Metrics]:
        rng = self.around.rng
        pairs = some_objects(batch, rng, OBJECTS_AN_IMAGE)
        image = torch.tensor([pair[0] for pair in pairs], device=self.around.device)
        truth = object_masks(batch, pairs).to(self.around.device)
        low_truth = functional.avg_pool2d(truth[:, None].float(), truth.shape[-1] // (4 * self.grid))[:, 0]
        points = torch.stack([point_prompt(batch, b, o, rng) for b, o in pairs]).to(self.around.device)
        boxes = torch.stack([box_prompt(batch, b, o, rng) for b, o in pairs]).to(self.around.device)
        with autocast(self.around.device, self.around.dtype):
            encoded = self.encode(batch)
            embeddings = encoded[image]
            clicked = self.decode(embeddings, points[:, None], torch.ones(len(pairs), 1), None, None)
            boxed = self.decode(embeddings, None, None, boxes, None)
            passes = [("point", slice(1, 4), *clicked), ("box", slice(0, 1), *boxed)]
            if rng.random() < CORRECTED_SHARE:
                passes.append(
                    ("corrected", slice(0, 1), *self._correct(embeddings, clicked, points, low_truth))
                )
        total, metrics = self.dense(encoded[:, :TINY_CHANNELS].float(), batch)
        for kind, which, logits, predicted_iou in passes:
            part, dice, iou = _mask_loss(logits[:, which].float(), predicted_iou[:, which].float(), low_truth)
            total = total + part
            metrics |= {f"{kind} dice": dice, f"{kind} iou": iou}
        return total, metrics

    @property
    def side(self) -> int:
        """Pixels of the network's input."""
        return int(self.sam.image_encoder.img_size)

    @property
    def grid(self) -> int:
        """Cells along a side of the image embedding."""
        return int(self.sam.prompt_encoder.image_embedding_size[0])

    def encode(self, batch: Batch) -> Tensor:
        """Image embeddings [B, 4 C, G, G]; the padding is zero after normalising, as when serving."""
        images, side = batch.images.to(self.around.device).float(), self.side
        scale = side / images.shape[-1]
        if scale != 1:
            images = functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
        normal = (images - self.sam.pixel_mean) / self.sam.pixel_std
        rows = torch.arange(side)
        inside = (rows[None, :, None] < scale * batch.sizes[:, :1, None]) & (
            rows[None, None] < scale * batch.sizes[:, 1:, None]
        )
        embedded: Tensor = self.sam.image_encoder(normal * inside[:, None].to(normal))
        return embedded

    def decode(
        self,
        embeddings: Tensor,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Logits [N, 4, 4 G, 4 G] and predicted IoU [N, 4] of prompts in pixels of the network's input."""
        labels = None if labels is None else labels.to(self.around.device)
        sparse, dense = embed_prompts(self.sam, points, labels, boxes, masks)
        tokens: DecodedTokens = decode_tokens(self.sam, embeddings, sparse, dense)
        return upscale_masks(self.sam, tokens, embeddings), tokens.predicted_iou

    def _correct(
        self, embeddings: Tensor, clicked: tuple[Tensor, Tensor], points: Tensor, truth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A second click where the best first mask is wrong, with that mask as input."""
        logits, predicted = clicked[0].detach().float(), clicked[1].detach()
        best = logits[torch.arange(len(logits)), predicted[:, 1:].argmax(1) + 1] > 0
        second, label = second_click(best, truth > 0.5)
        second = second * (self.side / truth.shape[-1])
        both = torch.stack([points, second], 1)
        labels = torch.cat([torch.ones_like(label), label], 1)
        return self.decode(embeddings, both, labels, None, mask_logits_of(best))

    @torch.inference_mode()
    def evaluate(self, scenes: TrainingScenes, limit: int) -> Metrics:
        """SAM alone, without the refiner: mean IoU at full size from the truth's box, a central point (chosen
        and best of three) and a random point.
        """
        rng = np.random.default_rng(0)
        self.sam.eval()
        found: dict[str, list[float]] = {
            "box": [],
            "box boundary": [],
            "point": [],
            "point best of 3": [],
            "random point": [],
        }
        errors: list[float] = []
        for batch in scenes.in_order(10, limit):
            pairs = all_objects(batch)
            truth = object_masks(batch, pairs)
            image = torch.tensor([pair[0] for pair in pairs], device=self.around.device)
            prompts = {
                "box": torch.stack([box_prompt(batch, b, o, None) for b, o in pairs]),
                "point": torch.stack([point_prompt(batch, b, o, None) for b, o in pairs]),
                "random point": torch.stack([point_prompt(batch, b, o, rng) for b, o in pairs]),
            }
            with autocast(self.around.device, self.around.dtype):
                embeddings = self.encode(batch)[image]
            for kind, prompt in prompts.items():
                prompt = prompt.to(self.around.device) * self.side / batch.images.shape[-1]
                with autocast(self.around.device, self.around.dtype):
                    logits, predicted = self.decode(
                        embeddings,
                        None if kind == "box" else prompt[:, None],
                        None if kind == "box" else torch.ones(len(pairs), 1),
                        prompt if kind == "box" else None,
                        None,
                    )
                masks = (
                    functional.interpolate(
                        logits.float(), truth.shape[1:], mode="bilinear", align_corners=False
                    ).cpu()
                    > 0
                )
                overlaps = mask_iou(masks, truth[:, None])
                if kind == "box":
                    found["box"] += overlaps[:, 0].tolist()
                    found["box boundary"] += boundary_iou(masks[:, 0], truth).tolist()
                    continue
                chosen = predicted[:, 1:].float().cpu().argmax(1) + 1
                picked = overlaps.gather(1, chosen[:, None])[:, 0]
                found[kind] += picked.tolist()
                if kind == "point":
                    found["point best of 3"] += overlaps[:, 1:].amax(1).tolist()
                    guess = predicted.float().cpu().gather(1, chosen[:, None])[:, 0]
                    errors += (guess - picked).abs().tolist()
        metrics = {f"mIoU {kind}": float(np.mean(values)) for kind, values in found.items()}
        return metrics | {
            "predicted IoU, mean error": float(np.mean(errors)),
            "instances": float(len(errors)),
        }

    def export(self, folder: Path) -> None:
        save_half(self.served(), folder / self.weights)

    def batches(self, scenes: TrainingScenes) -> Iterator[Batch]:
        for batch in scenes.shuffled(self.batch_size, self.around.rng):
            if bool(batch.present.any()):
                yield batch


class DenseHeads(nn.Module):
    """What every cell of the embedding is asked while training, beside the prompted masks: which of its
    pixels are objects and rims, what its object is, and where that object's box lies. The encoder learns
    from it several times sooner; the heads are dropped afterwards.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(TINY_CHANNELS, 16 + 16 + 4 + 8 + 4 + 12, 1)

    def forward(self, embedded: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """The losses' sum for embeddings [B, C, 32, 32], and figures to plot."""
        maps, rims, sides, *names = self.head(embedded).split((16, 16, 4, 8, 4, 12), 1)
        ids = batch.ids.to(embedded.device)
        low = ids[:, ::2, ::2]
        edge = functional.pad((low[:, 1:] != low[:, :-1]).float(), [0, 0, 0, 1]) + functional.pad(
            (low[:, :, 1:] != low[:, :, :-1]).float(), [0, 1]
        )
        wanted = functional.avg_pool2d((ids > 0).float()[:, None], 2)[:, 0]
        entropy = functional.binary_cross_entropy_with_logits
        loss = entropy(functional.pixel_shuffle(maps, 4)[:, 0], wanted)
        loss = loss + entropy(
            functional.pixel_shuffle(rims, 4)[:, 0], edge.clamp(max=1), pos_weight=edge.new_tensor(4.0)
        )
        grid = embedded.shape[-1]
        step = ids.shape[-1] // grid
        owner = ids[:, step // 2 :: step, step // 2 :: step].long()
        inside = owner > 0
        if not bool(inside.any()):
            return loss, {}
        number = torch.arange(len(ids), device=ids.device)[:, None, None].expand_as(owner)[inside]
        rows = batch.objects.to(ids.device)[number, owner[inside] - 1]
        line = (torch.arange(grid, device=ids.device) + 0.5) * step
        at = torch.stack([line[None].expand(grid, grid), line[:, None].expand(grid, grid)], -1)
        at = at.expand(len(ids), -1, -1, -1)[inside]
        distance = (rows[:, 3:7].float() - at.repeat(1, 2)) / 64
        loss = loss + (sides.permute(0, 2, 3, 1)[inside] - distance).abs().mean()
        found = {}
        for name, logits, right in zip(
            ("colour", "pattern", "kind"), names, rows[:, :3].long().T, strict=True
        ):
            chosen = logits.permute(0, 2, 3, 1)[inside]
            loss = loss + 0.3 * functional.cross_entropy(chosen, right)
            found[f"{name} accuracy"] = float((chosen.argmax(-1) == right).float().mean())
        return loss, found


def _mask_loss(logits: Tensor, predicted_iou: Tensor, truth: Tensor) -> tuple[Tensor, float, float]:
    """20 focal + 1 dice of the best of K outputs [N, K, h, w], a tenth of their mean, and the IoU head's
    error.
    """
    target = truth[:, None].expand_as(logits)
    share = torch.sigmoid(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = share * target + (1 - share) * (1 - target)
    focal = ((1 - right) ** 2 * entropy).mean((2, 3))
    dice = 1 - (2 * (share * target).sum((2, 3)) + 1) / (share.sum((2, 3)) + target.sum((2, 3)) + 1)
    each = 20 * focal + dice
    best, which = each.min(1)
    with torch.no_grad():
        iou = mask_iou(logits > 0, target > 0.5)
    loss = best.mean() + 0.1 * each.mean() + functional.mse_loss(predicted_iou, iou)
    return (
        loss,
        float(dice.gather(1, which[:, None]).mean().detach()),
        float(iou.gather(1, which[:, None]).mean()),
    )
