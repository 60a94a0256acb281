"""The served networks behind one contract, used by Triton's model.py and by the one-process mode alike."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from services.networks.batching import BatchedModel
from services.networks.errors import ModelError
from services.networks.settings import NetworkSettings, read_settings
from services.networks.tensors import Answer, Request

_LOADING = threading.Lock()
"""One network at a time: transformers' lazy modules do not bear being imported by several threads at once."""

NAMES = ("sam", "concept_grounder", "concept_proposer", "verifier")


class ServedModel(Protocol):
    """A loaded network. `version` is `<registry name>-<8 hex of the weights' hash>`, the `model` of every
    answer.
    """

    name: str
    version: str

    def execute(self, requests: Sequence[Request]) -> list[Answer | ModelError]:
        """One answer or error a request, in order; a bad request never spoils its neighbours. Thread-safe."""

    def warm_up(self) -> None:
        """Run once on made-up input, so that the first real request is not slow."""


def load(name: str, settings: NetworkSettings | None = None) -> ServedModel:
    """Load a network by its name in the model repository. Raises `ModelError` naming the file at fault and
    the fix.
    """
    settings = settings or read_settings()
    if name not in NAMES:
        raise ModelError(f"no model is called {name!r}; known are {', '.join(NAMES)}", invalid=False)
    torch.set_num_threads(settings.threads or len(os.sched_getaffinity(0)))
    with _LOADING:
        model = _loader(name)(settings)
    model.weights = settings.weights(name)
    return model


def _loader(name: str) -> Callable[[NetworkSettings], BatchedModel[Any]]:
    """Imported here, so that a process that serves one network does not load the libraries of the others."""
    loader: Callable[[NetworkSettings], BatchedModel[Any]]
    if name == "sam":
        from services.networks.sam.served import load_served as loader
    elif name == "concept_grounder":
        from services.networks.grounder.served import load_served as loader
    elif name == "concept_proposer":
        from services.networks.proposer.served import load_served as loader
    else:
        from services.networks.verifier.served import load_served as loader
    return loader


__all__ = ["NAMES", "Answer", "ModelError", "NetworkSettings", "Request", "ServedModel", "load"]
