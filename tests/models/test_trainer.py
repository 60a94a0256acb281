"""Every bundled network's recipe on a few scenes: it learns, goes on where it stopped, and exports what
serves.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from services.networks.serving import ModelError, load
from services.networks.settings import NetworkSettings
from services.scenes import SceneSettings, make_scene
from services.scenes.arrays import write_arrays
from services.trainer.__main__ import Network, app, make_recipe
from services.trainer.checkpoint import restore_network
from services.trainer.fitting import fit
from services.trainer.optimisation import set_rate
from services.trainer.recipes.base import Recipe, Surroundings
from services.trainer.scenes import Batch, TrainingScenes
from tests.models.test_triton_contract import OUTPUTS, request_of

NAMES: tuple[Network, ...] = get_args(Network)
A_STEP = 1e-9
"""Minutes after which a fit ends with its first step."""


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for _ in write_arrays(folder, 16, 0):
        pass
    return folder


@pytest.fixture(scope="module")
def scenes(arrays: Path) -> TrainingScenes:
    return TrainingScenes(arrays)


def recipe_of(name: Network, seed: int = 3) -> Recipe:
    """With random weights, without those of the repository; but a refiner refines the bundled SAM."""
    torch.manual_seed(seed)
    repository = NetworkSettings().repository if name == "sam_refiner" else Path("nowhere")
    around = Surroundings(torch.device("cpu"), torch.float32, np.random.default_rng(seed), repository)
    return make_recipe(name, around)


def loss_of(recipe: Recipe, batch: Batch) -> Tensor:
    """The loss with the same draws each time."""
    recipe.around.rng.bit_generator.state = np.random.default_rng(8).bit_generator.state
    torch.manual_seed(8)
    return recipe.loss(batch, 0.5)[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_learns(scenes: TrainingScenes, name: Network) -> None:
    recipe = recipe_of(name)
    batch = scenes.batch(np.arange(4))
    made = recipe.optimisers()
    set_rate(made, 0.3)
    before = float(loss_of(recipe, batch).detach())
    for _ in range(6):
        for optimiser in made:
            optimiser.zero_grad()
        torch.autograd.backward(loss_of(recipe, batch))
        torch.nn.utils.clip_grad_norm_(recipe.network().parameters(), recipe.clip)
        for optimiser in made:
            optimiser.step()
    assert float(loss_of(recipe, batch).detach()) < 0.9 * before


@pytest.mark.parametrize("name", NAMES)
def test_frozen_towers_stay_as_they_are(scenes: TrainingScenes, name: Network) -> None:
    recipe = recipe_of(name)
    recipe.freeze_towers()
    towers = {id(parameter) for module in recipe.dearest() for parameter in module.parameters()}
    before = {key: value.detach().clone() for key, value in recipe.network().named_parameters()}
    made = recipe.optimisers()
    set_rate(made, 0.3)
    torch.autograd.backward(loss_of(recipe, scenes.batch(np.arange(4))))
    for optimiser in made:
        optimiser.step()
    moved = [
        id(value) for key, value in recipe.network().named_parameters() if not torch.equal(value, before[key])
    ]
    assert moved
    assert not towers & set(moved)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_goes_on_where_it_stopped_and_its_export_serves(
    scenes: TrainingScenes, name: Network, tmp_path: Path
) -> None:
    first = recipe_of(name)
    assert fit(first, scenes, tmp_path, A_STEP).images == first.batch_size
    second = recipe_of(name, seed=4)
    restore_network(tmp_path / "checkpoint.pt", second.network())
    for key, value in first.network().state_dict().items():
        assert torch.equal(value, second.network().state_dict()[key]), key
    assert fit(second, scenes, tmp_path, A_STEP).images == 2 * first.batch_size
    assert fit(recipe_of(name), scenes, tmp_path, A_STEP, fresh=True).images == first.batch_size

    second.calibration_scenes = scenes
    assert all(math.isfinite(value) for value in second.evaluate(scenes, 8).values())
    second.export(second.home(tmp_path))
    third = recipe_of(name, seed=5)
    third.start_from(third.home(tmp_path))
    for key, value in second.served().state_dict().items():
        half = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(third.served().state_dict()[key], half), key

    served = "sam" if name == "sam_refiner" else name
    if served != name:
        shutil.copy(NetworkSettings().weights("sam", "weights.safetensors"), second.home(tmp_path))
    scene = make_scene(5, SceneSettings())
    (answer,) = load(served, NetworkSettings(repository=tmp_path)).execute([request_of(served, scene)])
    assert not isinstance(answer, ModelError)
    # Only `calibrate-score` gives a verifier the two tables.
    assert set(answer) == {output for output in OUTPUTS[served] if not output.endswith("_calibration")}


def test_a_refiner_that_is_refined_sees_sams_masks_from_the_start(scenes: TrainingScenes) -> None:
    recipe, batch = recipe_of("sam_refiner"), scenes.batch(np.arange(4))
    assert recipe.loss(batch, 0.0)[1]["coarse iou"] == 0
    recipe.start_from(recipe.home(NetworkSettings().repository))
    assert recipe.loss(batch, 0.0)[1]["coarse iou"] > 0.5


def test_a_share_of_the_learning_rate_is_of_the_recipes(scenes: TrainingScenes, tmp_path: Path) -> None:
    for rate in (1.0, 0.1, 0.1):
        fit(recipe_of("sam"), scenes, tmp_path, A_STEP, rate=rate)
        checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        bases = [group["base"] for made in checkpoint["optimisers"] for group in made["param_groups"]]
        assert max(bases) == pytest.approx(1.5e-3 * rate)


# What torch's tracer looks at is its own affair.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("name", NAMES)
def test_compiled_modules_compute_the_same(scenes: TrainingScenes, name: Network) -> None:
    """Through the graphs that torch.compile takes; the code that it makes of them is torch's own matter."""
    recipe = recipe_of(name)
    batch = scenes.batch(np.arange(4))
    plain = loss_of(recipe, batch)
    for module in recipe.dearest():
        module.compile(backend="eager")
    torch.testing.assert_close(loss_of(recipe, batch), plain, rtol=1e-4, atol=1e-4)


