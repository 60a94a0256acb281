"""`python -m services.embedded`: all of Tercet in one process, without servers, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.serving import announce
from services.embedded.settings import EmbeddedSettings
from services.kit.bus.worker import WorkerSettings
from services.kit.program import Ending, Program


@contextmanager
def _serving(given: EmbeddedSettings, ending: Ending) -> Iterator[None]:
    # Imported here: --help and a wrong setting need not wait for the networks' libraries.
    from services.embedded.adapters import connect
    from services.embedded.engine import Engine

    settings = located(given)
    with tempfile.TemporaryDirectory(prefix="tercet-") as sockets:
        engine = Engine(connect(settings), settings, Path(sockets), ending.fail)
        token = engine.start()
        if token is not None:
            announce(token, settings)
        yield
        engine.stop()


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


PROGRAM = Program(
    module="services.embedded",
    description="All of Tercet in one process, without servers.\nWhat was accepted is in the log on disk: "
    "after a kill or a power cut it goes on where it was.",
    settings_type=EmbeddedSettings,
    serving=_serving,
    rebuild=lambda _: "every start makes the views again: there is nothing to rebuild",
    also={"the workers": WorkerSettings},
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main(sys.argv[1:]))
