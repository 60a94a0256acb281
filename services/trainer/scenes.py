"""Batches of scenes for training and measuring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.scenes.arrays import MOST_OBJECTS, SceneArrays


@dataclass(frozen=True)
class Batch:
    """`images` uint8 [B, 3, S, S]; `ids` int64 [B, S, S]; `objects` int64 [B, MOST_OBJECTS, 8] (see
    `services.scenes.arrays`); `sizes` int64 [B, 2] the unpadded height and width."""

    images: Tensor
    ids: Tensor
    objects: Tensor
    sizes: Tensor

    @property
    def present(self) -> Tensor:
        """Which rows of `objects` hold one, bool [B, MOST_OBJECTS]."""
        return self.objects[..., 0] >= 0


class TooFewScenes(ValueError):
    """A folder holds fewer scenes than one batch needs."""


class TrainingScenes:
    """Scenes of one folder of arrays, in shuffled or given order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays = SceneArrays.open(folder)

    def __len__(self) -> int:
        return len(self.arrays)

    def batch(
        self, index: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator | None = None
    ) -> Batch:
        """The scenes of some numbers; with `rng` half of those that have no padding at the right are
        mirrored.
        """
        images = torch.from_numpy(self.arrays.images[index]).permute(0, 3, 1, 2)
        ids = torch.from_numpy(self.arrays.ids[index]).long()
        objects = torch.from_numpy(self.arrays.objects[index]).long()
        side = images.shape[-1]
        lit = images.amax(1) > 0
        heights = side - lit.any(2).flip(1).int().argmax(1)
        widths = side - lit.any(1).flip(1).int().argmax(1)
        if rng is not None:
            mirrored = torch.from_numpy(rng.random(len(index)) < 0.5) & (widths == side)
            images[mirrored] = images[mirrored].flip(-1)
            ids[mirrored] = ids[mirrored].flip(-1)
            turn = mirrored[:, None] & (objects[..., 0] >= 0)
            left = objects[..., 3].clone()
            objects[..., 3] = torch.where(turn, side - objects[..., 5], objects[..., 3])
            objects[..., 5] = torch.where(turn, side - left, objects[..., 5])
        return Batch(images.contiguous(), ids, objects, torch.stack([heights, widths], 1))

    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Endless mirrored batches; every scene once before any comes again. Raises `TooFewScenes`."""
        if len(self) < size:
            raise TooFewScenes(f"{self.folder} holds {len(self)} scenes, and a batch needs {size}: make more")
        while True:
            order = rng.permutation(len(self))
            for start in range(0, len(order) - size + 1, size):
                yield self.batch(np.sort(order[start : start + size]), rng)

    def in_order(self, size: int, limit: int) -> Iterator[Batch]:
        """The first `limit` scenes as they are."""
        count = min(limit, len(self))
        for start in range(0, count, size):
            yield self.batch(np.arange(start, min(start + size, count)))


__all__ = ["MOST_OBJECTS", "Batch", "TooFewScenes", "TrainingScenes"]
