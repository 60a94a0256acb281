"""What Triton's bridge makes of a config.pbtxt's `parameters` and of the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.networks.errors import ModelError
from services.networks.serving import load
from services.networks.triton import TritonModel


class Sam(TritonModel):
    network = "sam"


def initialize(folder: Path, **parameters: str) -> None:
    """As Triton does, on a repository without weights."""
    config = {
        "input": [],
        "output": [],
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }
    Sam().initialize(
        {
            "model_config": json.dumps(config),
            "model_repository": str(folder),
            "model_version": "1",
            "model_name": "sam",
            "model_instance_kind": "CPU",
        }
    )


@pytest.mark.parametrize("key", ["wieghts", "sam_weight", "Threads", "REPOSITORY"])
def test_a_misspelt_parameter_is_refused_and_the_known_ones_are_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelError, match=rf"config\.pbtxt of sam .*'{key}'.*are weights, .*sam_weights"):
        initialize(tmp_path, **{key: "x"})


def test_parameters_of_the_backend_are_left_to_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"/1/mine\.pth does not exist"):
        initialize(tmp_path, weights="mine.pth", EXECUTION_ENV_PATH="/env.tar.gz", threads="1")


def test_a_parameters_bad_value_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.pbtxt of sam: precision: .*'float32'.*, not 'fp16'$"):
        initialize(tmp_path, precision="fp16")


def test_a_bad_value_of_the_environment_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERCET_NETWORKS_PRECISION", "fp16")
    with pytest.raises(ModelError, match=r"TERCET_NETWORKS_PRECISION: .*'float32'.*, not 'fp16'$"):
        initialize(tmp_path)
    with pytest.raises(ModelError, match=r"TERCET_NETWORKS_PRECISION"):
        load("sam")
