"""Models in this process: one thread a model; calls that meet are one batch, as in Triton's batcher."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

from services.core.errors import (
    DeadlineExceeded,
    Internal,
    InvalidInput,
    Overloaded,
    TercetError,
    Unavailable,
)
from services.kit.deadlines import within
from services.kit.inference.measured import measured
from services.kit.inference.ports import Answer, ServedModel, Tensors
from services.kit.logging import get_logger
from services.kit.settings import KitSettings
from tercet.v1 import concepts_pb2

_LOG = get_logger(__name__)

_VERSION: Final = "1"  # the version folder in the model repository
_Call = tuple[Tensors, "Future[Tensors]"]


LONGEST_PAUSE, PAUSE_SHARE = 60.0, 10.0
"""After a load that failed: ten times as long as it took, at most so many seconds. A call tries at once."""


class _ModelThread:
    """A model, loaded by the thread that works it with the first call or question."""

    def __init__(self, name: str, loader: Callable[[], ServedModel], settings: KitSettings) -> None:
        self._name = name
        self._loader = loader
        self._settings = settings
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._wanted = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._again_at = 0.0
        self.served: ServedModel | None = None

    def submit(self, inputs: Tensors) -> Future[Tensors]:
        future: Future[Tensors] = Future()
        with self._changed:
            if self._closed:
                raise Unavailable(f"{self._name} is closed")
            if len(self._waiting) >= self._settings.inference_in_flight:
                raise Overloaded(f"{len(self._waiting)} calls of {self._name} wait")
            self._waiting.append((inputs, future))
            self._want()
        return future

    def ready(self) -> bool:
        """Whether it is loaded; if not, it will be: after a failure with a pause, so that large spoilt files
        are not read on and on.
        """
        with self._changed:
            if not self._closed and time.monotonic() >= self._again_at:
                self._want()
        return self.served is not None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        for _, future in self._waiting:
            _fail(future, Unavailable(f"{self._name} is closed"))

    def _want(self) -> None:
        self._wanted = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"model-{self._name}", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _has_work(self) -> bool:
        return self._closed or bool(self._waiting) or (self._wanted and self.served is None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or self._waiting or (self._wanted and not self.served)
                )
                if self._closed:
                    return
                self._wanted = False
            if self.served is None:
                self._load()
            if self.served is not None:
                self._execute(self.served, self._batch())

    def _load(self) -> None:
        started = time.perf_counter()
        try:
            served = self._loader()
            served.warm_up()
        except Exception as error:  # a loader may fail in any way; its callers must hear of it
            _LOG.exception("model cannot be loaded", model=self._name)
            took = time.perf_counter() - started
            with self._changed:
                failed, self._waiting = self._waiting, deque()
                self._again_at = time.monotonic() + min(LONGEST_PAUSE, PAUSE_SHARE * took)
            for _, future in failed:
                _fail(future, Unavailable(f"{self._name} cannot be loaded: {error}"))
            return
        self.served = served
        _LOG.info(
            "model loaded",
            model=self._name,
            version=served.version,
            seconds=round(time.perf_counter() - started, 2),
        )

    def _batch(self) -> list[_Call]:
        """The calls that wait, after a moment for others to join them; those given up are left out."""
        until = time.monotonic() + self._settings.inference_gather
        with self._changed:
            while self._waiting and len(self._waiting) < self._settings.inference_batch and not self._closed:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            count = min(len(self._waiting), self._settings.inference_batch)
            calls = [self._waiting.popleft() for _ in range(count)]
        return [(inputs, future) for inputs, future in calls if future.set_running_or_notify_cancel()]

    def _execute(self, served: ServedModel, calls: list[_Call]) -> None:
        if not calls:
            return
        try:
            answers = served.execute([inputs for inputs, _ in calls])
            if len(answers) != len(calls):
                raise Internal(f"{self._name} gave {len(answers)} answers for {len(calls)} requests")
        except Exception as error:  # whatever a network raises, its callers must hear of it
            _LOG.exception("model failed", model=self._name)
            for _, future in calls:
                future.set_exception(Internal(f"{self._name} failed: {error}"))
            return
        for (_, future), answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                future.set_exception(_core_error(self._name, answer))
            else:
                future.set_result(answer)


class EmbeddedInference:
    """`services.kit.inference.ports.Inference` over networks in this process, loaded when first asked for."""

    def __init__(self, loaders: Mapping[str, Callable[[], ServedModel]], *, settings: KitSettings) -> None:
        self._timeout = settings.inference_timeout
        self._threads = {name: _ModelThread(name, loader, settings) for name, loader in loaders.items()}

    def infer(self, model: str, inputs: Tensors) -> Answer:
        """The model's answer for one image; see the port for what is raised."""
        thread = self._thread(model)
        with measured(model):
            timeout = within(self._timeout)
            future = thread.submit(inputs)
            try:
                tensors = future.result(timeout)
            except FutureTimeoutError as error:
                future.cancel()
                raise DeadlineExceeded(f"{model} did not answer in {timeout:.1f} s") from error
            return Answer(tensors=tensors, model=_version(model, thread.served, tensors))

    def ready(self, model: str) -> bool:
        """Whether the model is loaded; asking has it loaded."""
        return model in self._threads and self._threads[model].ready()

    def models(self) -> Sequence[concepts_pb2.ModelVersion]:
        """The models that are loaded."""
        return [
            _version(name, thread.served, {})
            for name, thread in sorted(self._threads.items())
            if thread.served is not None
        ]

    def close(self) -> None:
        """End the batches at hand, refuse what waits, and give the models back."""
        for thread in self._threads.values():
            thread.close()

    def _thread(self, model: str) -> _ModelThread:
        if model not in self._threads:
            raise Unavailable(f"no model {model!r} here; there are {', '.join(sorted(self._threads))}")
        return self._threads[model]


def _version(name: str, served: ServedModel | None, tensors: Tensors) -> concepts_pb2.ModelVersion:
    weights = served.version if served is not None else ""
    if "model" in tensors and tensors["model"].size:
        told = tensors["model"].flat[0]
        weights = told.decode() if isinstance(told, bytes) else str(told)
    return concepts_pb2.ModelVersion(name=name, version=_VERSION, weights=weights)


def _core_error(model: str, error: Exception) -> TercetError:
    if isinstance(error, TercetError):
        return error
    if getattr(error, "invalid", False):
        return InvalidInput(str(error))
    return Internal(f"{model} failed: {error}")


def _fail(future: Future[Tensors], error: TercetError) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
