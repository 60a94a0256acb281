"""`python -m services.embedded`: all of Tercet in one process, without servers, until SIGTERM or Ctrl-C.

What was accepted is in the log on disk: after a kill or a power cut it goes on where it was.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Final

from pydantic import ValidationError

from gateway.serving import announce
from services.core.errors import TercetError
from services.embedded.settings import EmbeddedSettings
from services.kit import logging, tracing
from services.kit.settings import describe

_LOG = logging.get_logger(__name__)

_EXIT_FAULT: Final = 1
_EXIT_USAGE: Final = 2


def main(arguments: list[str]) -> int:
    """The exit status: 0 after a signal, 1 after a fault, 2 for settings that make no sense."""
    if set(arguments) & {"-h", "--help"}:
        print(f"{__doc__}\nSettings, from the environment:\n{describe(EmbeddedSettings)}")
        return 0
    try:
        settings = located(EmbeddedSettings())
    except ValidationError as error:
        print(f"settings: {error}", file=sys.stderr)
        return _EXIT_USAGE
    logging.configure("embedded", settings)
    tracing.configure("embedded")
    try:
        with tempfile.TemporaryDirectory(prefix="tercet-") as sockets:
            return run(settings, Path(sockets))
    except TercetError as error:
        _LOG.critical("cannot run", error=type(error).__name__, reason=str(error))
        return _EXIT_FAULT
    finally:
        tracing.shutdown()


def located(settings: EmbeddedSettings) -> EmbeddedSettings:
    """The settings with the blobs below the state folder, unless they were put elsewhere.

    So is the key of a state folder of one's own; that of the default one is where the client looks for it.
    """
    state = settings.state.absolute()
    places: dict[str, object] = {"state": state, "blobs_url": (state / "blobs").as_uri()}
    if "state" in settings.model_fields_set:
        places["key_file"] = state / "api-key"
    given = settings.model_fields_set - {"state"}
    return settings.model_copy(update={name: place for name, place in places.items() if name not in given})


def run(settings: EmbeddedSettings, sockets: Path) -> int:
    """Serve until told to end."""
    # Imported here: --help and a wrong setting need not wait for the networks' libraries.
    from services.embedded.adapters import connect
    from services.embedded.engine import Engine

    engine = Engine(connect(settings), settings, sockets)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if engine.ending.is_set():
            os._exit(_EXIT_FAULT)  # a second one does not wait
        engine.ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    token = engine.start()
    if token is not None:
        announce(token, settings)
    fault = engine.wait()
    _LOG.info("ending", fault=fault)
    engine.stop()
    return 0 if fault is None else _EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
