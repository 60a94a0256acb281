"""`python -m services.trainer fit|evaluate NETWORK --scenes DIR`: train a bundled network on scenes, or
measure it.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer

from services.networks.errors import ModelError
from services.networks.precision import choose_device, choose_dtype
from services.trainer.checkpoint import UnusableCheckpoint, restore_network
from services.trainer.fitting import fit as run_fit
from services.trainer.following import follow_grounder
from services.trainer.recipes.base import Recipe, Surroundings
from services.trainer.scenes import TooFewScenes, TrainingScenes

Network = Literal["sam", "sam_refiner", "concept_grounder", "concept_proposer", "verifier"]
app = typer.Typer(no_args_is_help=True, help="Train and measure the bundled networks.")
ROOT = Path(__file__).resolve().parents[2]
Scenes = Annotated[
    Path,
    typer.Option(help="folder of arrays: python -m services.scenes", exists=True, file_okay=False),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Threads = Annotated[int | None, typer.Option(help="threads on the CPU; all by default", min=1)]
Work = Annotated[
    Path | None,
    typer.Option(help="folder of checkpoint, log and curves; .tercet/training/NETWORK", file_okay=False),
]
Repository = Annotated[
    Path, typer.Option(help="model repository to start from and export to", file_okay=False)
]


def make_recipe(network: Network, around: Surroundings) -> Recipe:
    """The recipe of a network; imported here so that one network's needs do not burden another."""
    if network == "sam":
        from services.trainer.recipes.sam import SamRecipe

        return SamRecipe(around)
    if network == "sam_refiner":
        from services.trainer.recipes.sam_refiner import SamRefinerRecipe

        return SamRefinerRecipe(around)
    if network == "concept_grounder":
        from services.trainer.recipes.grounder import GrounderRecipe

        return GrounderRecipe(around)
    if network == "concept_proposer":
        from services.trainer.recipes.proposer import ProposerRecipe

        return ProposerRecipe(around)
    from services.trainer.recipes.verifier import VerifierRecipe

    return VerifierRecipe(around)


@contextmanager
def _told() -> Iterator[None]:
    """What the caller gave and cannot be used, told as such."""
    try:
        yield
    except (ModelError, TooFewScenes, UnusableCheckpoint) as fault:
        raise typer.BadParameter(str(fault)) from fault


def _open(folder: Path) -> TrainingScenes:
    try:
        return TrainingScenes(folder)
    except FileNotFoundError as fault:
        raise typer.BadParameter(
            f"{folder} holds no arrays of scenes: python -m services.scenes --n 16000 --out {folder}"
        ) from fault
    except ValueError as fault:
        raise typer.BadParameter(
            f"{folder} holds damaged arrays of scenes ({fault}): make them anew"
        ) from fault


def _surroundings(device: str, threads: int | None, seed: int, repository: Path) -> Surroundings:
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    chosen = choose_device(device)
    return Surroundings(chosen, choose_dtype("auto", chosen), np.random.default_rng(seed), repository)


@app.command()
def fit(
    network: Network,
    scenes: Scenes,
    minutes: Annotated[float, typer.Option(help="minutes to train")],
    work: Work = None,
    device: Device = "auto",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="seed of weights and order, if anew")] = 0,
    repository: Repository = ROOT / "model_repository",
    export: Annotated[bool, typer.Option(help="write the weights to the repository afterwards")] = False,
    fresh: Annotated[bool, typer.Option(help="start anew even if there is a checkpoint")] = False,
    served: Annotated[
        bool, typer.Option(help="start from the weights that the repository serves, if anew")
    ] = False,
    rate: Annotated[
        float, typer.Option(help="times the recipe's learning rates; below 1 to refine weights that are good")
    ] = 1.0,
    frozen_towers: Annotated[
        bool, typer.Option(help="leave the image towers as they are and train what looks at their tokens")
    ] = False,
    compiled: Annotated[
        bool | None,
        typer.Option(help="torch.compile the towers; by default on CUDA (a CPU gains nothing)"),
    ] = None,
) -> None:
    """Train for some minutes, going on from the last checkpoint."""
    if not 0 < minutes < math.inf:
        raise typer.BadParameter(f"{minutes} minutes: more than 0 are needed", param_hint="--minutes")
    if not 0 < rate < math.inf:
        raise typer.BadParameter(f"{rate} times the recipe's: more than 0 is needed", param_hint="--rate")
    folder = work or ROOT / ".tercet" / "training" / network
    with _told():
        recipe = make_recipe(network, _surroundings(device, threads, seed, repository))
    if compiled if compiled is not None else recipe.around.device.type == "cuda":
        for module in recipe.dearest():
            module.compile()
    if served:
        with _told():
            recipe.start_from(recipe.home(repository))
    if frozen_towers:
        recipe.freeze_towers()
    drawn = _open(scenes)
    with _told():
        history = run_fit(recipe, drawn, folder, minutes, fresh=fresh, rate=rate)
    typer.echo(f"{network}: {history.images} images in {history.seconds / 60:.1f} minutes, {folder}")
    if export:
        recipe.calibration_scenes = drawn
        recipe.export(recipe.home(repository))


