"""Public checkpoints on a real Triton: SAM ViT-B by a parameter, SAM 3 by the environment; beside them a
model that cannot be loaded, which harms no other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from deploy.local.lifecycle import LocalStack, StackError
from deploy.local.ports import Ports
from deploy.local.spec import REPOSITORY, StackSpec
from services.core import masks as rle
from services.core.errors import Unavailable
from services.kit.inference.ports import strings
from services.kit.inference.triton import TritonInference
from services.kit.settings import KitSettings
from services.networks.checkpoints import fingerprint
from services.networks.serving import ModelError, NetworkSettings, load
from tests.support.public_grounders import picture, save_sam3
from tests.support.public_sam import save_pth

PHRASES = ["yellow bus", "red cup"]


@dataclass(frozen=True)
class Served:
    """A running Triton, what `up` said of it, and the checkpoints."""

    stack: LocalStack
    refusal: str
    repository: Path
    sam: Path
    sam3: Path

    @property
    def url(self) -> str:
        return self.stack.environment["TERCET_TRITON_URL"]

    @property
    def inference(self) -> TritonInference:
        return TritonInference(self.url, settings=KitSettings(inference_timeout=240, inference_attempts=1))


def parameters(repository: Path, model: str, **values: str) -> None:
    with (repository / model / "config.pbtxt").open("a") as config:
        for key, value in values.items():
            config.write(f'parameters {{ key: "{key}", value: {{ string_value: "{value}" }} }}\n')


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("triton")
    repository = root / "models"
    shutil.copytree(REPOSITORY / "model_repository", repository, ignore=shutil.ignore_patterns("*.png"))
    sam, sam3 = save_pth("vit_b", root / "sam_vit_b_01ec64.pth"), save_sam3(root / "sam3")
    parameters(repository, "sam", sam="vit_b", weights=str(sam))
    broken = repository / "verifier" / "1" / "weights.safetensors"
    broken.write_bytes(broken.read_bytes()[:-100])
    stack = LocalStack(
        StackSpec(state=root / "state", ports=Ports.free(), parts=("triton",), model_repository=repository)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERCET_NETWORKS_CONCEPT_GROUNDER_WEIGHTS", str(sam3))
        patch.setenv("TERCET_NETWORKS_PRECISION", "float32")
        try:
            with pytest.raises(StackError) as refused:
                stack.up(owned=True)
            yield Served(stack, str(refused.value), repository, sam, sam3)
        finally:
            stack.down()


def test_up_names_the_bad_file_and_the_fix(served: Served) -> None:
    assert "models that cannot be loaded (the others serve): verifier: " in served.refusal
    assert "verifier/1/weights.safetensors is damaged or truncated" in served.refusal
    assert "fetch it again" in served.refusal


def test_only_the_bad_model_is_not_ready(served: Served) -> None:
    inference = served.inference
    ready = {
        name: inference.ready(name) for name in ("sam", "concept_grounder", "concept_proposer", "verifier")
    }
    assert ready == {"sam": True, "concept_grounder": True, "concept_proposer": True, "verifier": False}
    with pytest.raises(Unavailable, match="verifier"):
        inference.infer("verifier", {"image": strings([picture()]), "task": strings(["nv"])})
    inference.close()


def test_sam3_answers_masks_over_triton_as_in_process(served: Served) -> None:
    asked = {
        "image": strings([picture()]),
        "phrases": strings(PHRASES),
        "threshold": np.array([0.05], np.float32),
    }
    answer = served.inference.infer("concept_grounder", asked)
    assert answer.model.weights == f"sam3-{fingerprint(served.sam3)}"
    settings = NetworkSettings(concept_grounder_weights=served.sam3, precision="float32", threads=1)
    (expected,) = load("concept_grounder", settings).execute([asked])
    assert not isinstance(expected, ModelError)
    assert set(answer.tensors) == set(expected)
    assert len(expected["rles"]) > 0
    for name, values in expected.items():
        if values.dtype == np.object_:
            assert answer.tensors[name].tolist() == values.tolist(), name
        else:
            np.testing.assert_allclose(answer.tensors[name], values, atol=1e-4, err_msg=name)


def test_vit_b_segments_over_triton(served: Served) -> None:
    asked: dict[str, Any] = {
        "image": strings([picture()]),
        "boxes": np.array([[20, 10, 30, 30]], np.float32),
    }
    answer = served.inference.infer("sam", asked)
    assert answer.model.weights == f"sam-vit_b-{fingerprint(served.sam)}"
    (counts,) = answer.tensors["rles"]
    assert rle.area(counts, 60, 90) == answer.tensors["areas"][0]
    log = served.stack.log("triton").read_text()
    assert f"weights {served.sam} have SHA-256 " in log
    assert f"sam: {answer.model.weights} serves" in log


def test_a_reload_that_fails_leaves_the_old_weights_serving(served: Served) -> None:
    grounder = served.repository / "concept_grounder" / "config.pbtxt"
    before = grounder.read_text()
    parameters(served.repository, "concept_grounder", weights=os.fspath(served.sam3 / "elsewhere"))
    try:
        with triton.InferenceServerClient(served.url) as client:
            with pytest.raises(triton.InferenceServerException, match="elsewhere does not exist"):
                client.load_model("concept_grounder")
            assert client.is_model_ready("sam")
            assert client.is_model_ready("concept_grounder")
    finally:
        grounder.write_text(before)
