"""What a fit leaves behind: the next goes on from it, and one that cannot be used is told by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from services.scenes.arrays import write_arrays
from services.trainer.__main__ import app, make_recipe
from services.trainer.checkpoint import UnusableCheckpoint, restore
from services.trainer.fitting import fit
from services.trainer.recipes.base import Recipe, Surroundings
from services.trainer.scenes import TrainingScenes

A_STEP = 1e-9
"""Minutes after which a fit ends with its first step."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> TrainingScenes:
    folder = tmp_path_factory.mktemp("scenes")
    list(write_arrays(folder, 32, 0))
    return TrainingScenes(folder)


def sam(seed: int = 3) -> Recipe:
    torch.manual_seed(seed)
    around = Surroundings(torch.device("cpu"), torch.float32, np.random.default_rng(seed), Path("nowhere"))
    return make_recipe("sam", around)


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    assert done.exit_code == 2, done.output
    return done.output


def test_a_fit_that_goes_on_draws_what_was_not_drawn_before(scenes: TrainingScenes, tmp_path: Path) -> None:
    first = sam()
    fit(first, scenes, tmp_path, A_STEP)
    wanted = first.around.rng.random(), float(torch.rand(1))
    again = sam()
    fresh = again.around.rng.random(), float(torch.rand(1))
    restore(tmp_path / "checkpoint.pt", again, again.optimisers())
    assert (again.around.rng.random(), float(torch.rand(1))) == wanted
    assert wanted[0] != fresh[0]


def test_a_fit_of_few_steps_leaves_its_log_and_curves(scenes: TrainingScenes, tmp_path: Path) -> None:
    history = fit(sam(), scenes, tmp_path, A_STEP)
    (logged,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert logged == history.points[0]
    assert logged["loss"] > 0
    assert len(np.unique(np.asarray(Image.open(tmp_path / "curves.png").convert("L")))) > 2
    fit(sam(), scenes, tmp_path, A_STEP, fresh=True)
    assert len((tmp_path / "log.jsonl").read_text("utf-8").splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("cut", "is damaged or no checkpoint"),
        (b"", "is damaged or no checkpoint"),
        (b"a text", "is damaged or no checkpoint"),
        ([1, 2], "is no checkpoint of a fit"),
        ({"weight": torch.zeros(2)}, "is no checkpoint of a fit (it has no 'images')"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_an_unusable_checkpoint_is_told_by_name(
    scenes: TrainingScenes, tmp_path: Path, content: object, told: str, command: str
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    if content == "cut":
        fit(sam(), scenes, tmp_path, A_STEP)
        checkpoint.write_bytes(checkpoint.read_bytes()[:-4000])
    elif isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    before = checkpoint.read_bytes()
    minutes = ["--minutes", "0.1"] if command == "fit" else []
    output = refusal(command, "sam", "--scenes", str(scenes.folder), "--work", str(tmp_path), *minutes)
    assert "checkpoint.pt" in output
    assert told in output
    assert "start anew with --fresh" in " ".join(output.split())
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_others_is_told(scenes: TrainingScenes, tmp_path: Path) -> None:
    fit(sam(), scenes, tmp_path, A_STEP)
    asked = ["--scenes", str(scenes.folder), "--work", str(tmp_path), "--minutes", "0.1"]
    assert "is a checkpoint of another network" in refusal("fit", "concept_grounder", *asked)
    frozen = sam()
    frozen.freeze_towers()
    with pytest.raises(UnusableCheckpoint, match="give --frozen-towers as it did"):
        restore(tmp_path / "checkpoint.pt", frozen, frozen.optimisers())


def test_arguments_that_make_no_sense_are_refused(scenes: TrainingScenes, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", "utf-8")
    right = ["sam", "--scenes", str(scenes.folder), "--work", str(tmp_path), "--minutes", "0.1"]
    assert "is a file" in refusal("fit", "sam", "--scenes", str(file), *right[3:])
    assert "is a file" in refusal("fit", *right[:3], "--work", str(file), *right[5:])
    assert "more than 0 is needed" in refusal("fit", *right, "--rate", "nan")
    assert "tpu" in refusal("fit", *right, "--device", "tpu")
    assert "--limit" in refusal("evaluate", *right[:-2], "--limit", "0")
    missing = ["--before", str(tmp_path / "none.safetensors"), "--calibration", str(scenes.folder)]
    assert "none.safetensors does not exist" in refusal("follow", "verifier", *missing)


def test_damaged_arrays_are_told(scenes: TrainingScenes, tmp_path: Path) -> None:
    for name in ("images.npy", "ids.npy", "objects.npy"):
        (tmp_path / name).write_bytes((scenes.folder / name).read_bytes())
    (tmp_path / "images.npy").write_bytes((tmp_path / "images.npy").read_bytes()[:5000])
    asked = ["--scenes", str(tmp_path), "--work", str(tmp_path / "work"), "--minutes", "0.1"]
    assert "holds damaged arrays of scenes" in refusal("fit", "sam", *asked)
    list(write_arrays(tmp_path / "fewer", 8, 0))
    (tmp_path / "images.npy").write_bytes((tmp_path / "fewer" / "images.npy").read_bytes())
    assert "are of different shapes" in refusal("fit", "sam", *asked)
