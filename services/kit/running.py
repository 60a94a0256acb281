"""A service while it runs: its gRPC door, its workers in threads, and the watch over them.

`services.kit.process` runs one of these in a process; the one-process mode runs several.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.core.errors import Unavailable
from services.kit import metrics
from services.kit.bus.worker import Worker
from services.kit.clock import Clock
from services.kit.logging import get_logger
from services.kit.retry import Backoff
from services.kit.rpc.server import RpcServer
from services.kit.service import Adapters, Service
from services.kit.settings import KitSettings

_LOG = get_logger(__name__)

_WATCH_SECONDS: Final = 1.0
_RPC_GRACE: Final = 5.0
_PATIENCE: Final = Backoff(attempts=1, first=0.2, longest=5.0)

Need = Callable[[], bool]
"""Something that must be there first: whether it is. `Unavailable` counts as no."""


@dataclass(slots=True)
class _Door:
    """A worker with its thread, and when it was started."""

    worker: Worker
    thread: threading.Thread = field(init=False)
    started_at: float = 0.0

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self.worker.run, name=self.worker.group, daemon=True)

    def trouble(self, now: float, limit: float) -> str | None:
        """Why the worker must not be left as it is; None while it is well."""
        group = self.worker.group
        if self.worker.halted is not None:
            return f"worker {group} halted: {self.worker.halted}"
        if not self.thread.is_alive():
            return f"worker {group} ended by itself"
        # Before its first poll a worker's age counts from when it was made, long before it was started.
        age = min(self.worker.poll_age(), now - self.started_at)
        metrics.POLL_AGE.labels(group).set(age)
        if age > limit:
            return f"worker {group} hangs: it has not polled for {age:.0f} s"
        return None


class RunningService:
    """Made by `start`. `address` is where its gRPC server listens, `failure` why a worker is lost."""

    def __init__(
        self,
        service: Service,
        adapters: Adapters,
        address: str,
        *,
        settings: KitSettings,
        needs: Mapping[str, Need],
        failed: Callable[[str], object],
    ) -> None:
        self.name = service.name
        self.failure: str | None = None
        self._settings = settings
        self._clock = adapters.clock
        self._failed = failed
        self._needs = {
            **needs,
            **{f"model {model}": _model_ready(adapters, model) for model in service.models},
        }
        self._doors = [_Door(worker) for worker in service.workers]
        self._stop = threading.Event()
        self._warm = threading.Event()
        self._server = RpcServer(address, {service.grpc_service: service.register}, settings=settings)
        self.address = self._server.address
        self._life = threading.Thread(target=self._live, name=f"{self.name}-life", daemon=True)
        self._warm_up = service.warm_up

    def start(self) -> None:
        """Listen, saying NOT_SERVING, and go on in a thread."""
        self._server.start()
        self._life.start()
        if self._warm_up is not None:
            threading.Thread(target=self._warm_up, name=f"{self.name}-warm-up", daemon=True).start()

    def wait_ready(self, timeout: float) -> bool:
        """Whether everything that it needs was there within `timeout` seconds, so that it says SERVING."""
        return self._warm.wait(timeout)

    def stop(self, grace: float) -> bool:
        """Say NOT_SERVING, end calls and batches within `grace` seconds; whether every worker has ended."""
        until = self._clock.monotonic() + grace
        self._stop.set()
        for door in self._doors:
            door.worker.stop()
        self._server.stop(min(_RPC_GRACE, grace))
        self._life.join(max(0.0, until - self._clock.monotonic()))
        for door in self._doors:
            if door.thread.ident is not None:
                door.thread.join(max(0.0, until - self._clock.monotonic()))
        drained = not any(door.thread.is_alive() for door in self._doors)
        _LOG.info("stopped", service=self.name, drained=drained)
        return drained

    def _live(self) -> None:
        if not wait_for(self._needs, clock=self._clock, stop=self._stop):
            return
        for door in self._doors:
            door.started_at = self._clock.monotonic()
            door.thread.start()
        self._server.serving(True)
        self._warm.set()
        _LOG.info("serving", service=self.name, workers=[door.worker.group for door in self._doors])
        while not self._clock.wait(self._stop, _WATCH_SECONDS):
            now = self._clock.monotonic()
            troubles = [door.trouble(now, self._settings.poll_age_limit) for door in self._doors]
            trouble = next((trouble for trouble in troubles if trouble is not None), None)
            # A worker that was told to stop meanwhile has ended rightly.
            if trouble is not None and not self._stop.is_set():
                self.failure = trouble
                self._server.serving(False)
                _LOG.critical("worker lost", service=self.name, reason=trouble)
                self._failed(trouble)
                return


def _model_ready(adapters: Adapters, model: str) -> Need:
    return lambda: adapters.inference.ready(model)


def wait_for(needs: Mapping[str, Need], *, clock: Clock, stop: threading.Event) -> bool:
    """Wait until every need is met, saying in the log what is missing; False when told to stop before."""
    missing = sorted(needs)
    told: list[str] = []
    failures = 0
    while True:
        reasons = {name: reason for name in missing if (reason := _missing(needs[name])) is not None}
        missing = list(reasons)
        if not missing:
            return not stop.is_set()
        failures += 1
        if missing != told or failures % 12 == 0:
            _LOG.info("waiting", needs=missing, reasons=reasons)
            told = missing
        if clock.wait(stop, _PATIENCE.pause(failures)):
            return False


def _missing(need: Need) -> str | None:
    """Why it is not met; None if it is."""
    try:
        return None if need() else "not there yet"
    except Unavailable as error:
        return str(error)


def start(
    service: Service,
    adapters: Adapters,
    address: str,
    *,
    settings: KitSettings,
    needs: Mapping[str, Need] | None = None,
    failed: Callable[[str], object] = lambda reason: reason,
) -> RunningService:
    """Run the service, its gRPC server at `address` (`host:port` or `unix:PATH`).

    It says NOT_SERVING until `needs` and the service's models are there; then its workers start and it says
    SERVING. `failed` is called once, with the reason, when a worker halts, dies or hangs; from then on it
    says NOT_SERVING, and its process should be started again. Raises `Unavailable` when the address is taken.
    """
    running = RunningService(
        service, adapters, address, settings=settings, needs=needs if needs is not None else {}, failed=failed
    )
    running.start()
    return running


def stop_all(services: Sequence[RunningService], grace: float) -> bool:
    """Stop them side by side; whether all were drained within `grace` seconds."""
    results: dict[str, bool] = {}

    def stop(running: RunningService) -> None:
        results[running.name] = running.stop(grace)

    threads = [threading.Thread(target=stop, args=(running,)) for running in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return all(results.get(running.name, False) for running in services)
