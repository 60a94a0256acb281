"""The served models, called as the services call them in the one-process mode, and what they cost."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.kit.inference.embedded import EmbeddedInference
from services.kit.inference.ports import Tensors
from services.kit.settings import KitSettings
from services.networks.serving import NAMES, Answer, ModelError, Request, ServedModel, load
from services.networks.settings import NetworkSettings


class Costs:
    """Processor seconds by name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = defaultdict(float)

    def add(self, name: str, seconds: float) -> None:
        with self._lock:
            self._seconds[name] += seconds

    def taken(self) -> dict[str, float]:
        """What was added since the last call."""
        with self._lock:
            seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds


class CostedModel:
    """A served model whose processor time is counted. Its thread does all its work: torch has one."""

    def __init__(self, model: ServedModel, costs: Costs) -> None:
        self.name, self.version = model.name, model.version
        self._model, self._costs = model, costs

    def execute(self, requests: Sequence[Request]) -> list[Answer | ModelError]:
        started = time.thread_time()
        answers = self._model.execute(requests)
        self._costs.add(self.name, time.thread_time() - started)
        return answers

    def warm_up(self) -> None:
        self._model.warm_up()


class Models:
    """The four served models behind the services' inference port."""

    def __init__(self, settings: NetworkSettings) -> None:
        self.costs = Costs()
        served = {name: CostedModel(load(name, settings), self.costs) for name in NAMES}
        for model in served.values():
            model.warm_up()
        self.costs.taken()
        self.versions: Mapping[str, str] = {name: model.version for name, model in served.items()}
        loaders: dict[str, Callable[[], Any]] = {name: _handing(model) for name, model in served.items()}
        # Images that are worked at a time bound the calls in flight; here no caller is to be refused.
        self.inference = EmbeddedInference(loaders, settings=KitSettings(inference_timeout=600))

    def ask(self, model: str, tensors: Tensors) -> Mapping[str, NDArray[Any]]:
        """The model's answer. Raises what the port raises."""
        return self.inference.infer(model, tensors).tensors

    def close(self) -> None:
        self.inference.close()


def indices(values: Sequence[int]) -> NDArray[np.int32]:
    """An INT32 tensor."""
    return np.array(values, dtype=np.int32)


def _handing(model: CostedModel) -> Callable[[], CostedModel]:
    return lambda: model