@app.command()
def follow(
    network: Network,
    before: Annotated[Path, typer.Option(help="the grounder's weights that it started from")],
    calibration: Annotated[Path, typer.Option(help="arrays of scenes that it is calibrated on")],
    share: Annotated[float, typer.Option(help="share of what the grounder has learnt since")] = 0.5,
    device: Device = "auto",
    threads: Threads = None,
    repository: Repository = ROOT / "model_repository",
) -> None:
    """Add to a served network what the grounder has learnt since it started from it, without training."""
    with _told():
        recipe = make_recipe(network, _surroundings(device, threads, 0, repository))
    tower = recipe.tower()
    if tower is None:
        raise typer.BadParameter(f"{network} did not start from the grounder")
    after = repository / "concept_grounder" / "1" / "model.safetensors"
    with _told():
        recipe.start_from(recipe.home(repository))
        count = follow_grounder(tower[0], before, after, share, tower[1])
    recipe.calibration_scenes = _open(calibration)
    recipe.export(recipe.home(repository))
    typer.echo(f"{network}: {count} tensors follow the grounder")


@app.command()
def evaluate(
    network: Network,
    scenes: Scenes,
    work: Work = None,
    device: Device = "auto",
    threads: Threads = None,
    limit: Annotated[int, typer.Option(help="scenes to measure on", min=1)] = 300,
    repository: Repository = ROOT / "model_repository",
    export: Annotated[bool, typer.Option(help="write the weights to the repository as well")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(help="arrays on which exported scores are calibrated; those measured on by default"),
    ] = None,
) -> None:
    """Measure the last checkpoint on held-out scenes; prints JSON."""
    folder = work or ROOT / ".tercet" / "training" / network
    with _told():
        recipe = make_recipe(network, _surroundings(device, threads, 0, repository))
    checkpoint = folder / "checkpoint.pt"
    if not checkpoint.exists():
        raise typer.BadParameter(
            f"{checkpoint} does not exist: fit {network} first, or name its --work folder"
        )
    with _told():
        history = restore_network(checkpoint, recipe.network())
    recipe.calibration_scenes = _open(calibration or scenes)
    metrics = recipe.evaluate(_open(scenes), limit)
    report = {
        "network": network,
        "images": history.images,
        "minutes": round(history.seconds / 60, 1),
        **{name: round(value, 4) for name, value in metrics.items()},
    }
    typer.echo(json.dumps(report, indent=1))
    (folder / "quality.json").write_text(json.dumps(report, indent=1), "utf-8")
    if export:
        recipe.export(recipe.home(repository))


_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_PASSED_ON)
def quality(context: typer.Context) -> None:
    """Measure the served models and stage 3 as a whole on held-out scenes; --help tells how."""
    _compose("run", context.args)


@app.command("calibrate-score", context_settings=_PASSED_ON)
def calibrate_score(context: typer.Context) -> None:
    """Fit the score's calibration to the served models; --help tells how."""
    _compose("calibrate-score", context.args)


@app.command("calibrate-sweep", context_settings=_PASSED_ON)
def calibrate_sweep(context: typer.Context) -> None:
    """Fit the proposer's sweep to the served models; --help tells how."""
    _compose("calibrate-sweep", context.args)


def _compose(command: str, arguments: list[str]) -> None:
    """Become the program that composes every service: the trainer, a service itself, imports no other."""
    os.execv(sys.executable, [sys.executable, "-m", "services.quality", command, *arguments])


if __name__ == "__main__":
    app()
