"""The Triton adapter against a server that speaks its protocol and fails as Triton fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from services.core.errors import DeadlineExceeded, Internal, InvalidInput, Overloaded, Unavailable
from services.kit import tracing
from services.kit.clock import ManualClock
from services.kit.deadlines import deadline
from services.kit.inference.ports import strings
from services.kit.inference.triton import TritonInference, connect
from services.kit.settings import KitSettings
from tercet.v1 import concepts_pb2

Behaviour = Callable[[Any], None]
MODEL = concepts_pb2.ModelVersion(name="scaler", version="3", weights="scaler-0123abcd")


def at_once(_: grpc.ServicerContext) -> None:
    """Answer without further ado."""


class Scaler(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A model: `words` reversed, `numbers` doubled. Before it answers it does what the test asks for."""

    def __init__(self) -> None:
        self.behave: Behaviour = at_once
        self.shapes: dict[str, list[int]] = {}
        self.traceparent = ""
        self.calls = 0
        self.batch = self.repeats = 1

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls += 1
        self.traceparent = str(dict(context.invocation_metadata()).get("traceparent", ""))
        self.behave(context)
        self.shapes = {given.name: list(given.shape) for given in request.inputs}
        raw = dict(zip((given.name for given in request.inputs), request.raw_input_contents, strict=True))
        words = strings([word[::-1] for word in deserialize_bytes_tensor(raw["words"]).tolist()])
        numbers = np.frombuffer(raw["numbers"], np.float32) * 2
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="3")
        for name, datatype, shape, content in (
            ("words", "BYTES", [self.batch, *self.shapes["words"][1:]], _bytes(words) * self.repeats),
            ("numbers", "FP32", self.shapes["numbers"], numbers.tobytes()),
            ("model", "BYTES", [1, 1], _bytes(strings([b"scaler-0123abcd"]))),
        ):
            answer.outputs.add(name=name, datatype=datatype, shape=shape)
            answer.raw_output_contents.append(content)
        return answer

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ModelReadyResponse(ready=request.name == "scaler")

    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> Any:
        index = service_pb2.RepositoryIndexResponse()
        index.models.add(name="scaler", version="3", state="READY")
        index.models.add(name="broken", version="1", state="UNAVAILABLE", reason="no weights")
        return index


def _bytes(tensor: Any) -> bytes:
    serialized = serialize_byte_tensor(tensor)
    return bytes(serialized.item()) if serialized.size else b""


class Wire:
    """The server and its model."""

    def __init__(self, address: str) -> None:
        self.model = Scaler()
        self.server = grpc.server(ThreadPoolExecutor(16))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self.model, self.server)
        self.address = address
        self.server.add_insecure_port(address)
        self.server.start()


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    running = Wire(f"unix:{tmp_path}/triton.sock")
    yield running
    running.server.stop(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def inference(wire: Wire, clock: ManualClock) -> Iterator[TritonInference]:
    settings = KitSettings(
        inference_timeout=10,
        inference_attempts=3,
        inference_in_flight=4,
        circuit_failures=2,
        circuit_reset=30,
    )
    adapter = connect(wire.address, settings=settings, clock=clock)
    yield adapter
    adapter.close()


def question(words: int = 3) -> dict[str, Any]:
    return {
        "words": strings([b"w%d" % n for n in range(words)]),
        "numbers": np.arange(6, dtype=np.float32).reshape(3, 2),
    }


def aborting(code: grpc.StatusCode, message: str, *, times: int = 10**9) -> Behaviour:
    left = [times]

    def behave(context: grpc.ServicerContext) -> None:
        if left[0]:
            left[0] -= 1
            context.abort(code, message)

    return behave


def test_the_batch_dimension_is_added_and_taken_off(wire: Wire, inference: TritonInference) -> None:
    answer = inference.infer("scaler", question())
    assert wire.model.shapes == {"words": [1, 3], "numbers": [1, 3, 2]}
    assert answer.tensors["words"].tolist() == [b"0w", b"1w", b"2w"]
    np.testing.assert_array_equal(answer.tensors["numbers"], question()["numbers"] * 2)
    assert (answer.model.name, answer.model.version, answer.model.weights) == (
        "scaler",
        "3",
        "scaler-0123abcd",
    )


def test_empty_tensors_keep_their_shape(inference: TritonInference) -> None:
    answer = inference.infer("scaler", {"words": strings([]), "numbers": np.zeros((0, 4), np.float32)})
    assert answer.tensors["words"].shape == (0,)
    assert answer.tensors["numbers"].shape == (0, 4)


def test_an_answer_of_another_batch_is_an_inner_error(wire: Wire, inference: TritonInference) -> None:
    wire.model.batch = wire.model.repeats = 3
    with pytest.raises(Internal, match="batch dimension"):
        inference.infer("scaler", question())
    wire.model.repeats = 1
    with pytest.raises(Internal, match="its content"):
        inference.infer("scaler", question())


def test_only_ready_models_are_listed(inference: TritonInference) -> None:
    assert [(model.name, model.version, model.weights) for model in inference.models()] == [
        ("scaler", "3", "")
    ]
    inference.infer("scaler", question())
    assert inference.models()[0].weights == "scaler-0123abcd"
    assert inference.ready("scaler")
    assert not inference.ready("broken")


def test_the_trace_reaches_triton(wire: Wire, inference: TritonInference) -> None:
    with tracing.span("work"):
        inference.infer("scaler", question())
        assert tracing.trace_id() in wire.model.traceparent


@pytest.mark.parametrize(
    ("code", "message", "expected", "calls"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "the image is truncated", InvalidInput, 1),
        (grpc.StatusCode.INTERNAL, "Failed to process the request(s)", Internal, 1),
        (grpc.StatusCode.UNKNOWN, "CUDA error", Internal, 1),
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", Unavailable, 3),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'scaler' is not found", Unavailable, 3),
        (grpc.StatusCode.INTERNAL, "Stub process 'scaler_0' is not healthy.", Unavailable, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "out of slots", Overloaded, 3),
    ],
)
def test_what_triton_says_is_said_in_our_words_and_what_may_pass_is_tried_again(
    wire: Wire,
    inference: TritonInference,
    code: grpc.StatusCode,
    message: str,
    expected: type[Exception],
    calls: int,
) -> None:
    wire.model.behave = aborting(code, message)
    with pytest.raises(expected) as raised:
        inference.infer("scaler", question())
    assert type(raised.value) is expected
    assert message in str(raised.value)
    assert wire.model.calls == calls


