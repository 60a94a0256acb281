"""`python -m gateway`: the gateway on the real stack, until SIGTERM or SIGINT."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.bootstrap import build
from gateway.serving import Serving, announce
from gateway.settings import GatewaySettings
from services.kit.process import STACK_SETTINGS, connected
from services.kit.program import Ending, Program
from services.kit.running import wait_for


@contextmanager
def _serving(settings: GatewaySettings, ending: Ending) -> Iterator[None]:
    with connected("gateway", settings.gateway_port, settings) as adapters:
        gateway = build(adapters, settings)

        def filled() -> bool:
            gateway.rebuild()
            return True

        if not wait_for({"Kafka and Redis": filled}, clock=adapters.clock, stop=ending.begun):
            yield
            return
        token = gateway.local_token()
        serving = Serving(gateway, ending.fail)
        serving.start()
        if token is not None:
            announce(token, settings)
        yield
        serving.stop()


def _rebuild(settings: GatewaySettings) -> str:
    with connected("gateway", settings.gateway_port, settings) as adapters:
        build(adapters, settings).rebuild()
    return "Redis has the idempotency keys of the log"


PROGRAM = Program(
    module="gateway",
    description="The REST door: uploads, progress, annotations, exports, operations, webhooks.",
    settings_type=GatewaySettings,
    serving=_serving,
    rebuild=_rebuild,
    also=STACK_SETTINGS,
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main(sys.argv[1:]))