def test_what_is_missing_is_said(tmp_path: Path, arrays: Path) -> None:
    asked = ["sam", "--scenes", str(tmp_path), "--work", str(tmp_path), "--minutes", "0.1"]
    done = CliRunner().invoke(app, ["fit", *asked], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert "holds no arrays of scenes: python -m services.scenes" in done.output
    done = CliRunner().invoke(app, ["evaluate", *asked[:-2]], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert "does not exist: fit sam first" in done.output
    asked = ["sam", "--scenes", str(arrays), "--served", "--repository", str(tmp_path), "--minutes", "0.1"]
    done = CliRunner().invoke(app, ["fit", *asked], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert "weights.safetensors does not exist" in done.output


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "inf"])
def test_a_fit_needs_time_and_leaves_the_served_weights_alone_without(
    arrays: Path, tmp_path: Path, minutes: str
) -> None:
    asked = ["sam", "--scenes", str(arrays), "--work", str(tmp_path), "--minutes", minutes, "--export"]
    done = CliRunner().invoke(app, ["fit", *asked, "--repository", str(tmp_path)], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert "more than 0 are needed" in done.output
    assert not list(tmp_path.iterdir())


def test_fewer_scenes_than_a_batch_are_refused(tmp_path: Path) -> None:
    for _ in write_arrays(tmp_path / "few", 3, 0):
        pass
    asked = ["sam", "--scenes", str(tmp_path / "few"), "--work", str(tmp_path), "--minutes", "0.1"]
    done = CliRunner().invoke(app, ["fit", *asked], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert "few holds 3 scenes, and a batch needs 8" in done.output