def test_a_passing_failure_is_not_seen(wire: Wire, inference: TritonInference, clock: ManualClock) -> None:
    started = clock.monotonic()
    wire.model.behave = aborting(grpc.StatusCode.UNAVAILABLE, "loading", times=2)
    assert inference.infer("scaler", question()).model.version == "3"
    assert wire.model.calls == 3
    assert clock.monotonic() > started, "with pauses between"


def test_a_model_that_keeps_failing_is_left_alone_for_a_while(
    wire: Wire, inference: TritonInference, clock: ManualClock
) -> None:
    wire.model.behave = aborting(grpc.StatusCode.UNAVAILABLE, "away")
    for _ in range(2):
        with pytest.raises(Unavailable, match="away"):
            inference.infer("scaler", question())
    calls = wire.model.calls
    with pytest.raises(Unavailable, match="kept failing"):
        inference.infer("scaler", question())
    assert wire.model.calls == calls, "nothing was sent"
    with pytest.raises(Unavailable, match="away"):
        inference.infer("other", question())

    clock.advance(31)
    with pytest.raises(Unavailable, match="away"):
        inference.infer("scaler", question())
    with pytest.raises(Unavailable, match="kept failing"):
        inference.infer("scaler", question())

    clock.advance(31)
    wire.model.behave = at_once
    for _ in range(3):
        inference.infer("scaler", question())


def test_a_model_that_refuses_bad_input_is_well(wire: Wire, inference: TritonInference) -> None:
    wire.model.behave = aborting(grpc.StatusCode.INVALID_ARGUMENT, "bad image")
    for _ in range(5):
        with pytest.raises(InvalidInput):
            inference.infer("scaler", question())
    wire.model.behave = at_once
    inference.infer("scaler", question())


def test_the_callers_deadline_counts_and_says_nothing_about_the_model(
    wire: Wire, inference: TritonInference
) -> None:
    release = threading.Event()

    def hold(_: grpc.ServicerContext) -> None:
        release.wait(20)

    wire.model.behave = hold
    for _ in range(3):
        with deadline(0.1), pytest.raises(DeadlineExceeded):
            inference.infer("scaler", question())
    release.set()
    wire.model.behave = at_once
    inference.infer("scaler", question())


def test_calls_go_in_parallel_up_to_a_bound_and_more_are_refused(
    wire: Wire, inference: TritonInference
) -> None:
    everyone = threading.Barrier(5)
    release = threading.Event()

    def meet(_: grpc.ServicerContext) -> None:
        everyone.wait(20)
        release.wait(20)

    wire.model.behave = meet
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(inference.infer, "scaler", question()) for _ in range(4)]
        everyone.wait(20)  # all four are in the server at the same time
        with pytest.raises(Overloaded):
            inference.infer("scaler", question())
        release.set()
        assert len({call.result(20).model.name for call in calls}) == 1


def test_an_absent_server_is_unavailable_and_not_ready(tmp_path: Path) -> None:
    settings = KitSettings(inference_attempts=2, circuit_failures=10)
    adapter = connect(f"unix:{tmp_path}/nobody.sock", settings=settings, clock=ManualClock())
    assert not adapter.ready("scaler")
    with pytest.raises(Unavailable):
        adapter.models()
    with pytest.raises(Unavailable):
        adapter.infer("scaler", question())
    adapter.close()


def test_a_restarted_server_is_found_again(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/triton.sock"
    first = Wire(address)
    adapter = connect(address, settings=KitSettings(inference_attempts=20, inference_timeout=20))
    adapter.infer("scaler", question())
    first.server.stop(0).wait()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(adapter.infer, "scaler", question())
        second = Wire(address)
        assert call.result(30).model.version == "3"
    second.server.stop(0)
    adapter.close()
