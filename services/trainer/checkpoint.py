"""What a fit leaves on disk, so that the next goes on from it: the network, its optimisers, the state of the
random draws, and its history.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from services.trainer.recipes.base import Metrics, Recipe


class UnusableCheckpoint(ValueError):
    """A checkpoint that cannot be gone on from; the message names the file, the fault and the ways out."""


@dataclass
class History:
    """What a network has been through: images seen, seconds trained, and the figures along the way."""

    images: int = 0
    seconds: float = 0.0
    points: list[Metrics] = field(default_factory=list)


def save(path: Path, recipe: Recipe, made: list[torch.optim.Optimizer], history: History) -> None:
    """Write a checkpoint; one that is there stays until the new one is whole."""
    state: dict[str, Any] = {
        "network": recipe.network().state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in made],
        "draws": (recipe.around.rng.bit_generator.state, torch.get_rng_state()),
        "images": history.images,
        "seconds": history.seconds,
        "points": history.points,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def restore(path: Path, recipe: Recipe, made: list[torch.optim.Optimizer]) -> History:
    """Take up all of a checkpoint: what is drawn next was not drawn before. Raises `UnusableCheckpoint`."""
    state = _read(path)
    history = _load(path, state, recipe.network())
    try:
        for optimiser, saved in zip(made, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        numpy_draws, torch_draws = state["draws"]
        recipe.around.rng.bit_generator.state = numpy_draws
        torch.set_rng_state(torch_draws)
    except (ValueError, KeyError, TypeError) as fault:
        raise UnusableCheckpoint(
            f"{path} was left by a fit that trained other parameters ({fault}): give --frozen-towers as it "
            "did, or start anew from the served weights with --fresh --served"
        ) from fault
    return history


def restore_network(path: Path, network: nn.Module) -> History:
    """Take only the network of a checkpoint, to measure or export it. Raises `UnusableCheckpoint`."""
    return _load(path, _read(path), network)


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise  # says nothing of the file
    except PermissionError as fault:
        raise UnusableCheckpoint(f"{path} cannot be read: {fault}") from fault
    except Exception as fault:  # torch raises many kinds for a damaged file
        raise UnusableCheckpoint(
            f"{path} is damaged or no checkpoint ({type(fault).__name__}): remove it, or start anew with "
            "--fresh"
        ) from fault
    if not isinstance(state, dict):
        raise UnusableCheckpoint(f"{path} is no checkpoint of a fit: remove it, or start anew with --fresh")
    return state


def _load(path: Path, state: dict[str, Any], network: nn.Module) -> History:
    try:
        history = History(state["images"], state["seconds"], state["points"])
        network.load_state_dict(state["network"])
    except KeyError as fault:
        raise UnusableCheckpoint(
            f"{path} is no checkpoint of a fit (it has no {fault}): remove it, or start anew with --fresh"
        ) from fault
    except (RuntimeError, TypeError) as fault:
        # The first line of torch's message only names the class.
        first = (str(fault).splitlines()[1:2] or [str(fault)])[0].strip()[:200]
        raise UnusableCheckpoint(
            f"{path} is a checkpoint of another network ({first}): name the --work folder of this one, or "
            "start anew with --fresh"
        ) from fault
    return history
