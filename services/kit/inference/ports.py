"""What inference is. Adapters: `services.kit.inference.triton` (real) and `services.kit.inference.embedded`.

Tensors have no batch dimension here: one call is one image, and the server batches calls that meet. BYTES
tensors are object arrays of bytes. The tensors of each model are in `model_repository/README.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tercet.v1 import concepts_pb2

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's output tensors and which model made them."""

    tensors: Tensors
    model: concepts_pb2.ModelVersion


class ServedModel(Protocol):
    """A network in this process, as `services.networks.serving` loads it.

    `version` is `<registry name>-<first 8 hex of the weights' SHA-256>`.
    """

    name: str
    version: str

    def execute(self, requests: Sequence[Tensors]) -> Sequence[Tensors | Exception]:
        """One answer or error for each request, in order; an error with a true `invalid` is the request's."""

    def warm_up(self) -> None:
        """Run once, so that the first call is not slow."""


class Inference(Protocol):
    """Served models. Thread-safe: calls in flight at the same time are batched by the server."""

    def infer(self, model: str, inputs: Tensors) -> Answer:
        """The model's answer for one image.

        Raises `InvalidInput` when the model refuses this input (do not retry), `DeadlineExceeded` when it
        takes too long, `Overloaded` when too many calls wait, `Unavailable` when the model cannot be reached
        after retries or the circuit is open, and `Internal` when the model itself fails.
        """

    def ready(self, model: str) -> bool:
        """Whether the model serves."""

    def models(self) -> Sequence[concepts_pb2.ModelVersion]:
        """The models that serve."""

    def close(self) -> None:
        """Give the connections back."""


def strings(values: Sequence[str | bytes]) -> NDArray[np.object_]:
    """A BYTES tensor [N]."""
    tensor = np.empty(len(values), dtype=np.object_)
    tensor[:] = [value.encode() if isinstance(value, str) else value for value in values]
    return tensor
