"""The life of every process: its command line and settings, the signals, and how it ends."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from queue import SimpleQueue
from types import FrameType
from typing import Final, Generic, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from services.core.errors import TercetError
from services.kit import logging, tracing
from services.kit.settings import ENV_PREFIX, KitSettings, describe

_LOG = logging.get_logger(__name__)

S = TypeVar("S", bound=KitSettings)

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
_SIGNAL_SECONDS: Final = 1.0


class Ending:
    """Why the process ends, once it is to end: told by a signal, or by the loss of a part."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.failure: str | None = None
        self._signalled = False
        self._signals: SimpleQueue[None] = SimpleQueue()

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on; called by the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.on_signal)

        def tell() -> None:
            self._signals.get()
            self.begun.set()

        threading.Thread(target=tell, name="signals", daemon=True).start()

    def wait(self) -> None:
        """Until the end begins. A signal's handler runs in the main thread alone, and a wait without end that
        another thread's signal does not interrupt would never let it.
        """
        while not self.begun.wait(_SIGNAL_SECONDS):
            pass

    def fail(self, reason: str) -> None:
        """A part is lost: the process ends, and its supervisor starts it again."""
        if "hangs" in reason:
            faulthandler.dump_traceback()
        self.failure = reason
        self.begun.set()

    @property
    def code(self) -> int:
        """The exit code."""
        return EXIT_OK if self.failure is None else EXIT_FAILED

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """The first one drains, a second one does not wait."""
        if self._signalled or self.begun.is_set():
            os._exit(EXIT_FAILED)
        # Nothing here may want a lock that the interrupted main thread may hold: not a log's, not an event's.
        self._signalled = True
        self._signals.put(None)

    def must_end_within(self, seconds: float) -> None:
        """Whatever hangs: what is not committed by then is given up, and another process works it again."""

        def end() -> None:
            _LOG.warning("not drained in time; what is not committed is given up", seconds=seconds)
            sys.stderr.flush()
            os._exit(self.code)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()


@dataclass(frozen=True, slots=True)
class Program(Generic[S]):
    """What is run by `python -m <module>`.

    `serving` has everything running inside its context; leaving it drains, and a part that is lost calls
    `Ending.fail`. `rebuild` makes the view in Redis again from the log and returns what to tell people.
    Both raise `TercetError` or `OSError` when they cannot. `also` are settings of parts, by what they set.
    """

    module: str
    description: str
    settings_type: type[S]
    serving: Callable[[S, Ending], AbstractContextManager[None]]
    rebuild: Callable[[S], str]
    also: Mapping[str, type[BaseSettings]]

    def main(self, arguments: Sequence[str]) -> int:
        """The exit code: 0 after SIGTERM or SIGINT, 1 after a fault, 2 for bad usage or settings."""
        command = self._parser().parse_args(arguments).command
        try:
            settings = self.settings_type()
        except ValidationError as error:
            for problem in error.errors():
                field = "_".join(str(part) for part in problem["loc"]).upper()
                print(f"{ENV_PREFIX}{field}: {problem['msg']}", file=sys.stderr)
            return EXIT_USAGE
        name = self.module.rpartition(".")[2]
        logging.configure(name, settings)
        tracing.configure(name)
        try:
            if command == "serve":
                return self._serve(settings)
            print(f"{name}: {self.rebuild(settings)}")
            return EXIT_OK
        except (TercetError, OSError) as error:
            _LOG.critical("cannot run", error=type(error).__name__, reason=str(error))
            return EXIT_FAILED
        finally:
            tracing.shutdown()

    def _serve(self, settings: S) -> int:
        ending = Ending()
        ending.listen()
        with self.serving(settings, ending):
            ending.wait()
            ending.must_end_within(settings.grace)
            _LOG.info("draining", grace=settings.grace, failure=ending.failure)
        return ending.code

    def _parser(self) -> argparse.ArgumentParser:
        listed = ["settings (environment variables with their defaults):", describe(self.settings_type)]
        for what, settings_type in self.also.items():
            listed += [f"settings of {what}:", describe(settings_type)]
        parser = argparse.ArgumentParser(
            prog=f"python -m {self.module}",
            description=self.description,
            epilog="\n".join(listed),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument(
            "command",
            nargs="?",
            default="serve",
            choices=("serve", "rebuild"),
            help="serve (default), or make the view in Redis again from the log, while no replica runs",
        )
        return parser
