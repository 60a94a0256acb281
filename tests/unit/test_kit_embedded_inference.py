"""Batches, bounds and failures of models in this process, with a small one whose batches can be seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from services.core.errors import DeadlineExceeded, Internal, InvalidInput, Overloaded, Unavailable
from services.kit.deadlines import deadline
from services.kit.inference.embedded import EmbeddedInference
from services.kit.inference.ports import Tensors, strings
from services.kit.settings import KitSettings
from tests.support.polling import eventually


class Refusal(Exception):
    """As a network refuses one request."""

    def __init__(self, message: str, *, invalid: bool) -> None:
        super().__init__(message)
        self.invalid = invalid


class Squares:
    """Squares of `x`; negative numbers are refused, and 13 breaks it."""

    name = "squares"
    version = "squares-01234567"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.entered = threading.Event()
        self.release = threading.Event()
        self.release.set()

    def warm_up(self) -> None:
        self.execute([{"x": np.zeros(1)}])
        self.batches.clear()

    def execute(self, requests: Sequence[Tensors]) -> Sequence[Tensors | Exception]:
        self.batches.append(len(requests))
        self.entered.set()
        self.release.wait(20)
        if any(request["x"].max() == 13 for request in requests):
            raise ZeroDivisionError("a bug in the network")
        return [
            Refusal("no negative numbers", invalid=True)
            if request["x"].min() < 0
            else Refusal("out of memory", invalid=False)
            if request["x"].max() > 1000
            else {"y": request["x"] ** 2, "model": strings([self.version])}
            for request in requests
        ]


def adapter(model: Squares, loader: Callable[[], Squares] | None = None, **changes: Any) -> EmbeddedInference:
    settings = KitSettings(**{"inference_timeout": 20, "inference_gather": 0.2, **changes})
    return EmbeddedInference({"squares": loader if loader is not None else lambda: model}, settings=settings)


def x(*values: float) -> dict[str, Any]:
    return {"x": np.array(values)}


def test_an_answer_is_the_models() -> None:
    inference = adapter(Squares())
    answer = inference.infer("squares", x(1, 2, 3))
    assert answer.tensors["y"].tolist() == [1, 4, 9]
    assert (answer.model.name, answer.model.weights, answer.model.version) == (
        "squares",
        Squares.version,
        "1",
    )
    inference.close()


def test_calls_that_meet_are_one_batch_up_to_its_size() -> None:
    model = Squares()
    inference = adapter(model, inference_batch=4)
    inference.infer("squares", x(0))
    model.batches.clear()
    model.entered.clear()
    model.release.clear()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(inference.infer, "squares", x(0))
        assert model.entered.wait(20)
        rest = [pool.submit(inference.infer, "squares", x(n)) for n in range(1, 9)]
        eventually(lambda: len(inference._threads["squares"]._waiting) == 8)
        model.release.set()
        assert [call.result(20).tensors["y"].tolist() for call in [first, *rest]] == [
            [n * n] for n in range(9)
        ]
    assert model.batches == [1, 4, 4]
    inference.close()


def test_each_call_gets_its_own_refusal() -> None:
    inference = adapter(Squares())

    def ask(value: float) -> str:
        try:
            return str(inference.infer("squares", x(value)).tensors["y"][0])
        except (InvalidInput, Internal) as error:
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ask, [2.0, -1.0, 2000.0]))
    assert answers == ["4.0", "InvalidInput: no negative numbers", "Internal: squares failed: out of memory"]
    inference.close()


def test_a_broken_model_fails_the_batch_and_works_the_next() -> None:
    inference = adapter(Squares())
    with pytest.raises(Internal, match="a bug in the network"):
        inference.infer("squares", x(13))
    assert inference.infer("squares", x(3)).tensors["y"].tolist() == [9]
    inference.close()


def test_a_full_queue_refuses() -> None:
    model = Squares()
    inference = adapter(model, inference_in_flight=2, inference_batch=1)
    inference.infer("squares", x(0))
    model.entered.clear()
    model.release.clear()
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(inference.infer, "squares", x(1))]
        assert model.entered.wait(20)
        calls += [pool.submit(inference.infer, "squares", x(1)) for _ in range(2)]
        eventually(lambda: len(inference._threads["squares"]._waiting) == 2)
        with pytest.raises(Overloaded):
            inference.infer("squares", x(1))
        model.release.set()
        for call in calls:
            call.result(20)
    inference.close()


def test_a_call_past_its_deadline_is_given_up_and_not_worked() -> None:
    model = Squares()
    inference = adapter(model, inference_batch=1)
    inference.infer("squares", x(0))
    model.entered.clear()
    model.release.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(inference.infer, "squares", x(1))
        assert model.entered.wait(20)
        model.batches.clear()
        with deadline(0.05), pytest.raises(DeadlineExceeded):
            inference.infer("squares", x(2))
        model.release.set()
        first.result(20)
    assert inference.infer("squares", x(3)).tensors["y"].tolist() == [9]
    assert model.batches == [1], "the one given up was left out"
    inference.close()


def test_models_are_loaded_when_first_asked_for() -> None:
    loaded: list[int] = []

    def load() -> Squares:
        loaded.append(1)
        return Squares()

    inference = adapter(Squares(), load)
    assert inference.models() == []
    assert not loaded
    eventually(lambda: inference.ready("squares"))
    assert [model.weights for model in inference.models()] == [Squares.version]
    inference.infer("squares", x(1))
    assert loaded == [1]
    assert not inference.ready("other")
    inference.close()


def test_a_model_that_cannot_be_loaded_is_unavailable_until_it_can() -> None:
    trials: list[int] = []

    def load() -> Squares:
        trials.append(1)
        if len(trials) < 3:
            raise FileNotFoundError("no weights yet")
        return Squares()

    inference = adapter(Squares(), load)
    with pytest.raises(Unavailable, match="no weights yet"):
        inference.infer("squares", x(1))
    eventually(lambda: inference.ready("squares"))
    assert inference.infer("squares", x(2)).tensors["y"].tolist() == [4]
    inference.close()


def test_a_load_that_failed_is_not_tried_at_every_question() -> None:
    trials: list[int] = []

    def load() -> Squares:
        trials.append(1)
        started = time.perf_counter()
        eventually(lambda: time.perf_counter() - started > 0.2)  # a large file
        raise FileNotFoundError("spoilt")

    inference = adapter(Squares(), load)
    with pytest.raises(Unavailable, match="spoilt"):
        inference.infer("squares", x(1))
    asked = time.monotonic()
    while time.monotonic() - asked < 0.5:
        assert not inference.ready("squares")
    assert trials == [1]
    with pytest.raises(Unavailable, match="spoilt"):
        inference.infer("squares", x(1))
    assert len(trials) == 2
    inference.close()


def test_closing_ends_the_batch_at_hand_and_refuses_the_rest() -> None:
    model = Squares()
    inference = adapter(model, inference_batch=1)
    inference.infer("squares", x(0))
    model.entered.clear()
    model.release.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(inference.infer, "squares", x(1))
        assert model.entered.wait(20)
        second = pool.submit(inference.infer, "squares", x(2))
        eventually(lambda: len(inference._threads["squares"]._waiting) == 1)
        closing = pool.submit(inference.close)
        eventually(lambda: inference._threads["squares"]._closed)
        model.release.set()
        closing.result(20)
        assert first.result(20).tensors["y"].tolist() == [1]
        with pytest.raises(Unavailable):
            second.result(20)
    with pytest.raises(Unavailable):
        inference.infer("squares", x(1))
