"""Requests that meet are computed together and fail alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from services.networks.batching import BatchedModel
from services.networks.errors import ModelError
from services.networks.tensors import Request, Tensors, read_number


class Halves(BatchedModel[float]):
    """Answers half of `number`; a whole batch fails at a number that has none."""

    name, version = "halves", "halves-00000000"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def parse(self, request: Request) -> float:
        return read_number(request, "number", 0)

    def compute(self, batch: Sequence[float]) -> list[Tensors | ModelError]:
        self.batches.append(len(batch))
        halves = torch.tensor(list(batch)) / 2
        self.require_finite(halves)
        return [{"half": half.numpy()[None]} for half in halves]

    def warm_up(self) -> None:
        self.try_out({"number": np.array([np.inf])})


def test_an_error_of_the_batch_fails_the_request_at_fault_alone() -> None:
    model = Halves()
    numbers = [np.array([1.0]), np.array([np.nan]), np.array([1.0, 2.0]), np.array([3.0])]
    one, unfit, invalid, three = model.execute([{"number": number} for number in numbers])
    assert model.batches == [3, 1, 1, 1]
    assert isinstance(unfit, ModelError)
    assert isinstance(invalid, ModelError)
    assert (unfit.invalid, invalid.invalid) == (False, True)
    assert "halves-00000000 gave NaN or infinity" in str(unfit)
    for answer, half in ((one, 0.5), (three, 1.5)):
        assert not isinstance(answer, ModelError)
        assert answer["half"].tolist() == [half]
        assert answer["model"].tolist() == [b"halves-00000000"]
    model.execute([{"number": np.array([4.0])}] * 3)
    assert model.batches[4:] == [3]


def test_a_model_that_fails_its_warm_up_says_so() -> None:
    model = Halves()
    model.weights = Path("/models/halves")
    with pytest.raises(ModelError, match=r"infinity; its weights in /models/halves are.*fetch them again"):
        model.warm_up()
