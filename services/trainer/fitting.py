"""The loop that fits a network: bounded by time, resumable, with a progress bar and curves."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from services.trainer.checkpoint import History, restore, save
from services.trainer.curves import draw_curves
from services.trainer.optimisation import groups, rate_factor, set_rate
from services.trainer.recipes.base import Recipe
from services.trainer.scenes import TrainingScenes

LONGEST_STEP = 60.0
"""A step counts for at most so many seconds of the budget, so that a stopped and continued process loses
none.
"""
CHECKPOINT_SECONDS = 60.0
LOG_STEPS = 50


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
    interrupted call leaves a checkpoint at most a minute old. Raises `UnusableCheckpoint`, `TooFewScenes`.
    """
    network = recipe.network()
    made = recipe.optimisers()
    highest = [group["base"] for group in groups(made)]
    checkpoint = folder / "checkpoint.pt"
    goes_on = checkpoint.exists() and not fresh
    history = restore(checkpoint, recipe, made) if goes_on else History()
    for group, full in zip(groups(made), highest, strict=True):
        group["base"] = full * rate
    folder.mkdir(parents=True, exist_ok=True)
    if not goes_on:
        (folder / "log.jsonl").unlink(missing_ok=True)
    budget, spent, saved, step = minutes * 60, 0.0, 0.0, 0
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
            point = {name: sum(values) / len(values) for name, values in recent.items()}
            state = f"{step} steps, {step * recipe.batch_size / spent:.1f} images/s, " + ", ".join(
                f"{name} {value:.3f}" for name, value in point.items()
            )
            bar.update(task, completed=spent, state=state)
            if step % LOG_STEPS == 0 or spent >= budget:
                history.points.append({"images": float(history.images), "seconds": history.seconds, **point})
                recent = {}
                with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps(history.points[-1]) + "\n")
            if spent - saved > CHECKPOINT_SECONDS or spent >= budget:
                save(checkpoint, recipe, made, history)
                saved = spent
    draw_curves(history.points, folder / "curves.png", recipe.name)
    return history
