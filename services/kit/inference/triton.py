"""Models on Triton Inference Server, by gRPC."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.core.errors import (
    DeadlineExceeded,
    Internal,
    InvalidInput,
    Overloaded,
    TercetError,
    TooLarge,
    Unavailable,
)
from services.kit import metrics, tracing
from services.kit.clock import Clock, SystemClock
from services.kit.deadlines import deadline, remaining, within
from services.kit.inference.circuit import Circuit
from services.kit.inference.measured import measured
from services.kit.inference.ports import Answer, Tensors
from services.kit.logging import get_logger
from services.kit.retry import Backoff, retry
from services.kit.settings import KitSettings
from tercet.v1 import concepts_pb2

_LOG = get_logger(__name__)

_CONTROL_TIMEOUT: Final = 5.0
_CHANNEL: Final[list[tuple[str, Any]]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.enable_http_proxy", 0),
]
# Refusals whose words say more than their code: the model is (re)loading, or its process died and is started.
_PASSING: Final = (
    "unknown model",
    "no available versions",
    "stub process",
    "not ready",
    "server is stopping",
)


class TritonInference:
    """`services.kit.inference.ports.Inference` on a Triton server. Connects with the first call.

    Triton's tensors have a leading batch dimension, 1 for a request: it is added to the inputs and taken off
    the outputs here.
    """

    def __init__(self, url: str, *, settings: KitSettings, clock: Clock | None = None) -> None:
        self._client = triton.InferenceServerClient(url, channel_args=_CHANNEL)
        self._settings = settings
        self._clock = clock if clock is not None else SystemClock()
        self._backoff = Backoff(settings.inference_attempts)
        self._slots = threading.BoundedSemaphore(settings.inference_in_flight)
        self._lock = threading.Lock()
        self._circuits: dict[str, Circuit] = {}
        self._weights: dict[tuple[str, str], str] = {}

    def infer(self, model: str, inputs: Tensors) -> Answer:
        """The model's answer for one image; see the port for what is raised."""
        request = [_input(name, tensor) for name, tensor in inputs.items()]
        if not self._slots.acquire(blocking=False):
            raise Overloaded(f"{self._settings.inference_in_flight} model calls are in flight")
        try:
            with measured(model):
                return self._guarded(model, request)
        finally:
            self._slots.release()

    def ready(self, model: str) -> bool:
        """Whether the model serves; False also when Triton cannot be reached."""
        try:
            return bool(self._client.is_model_ready(model, client_timeout=_CONTROL_TIMEOUT))
        except InferenceServerException:
            return False

    def models(self) -> Sequence[concepts_pb2.ModelVersion]:
        """The versions that serve; `weights` is known of those that have answered here, else empty."""
        try:
            index = self._client.get_model_repository_index(client_timeout=_CONTROL_TIMEOUT)
        except InferenceServerException as error:
            raise _core_error("the model repository", error) from error
        return [
            concepts_pb2.ModelVersion(
                name=entry.name,
                version=entry.version,
                weights=self._weights.get((entry.name, entry.version), ""),
            )
            for entry in sorted(index.models, key=lambda entry: (entry.name, entry.version))
            if entry.state == "READY"
        ]

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def _guarded(self, model: str, request: list[Any]) -> Answer:
        """Retries within the deadline, and the circuit around them."""
        circuit = self._circuit(model)
        circuit.enter()
        left = remaining()
        hurried = left is not None and left < self._settings.inference_timeout
        try:
            with deadline(self._settings.inference_timeout):
                answer = retry(
                    lambda: self._attempt(model, request),
                    backoff=self._backoff,
                    clock=self._clock,
                    retried=lambda error: self._retried(model, error),
                )
        except DeadlineExceeded:
            # A caller in a hurry says nothing about the model.
            if not hurried:
                circuit.failed()
            raise
        except Unavailable:
            circuit.failed()
            raise
        except TercetError:
            circuit.succeeded()
            raise
        circuit.succeeded()
        return answer

    def _attempt(self, model: str, request: list[Any]) -> Answer:
        traceparent = tracing.traceparent()
        try:
            result = self._client.infer(
                model,
                request,
                client_timeout=within(self._settings.inference_timeout),
                headers={tracing.TRACEPARENT: traceparent} if traceparent else None,
            )
        except InferenceServerException as error:
            raise _core_error(model, error) from error
        response = result.get_response()
        tensors = {output.name: _output(model, output.name, result) for output in response.outputs}
        weights = _weights(tensors)
        self._weights[response.model_name, response.model_version] = weights
        return Answer(
            tensors=tensors,
            model=concepts_pb2.ModelVersion(
                name=response.model_name, version=response.model_version, weights=weights
            ),
        )

    def _retried(self, model: str, error: Exception) -> None:
        metrics.INFERENCE_RETRIES.labels(model).inc()
        _LOG.warning("model call tried again", model=model, reason=str(error))

    def _circuit(self, model: str) -> Circuit:
        with self._lock:
            if model not in self._circuits:
                self._circuits[model] = Circuit(
                    model,
                    failures=self._settings.circuit_failures,
                    reset=self._settings.circuit_reset,
                    clock=self._clock,
                )
            return self._circuits[model]


def _input(name: str, tensor: np.ndarray[Any, Any]) -> Any:
    datatype = np_to_triton_dtype(tensor.dtype)
    if datatype is None:
        raise Internal(f"tensor {name} has dtype {tensor.dtype}, which Triton has not")
    given = triton.InferInput(name, [1, *tensor.shape], datatype)
    given.set_data_from_numpy(tensor[np.newaxis])
    return given


def _output(model: str, name: str, result: Any) -> np.ndarray[Any, Any]:
    try:
        tensor: np.ndarray[Any, Any] = result.as_numpy(name)
    except ValueError as error:
        raise Internal(f"{model} answered {name} of a shape that its content has not: {error}") from error
    if tensor.ndim == 0 or tensor.shape[0] != 1:
        raise Internal(f"{model} answered {name} of shape {tensor.shape}, without a batch dimension of 1")
    without_batch: np.ndarray[Any, Any] = tensor[0]
    return without_batch


def _weights(tensors: Tensors) -> str:
    """What the model says of its weights, in the `model` tensor."""
    if "model" not in tensors or tensors["model"].size == 0:
        return ""
    weights = tensors["model"].flat[0]
    return weights.decode() if isinstance(weights, bytes) else str(weights)


def _core_error(model: str, error: InferenceServerException) -> TercetError:
    message = str(error.message() or "no reason given")
    told = f"{model}: {message}"
    lower = message.lower()
    if any(words in lower for words in _PASSING):
        return Unavailable(told)
    match str(error.status() or "").removeprefix("StatusCode."):
        case "INVALID_ARGUMENT" | "OUT_OF_RANGE":
            return InvalidInput(message)
        case "DEADLINE_EXCEEDED":
            return DeadlineExceeded(f"{model} did not answer in time")
        case "RESOURCE_EXHAUSTED":
            return TooLarge(told) if "larger than max" in lower else Overloaded(told)
        case "UNAVAILABLE" | "CANCELLED" | "NOT_FOUND" | "ABORTED":
            return Unavailable(told)
        case _:
            return Internal(told)


def connect(url: str, *, settings: KitSettings, clock: Clock | None = None) -> TritonInference:
    """Models at Triton's gRPC endpoint `host:port`. Nothing is sent before the first call."""
    return TritonInference(url, settings=settings, clock=clock)
