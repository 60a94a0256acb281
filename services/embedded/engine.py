"""Every service and the gateway in this process: built as on the stack, over the embedded adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gateway.bootstrap import build as build_gateway
from gateway.serving import Serving
from services.dataset.bootstrap import build as build_dataset
from services.dataset.settings import DatasetSettings
from services.embedded.settings import EmbeddedSettings
from services.kit.running import RunningService, start, stop_all
from services.kit.service import Adapters, Service
from services.mining.bootstrap import build as build_mining
from services.mining.settings import MiningSettings
from services.proposer.bootstrap import build as build_proposer
from services.proposer.settings import ProposerSettings
from services.segmenter.bootstrap import build as build_segmenter
from services.segmenter.settings import SegmenterSettings
from services.verifier.bootstrap import build as build_verifier
from services.verifier.settings import VerifierSettings

_READY_SECONDS: Final = 240.0

Builder = Callable[[Adapters], Service]


def builders(settings: EmbeddedSettings) -> dict[str, Builder]:
    """How each service is built, by name, in the order of an image's way.

    The common settings that the engine was given are theirs too; their own they read themselves.
    """
    common: dict[str, Any] = settings.model_dump(include=settings.model_fields_set)
    return {
        "proposer": lambda adapters: build_proposer(adapters, ProposerSettings(**common)),
        "segmenter": lambda adapters: build_segmenter(adapters, SegmenterSettings(**common)),
        "verifier": lambda adapters: build_verifier(adapters, VerifierSettings(**common)),
        "mining": lambda adapters: build_mining(adapters, MiningSettings(**common)),
        "dataset": lambda adapters: build_dataset(adapters, DatasetSettings(**common)),
    }


class Engine:
    """The whole of Tercet, one process. `sockets` is a short folder for the services' unix sockets.

    `failed` is told when a part of it is lost.
    """

    def __init__(
        self,
        adapters: Adapters,
        settings: EmbeddedSettings,
        sockets: Path,
        failed: Callable[[str], object] = lambda reason: reason,
    ) -> None:
        addresses = {f"{name}_address": f"unix:{sockets / name}" for name in builders(settings)}
        self._settings = settings.model_copy(update=addresses)
        self._adapters = adapters
        self._sockets = sockets
        self._failed = failed
        self._running: list[RunningService] = []
        self._gateway = build_gateway(adapters, self._settings)
        self._serving = Serving(self._gateway, failed)

    def start(self) -> str | None:
        """Make the state again from the log, start the services, then the gateway; local mode's new token.

        Raises `Unavailable` when the gateway's port is taken.
        """
        for name, build in builders(self._settings).items():
            service = build(self._adapters)
            if service.rebuild is not None:
                service.rebuild()
            address = f"unix:{self._sockets / name}"
            self._running.append(
                start(service, self._adapters, address, settings=self._settings, failed=self._failed)
            )
        self._gateway.rebuild()
        token = self._gateway.local_token()
        self._serving.start()
        return token

    def wait_ready(self) -> bool:
        """Whether the models are loaded and every service serves, within some minutes."""
        return all(service.wait_ready(_READY_SECONDS) for service in self._running)

    def stop(self) -> None:
        """No new requests, then finish or give up the batches at hand: nothing is lost, the log has it."""
        self._serving.stop()
        stop_all(self._running, self._settings.grace)
        self._adapters.inference.close()
        self._adapters.bus.close()
