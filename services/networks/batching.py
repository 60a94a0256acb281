"""Parse every request on its own, compute together, answer on its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, ParamSpec, TypeVar

import numpy.typing as npt
import torch

from services.core.errors import InvalidInput
from services.networks.errors import ModelError, NotFinite
from services.networks.tensors import Answer, Request, Tensors, bytes_tensor

Parsed = TypeVar("Parsed")
Args = ParamSpec("Args")


class BatchedModel(ABC, Generic[Parsed]):
    """A served model whose requests are parsed singly and computed in a batch."""

    name: str
    version: str
    told: Mapping[str, npt.NDArray[Any]] = MappingProxyType({})
    """Tensors that every answer carries beside `model`."""
    weights: Path | None = None
    """The file or directory that it was loaded from, for errors to name."""

    @abstractmethod
    def parse(self, request: Request) -> Parsed:
        """The request in the model's terms. Raises `ModelError` or `InvalidInput`."""

    @abstractmethod
    def compute(self, batch: Sequence[Parsed]) -> list[Tensors | ModelError]:
        """One answer a parsed request."""

    @abstractmethod
    def warm_up(self) -> None:
        """Run once on made-up input."""

    def try_out(self, request: Request) -> None:
        """Answer a made-up request. Raises its `ModelError`: a model that fails on it is not fit to serve."""
        (answer,) = self.execute([request])
        if isinstance(answer, ModelError):
            raise answer

    def require_finite(self, *values: torch.Tensor) -> None:
        """Raise `NotFinite` for NaN or infinity in what the network computed."""
        if not all(bool(value.isfinite().all()) for value in values):
            raise NotFinite(self.version)

    def answered(
        self, answer: Callable[Args, Tensors], *given: Args.args, **named: Args.kwargs
    ) -> Tensors | ModelError:
        """What `answer` makes of a parsed request, or the `ModelError` that it raises."""
        try:
            return answer(*given, **named)
        except ModelError as fault:
            return fault

    def _computed(self, batch: Sequence[Parsed]) -> list[Tensors | ModelError]:
        """`compute`; where it raises a `ModelError`, one by one, so that only the request at fault fails."""
        try:
            return self.compute(batch)
        except ModelError as fault:
            if len(batch) == 1:
                return [fault]
            return [answer for one in batch for answer in self._computed([one])]

    @torch.inference_mode()
    def execute(self, requests: Sequence[Request]) -> list[Answer | ModelError]:
        """One answer or error a request, in order."""
        answers: list[Answer | ModelError] = []
        good: list[tuple[int, Parsed]] = []
        for number, request in enumerate(requests):
            try:
                good.append((number, self.parse(request)))
                answers.append(ModelError("not computed", invalid=False))
            except ModelError as fault:
                answers.append(fault)
            except InvalidInput as fault:
                answers.append(ModelError(str(fault)))
        if good:
            computed = self._computed([parsed for _, parsed in good])
            for (number, _), answer in zip(good, computed, strict=True):
                if isinstance(answer, NotFinite):
                    answers[number] = answer.of(self.weights)
                elif isinstance(answer, ModelError):
                    answers[number] = answer
                else:
                    answers[number] = {**answer, **self.told, "model": bytes_tensor([self.version])}
        return answers
