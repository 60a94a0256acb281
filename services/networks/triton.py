"""The bridge from Triton's Python backend to a served network: strips and adds the batch dimension, maps
errors.

Each `model_repository/<model>/1/model.py` subclasses `TritonModel` and names its network; nothing else is
there.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import ValidationError

from services.networks.errors import ModelError
from services.networks.serving import ServedModel, load
from services.networks.settings import NetworkSettings, faults_of, read_settings
from services.networks.tensors import Tensors

TYPES: dict[str, np.dtype[Any]] = {
    "TYPE_FP32": np.dtype(np.float32),
    "TYPE_INT32": np.dtype(np.int32),
    "TYPE_INT64": np.dtype(np.int64),
    "TYPE_STRING": np.dtype(np.object_),
}

BUNDLED = {"sam": "weights.safetensors"}
"""Bundled weights in a version folder where they are not the folder itself."""


TRITONS_OWN = frozenset(
    {"EXECUTION_ENV_PATH", "FORCE_CPU_ONLY_INPUT_TENSORS", "TRITON_BATCH_STRATEGY_PATH", "TRITON_BATCH_DELAY"}
)
"""Parameters that Triton and its Python backend read."""


def threads_a_model() -> int:
    """torch's threads in each model's process where no setting says: half of the CPUs, since models answer
    side by side.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


class TritonModel:
    """A Python backend model. Parameters of config.pbtxt become settings, `weights` that of this network's
    weights; relative ones are looked up in the model's version folder. A parameter wins over the environment
    (TERCET_NETWORKS_*). Where neither names weights, they are those in the version folder.
    """

    network: ClassVar[str]

    def initialize(self, args: dict[str, str]) -> None:
        """Load and warm up; raises, so that the model is never READY with weights that do not serve."""
        config = json.loads(args["model_config"])
        version = Path(args["model_repository"]) / args["model_version"]
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = {tensor["name"]: TYPES[tensor["data_type"]] for tensor in config["output"]}
        logging.basicConfig(
            level=logging.INFO, format=f"{args['model_name']}: %(message)s", stream=sys.stderr
        )
        self._model: ServedModel = load(self.network, self._settings(config, args, version))
        self._model.warm_up()
        logging.getLogger(__name__).info("%s serves", self._model.version)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request; a request that is refused answers INVALID_ARG alone."""
        import triton_python_backend_utils as pb

        answers: list[Any] = [None] * len(requests)
        good, places = [], []
        for place, request in enumerate(requests):
            try:
                good.append(self._read(pb, request))
                places.append(place)
            except ModelError as fault:
                answers[place] = fault
        for place, answer in zip(places, self._model.execute(good) if good else [], strict=True):
            answers[place] = answer
        return [self._response(pb, answer) for answer in answers]

    def _settings(self, config: dict[str, Any], args: dict[str, str], version: Path) -> NetworkSettings:
        given = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        unknown = given.keys() - NetworkSettings.model_fields.keys() - {"weights"} - TRITONS_OWN
        if unknown:
            raise ModelError(
                f"config.pbtxt of {self.network} has the parameter {min(unknown)!r}, which nobody reads; "
                f"known are weights, {', '.join(sorted(NetworkSettings.model_fields))}",
                invalid=False,
            )
        weights = given.pop("weights", "")
        known = {key: value for key, value in given.items() if key not in TRITONS_OWN and value}
        if args["model_instance_kind"] == "GPU":
            known.setdefault("device", f"cuda:{args['model_instance_device_id']}")
        merged = {**read_settings().model_dump(exclude_unset=True), **known}
        merged.setdefault("threads", threads_a_model())
        if weights or f"{self.network}_weights" not in merged:
            merged[f"{self.network}_weights"] = str(version / (weights or BUNDLED.get(self.network, ".")))
        try:
            return NetworkSettings.model_validate(merged)
        except ValidationError as fault:
            raise ModelError(
                f"parameters of config.pbtxt of {self.network}: {faults_of(fault)}", invalid=False
            ) from fault

    def _read(self, pb: Any, request: Any) -> Tensors:
        tensors: Tensors = {}
        for name in self._inputs:
            tensor = pb.get_input_tensor_by_name(request, name)
            if tensor is None:
                continue
            values = tensor.as_numpy()
            if values.shape[0] != 1:
                raise ModelError(
                    f"one request is one image: tensor {name!r} has batch size {values.shape[0]}, not 1"
                )
            tensors[name] = values[0]
        return tensors

    def _response(self, pb: Any, answer: Any) -> Any:
        if isinstance(answer, ModelError):
            code = pb.TritonError.INVALID_ARG if answer.invalid else pb.TritonError.INTERNAL
            return pb.InferenceResponse(output_tensors=[], error=pb.TritonError(str(answer), code))
        tensors = [
            pb.Tensor(name, np.ascontiguousarray(answer[name].astype(kind))[None])
            for name, kind in self._outputs.items()
            if name in answer  # a grounder that answers no masks leaves theirs out
        ]
        return pb.InferenceResponse(output_tensors=tensors)
