"""The model calls that the services make, recorded once and made again without the services."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from services.kit.inference.ports import Answer, Inference, Tensors, strings
from tercet.v1 import concepts_pb2


@dataclass(frozen=True)
class Call:
    """One question to a model: its tensors without the image."""

    model: str
    tensors: Tensors


Recorded = Mapping[bytes, Sequence[Call]]
"""The calls of one stage by the image's bytes, in the order in which they were made."""


class RecordingInference:
    """An `Inference` that passes every call on and keeps it."""

    def __init__(self, real: Inference) -> None:
        self._real = real
        self._lock = threading.Lock()
        self.recorded: dict[bytes, list[Call]] = {}
        self.seconds = 0.0
        """Of all calls together."""

    def infer(self, model: str, inputs: Tensors) -> Answer:
        tensors = dict(inputs)
        content = bytes(tensors.pop("image")[0])
        started = time.monotonic()
        answer = self._real.infer(model, inputs)
        took = time.monotonic() - started
        with self._lock:
            self.recorded.setdefault(content, []).append(Call(model, tensors))
            self.seconds += took
        return answer

    def ready(self, model: str) -> bool:
        return self._real.ready(model)

    def models(self) -> Sequence[concepts_pb2.ModelVersion]:
        return self._real.models()

    def close(self) -> None:
        self._real.close()


@dataclass(frozen=True)
class Bare:
    """One pass of bare calls."""

    images: int
    seconds: float
    calls: Mapping[str, int]
    """By model."""


def make_again(
    inference: Inference, stages: Sequence[Recorded], images: Mapping[bytes, bytes], threads: int
) -> Bare:
    """Make the recorded calls of each stage, as an image goes through them; no service, no Kafka.

    `images` gives the bytes to send for those recorded. Each stage has as many threads as its worker; within
    a stage an image's calls follow each other, as the service makes them. Raises what a call raises.
    """
    counted = Counter(call.model for stage in stages for content in images for call in stage.get(content, ()))
    pools = [ThreadPoolExecutor(threads) for _ in stages]
    started = time.monotonic()
    try:
        ends: list[Future[None]] = [Future() for _ in images]

        def work(at: int, recorded: bytes, sent: bytes, end: Future[None]) -> None:
            try:
                for call in stages[at].get(recorded, ()):
                    inference.infer(call.model, {"image": strings([sent]), **call.tensors})
                if at + 1 == len(stages):
                    end.set_result(None)
                else:
                    pools[at + 1].submit(work, at + 1, recorded, sent, end)
            except BaseException as error:
                end.set_exception(error)

        for (recorded, sent), end in zip(images.items(), ends, strict=True):
            pools[0].submit(work, 0, recorded, sent, end)
        for end in ends:
            end.result()
        return Bare(len(images), time.monotonic() - started, dict(counted))
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)
