"""Public vision-language models on a real Triton: a repository whose config names their directories."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from deploy.local.lifecycle import private_stack
from services.networks.serving import ModelError, NetworkSettings, load
from services.networks.settings import REPOSITORY
from tests.models.test_triton_contract import infer
from tests.models.test_vlm_verifier import CHOICES, request
from tests.support.vlm_directories import make_mllama, make_qwen2_5_vl


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}", value: {{ string_value: "{value}" }} }}\n'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Llama 3.2 Vision as verifier, Qwen2.5-VL as proposer."""
    root = tmp_path_factory.mktemp("vlm")
    return {
        "verifier": make_mllama(root / "mllama"),
        "concept_proposer": make_qwen2_5_vl(root / "qwen2_5_vl"),
    }


@pytest.fixture(scope="module")
def client(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[triton.InferenceServerClient]:
    repository = tmp_path_factory.mktemp("model_repository")
    for model, folder in folders.items():
        (repository / model / "1").mkdir(parents=True)
        shutil.copy(REPOSITORY / model / "1" / "model.py", repository / model / "1" / "model.py")
        bundled = (REPOSITORY / model / "config.pbtxt").read_text("utf-8")
        config = "".join(line for line in bundled.splitlines(True) if not line.startswith("parameters"))
        chosen = parameter("weights", str(folder)) + parameter("precision", "float32")
        more = parameter(model, "vlm") + parameter("vlm_tokens", "24") + parameter("vlm_batch", "2")
        (repository / model / "config.pbtxt").write_text(config + chosen + more, "utf-8")
    with (
        private_stack(["triton"], model_repository=repository, models=tuple(folders)) as stack,
        triton.InferenceServerClient(stack.environment["TERCET_TRITON_URL"]) as connected,
    ):
        yield connected


@pytest.mark.parametrize("task", CHOICES)
def test_the_verifier_answers_as_in_process(
    client: triton.InferenceServerClient, folders: dict[str, Path], task: str
) -> None:
    tensors = request(task)
    given: dict[str, Any] = {"verifier_weights": folders["verifier"], "precision": "float32", "device": "cpu"}
    model = load("verifier", NetworkSettings.model_validate(given))
    (in_process,) = model.execute([tensors])
    assert not isinstance(in_process, ModelError)
    over_triton = infer(client, "verifier", tensors)
    assert over_triton["model"].tolist() == [model.version.encode()]
    np.testing.assert_allclose(over_triton["probabilities"], in_process["probabilities"], atol=1e-4)
    np.testing.assert_allclose(over_triton["probabilities"].sum(1), 1, atol=1e-5)


def test_the_proposers_parse_failure_is_an_invalid_argument(client: triton.InferenceServerClient) -> None:
    with pytest.raises(triton.InferenceServerException) as caught:
        infer(client, "concept_proposer", {"image": request("nv")["image"]})
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    message = str(caught.value.message())
    assert "qwen2_5_vl-" in message
    assert "did not write the JSON that its prompt asks for" in message
