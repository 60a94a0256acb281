"""What the fitting loop needs of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from services.networks.checkpoints import load_into
from services.trainer.scenes import Batch, TrainingScenes

Metrics = dict[str, float]


@dataclass(frozen=True)
class Surroundings:
    """Where and with what a recipe computes. `repository` is the model repository whose weights it may start
    from.
    """

    device: torch.device
    dtype: torch.dtype
    rng: np.random.Generator
    repository: Path


class Recipe(ABC):
    """One network's losses, measures and export."""

    name: ClassVar[str]
    model: ClassVar[str] = ""
    """The served model that it is part of; by default the one of its name."""
    weights: ClassVar[str] = "model.safetensors"
    """The file of weights beside the served model."""
    batch_size: ClassVar[int] = 16
    clip: ClassVar[float] = 1.0

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.calibration_scenes: TrainingScenes | None = None
        self.towers_frozen = False

    def home(self, repository: Path) -> Path:
        """Where the repository keeps what this recipe trains."""
        return repository / (self.model or self.name) / "1"

    @abstractmethod
    def network(self) -> nn.Module:
        """What is trained, auxiliary heads included."""

    @abstractmethod
    def served(self) -> nn.Module:
        """What of it is served, as exported: without the heads that only help to learn."""

    @abstractmethod
    def dearest(self) -> list[nn.Module]:
        """The modules that most of a step's time goes to; torch.compile pays on a GPU."""

    def tower(self) -> tuple[nn.Module, str] | None:
        """What started as the grounder's, and the prefix of its names there; None: nothing did."""
        return None

    def freeze_towers(self) -> None:
        """Train only what looks at the images' tokens: many more questions in the same time."""
        self.towers_frozen = True
        for module in self.dearest():
            module.requires_grad_(False)

    @abstractmethod
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Optimisers of all that is trained; each group's full rate is its `base`."""

    @abstractmethod
    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, Metrics]:
        """Loss of a batch at `progress` (0..1) of the run, and figures to plot."""

    @abstractmethod
    def evaluate(self, scenes: TrainingScenes, limit: int) -> Metrics:
        """Quality on the first `limit` held-out scenes."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write what serving loads, in half precision, to `folder`."""

    def start_from(self, folder: Path) -> None:
        """Take the weights that `folder` serves; raises `ModelError` if it has none, or others."""
        load_into(self.served(), folder / self.weights)

    def batches(self, scenes: TrainingScenes) -> Iterator[Batch]:
        """Endless training batches."""
        return scenes.shuffled(self.batch_size, self.around.rng)
