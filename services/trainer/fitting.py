"""The loop that fits a network: bounded by time, resumable, with a progress bar and curves."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from services.trainer.curves import draw_curves
from services.trainer.optimisation import groups, rate_factor, set_rate
from services.trainer.recipes.base import Metrics, Recipe
from services.trainer.scenes import TrainingScenes

LONGEST_STEP = 60.0
"""A step counts for at most so many seconds of the budget, so that a stopped and continued process loses
none.
"""
CHECKPOINT_SECONDS = 60.0
LOG_STEPS = 50


@dataclass
class History:
    """What a network has been through: images seen, seconds trained, and the figures along the way."""

    images: int = 0
    seconds: float = 0.0
    points: list[Metrics] = field(default_factory=list)


def fit(
    recipe: Recipe,
    scenes: TrainingScenes,
    folder: Path,
    minutes: float,
    *,
    fresh: bool = False,
    rate: float = 1.0,
) -> History:
    """Train for `minutes` more, going on from the checkpoint in `folder` if there is one (unless `fresh`).

    Each call runs one full cycle of the learning rate, `rate` times the recipe's at its highest. An
    interrupted call leaves a checkpoint at most a minute old.
    """
    network = recipe.network()
    made = recipe.optimisers()
    highest = [group["base"] for group in groups(made)]
    history = History()
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists() and not fresh:
        history = _restore(checkpoint, network, made)
    for group, full in zip(groups(made), highest, strict=True):
        group["base"] = full * rate
    folder.mkdir(parents=True, exist_ok=True)
    budget, spent, saved = minutes * 60, 0.0, 0.0
    recent: dict[str, list[float]] = {}
    batches = recipe.batches(scenes)
    network.train()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    ) as bar:
        task = bar.add_task(recipe.name, total=budget, state="")
        step = 0
        while spent < budget:
            began = time.monotonic()
            progress = spent / budget
            set_rate(made, rate_factor(progress))
            batch = next(batches)
            loss, metrics = recipe.loss(batch, progress)
            for optimiser in made:
                optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            norm = nn.utils.clip_grad_norm_(
                [p for p in network.parameters() if p.grad is not None], recipe.clip
            )
            # A single bad step must not poison the weights: one that overflows is skipped.
            if bool(norm.isfinite()):
                for optimiser in made:
                    optimiser.step()
            step += 1
            took = min(time.monotonic() - began, LONGEST_STEP)
            spent += took
            history.images += len(batch.images)
            history.seconds += took
            for name, value in {"loss": float(loss.detach()), **metrics}.items():
                recent.setdefault(name, []).append(value)
            if step % LOG_STEPS == 0:
                point = {name: sum(values) / len(values) for name, values in recent.items()}
                history.points.append({"images": float(history.images), "seconds": history.seconds, **point})
                recent = {}
                state = f"{step} steps, {step * recipe.batch_size / spent:.1f} images/s, " + ", ".join(
                    f"{name} {value:.3f}" for name, value in point.items()
                )
                bar.update(task, completed=spent, state=state)
                with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps(history.points[-1]) + "\n")
            if spent - saved > CHECKPOINT_SECONDS or spent >= budget:
                _save(checkpoint, network, made, history)
                saved = spent
    draw_curves(history.points, folder / "curves.png", recipe.name)
    return history


def _save(path: Path, network: nn.Module, made: list[torch.optim.Optimizer], history: History) -> None:
    state: dict[str, Any] = {
        "network": network.state_dict(),
        "optimisers": [o.state_dict() for o in made],
        "images": history.images,
        "seconds": history.seconds,
        "points": history.points,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _restore(path: Path, network: nn.Module, made: list[torch.optim.Optimizer]) -> History:
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    for optimiser, saved in zip(made, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return History(state["images"], state["seconds"], state["points"])


def restore_network(path: Path, network: nn.Module) -> History:
    """Load only the network of a checkpoint, to measure or export it."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    return History(state["images"], state["seconds"], state["points"])
