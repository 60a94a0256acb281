"""The one-process engine as a child that never outlives the demo."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import httpx
from pydantic import SecretStr

from gateway.client import ClientSettings

COMMAND = (sys.executable, "-m", "services.embedded")
START_SECONDS = 240.0
"""To load the models on a slow machine."""
STOP_SECONDS = 30.0
LOG_TAIL = 15
_PR_SET_PDEATHSIG = 1


class EngineFailed(Exception):
    """The child ended, or was not ready in time; the message has the end of its log."""


@dataclass(frozen=True)
class Engine:
    """Where a running engine is."""

    settings: ClientSettings
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def embedded_engine(
    state: Path,
    log: Path,
    *,
    port: int | None = None,
    command: Sequence[str] = COMMAND,
    stop_seconds: float = STOP_SECONDS,
) -> Iterator[Engine]:
    """The one process, ready for jobs, on a free port unless told; stopped at the end for sure.

    Raises `EngineFailed`.
    """
    port = port or free_port()
    key_file = state / "api-key"
    environment = {
        **os.environ,
        "TERCET_STATE": str(state),
        "TERCET_BLOBS_URL": f"file://{state / 'blobs'}",
        "TERCET_GATEWAY_PORT": str(port),
        "TERCET_KEY_FILE": str(key_file),
        "TERCET_LOCAL": "true",
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as output:
        process = _start(command, environment, output)
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(process, url, log)
            yield Engine(_settings(url, key_file), log, process)
        finally:
            _stop(process, stop_seconds)


def _settings(url: str, key_file: Path) -> ClientSettings:
    """The child's own key, whatever TERCET_API_KEY is for another gateway."""
    key = ClientSettings.model_construct(api_key=None, key_file=key_file).key()
    if key is None:
        raise EngineFailed(f"the engine has made no API key in {key_file}")
    return ClientSettings(url=url, api_key=SecretStr(key), key_file=key_file)


def tail(log: Path) -> str:
    """The end of a log."""
    try:
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL:])
    except OSError:
        return ""


def _start(command: Sequence[str], environment: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches the demo alone, which then stops the child in order.
    return subprocess.Popen(
        list(command),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent(),
    )


def _die_with_parent() -> Callable[[], object] | None:
    """For the child: it ends, too, when the demo is killed (Linux: prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform != "linux":
        return None
    # All is loaded before the fork: after it, only this one call is made.
    return partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    last = "it does not listen yet"
    with httpx.Client(base_url=url, timeout=5) as http:
        while True:
            if process.poll() is not None:
                raise EngineFailed(f"the engine ended with code {process.returncode}:\n{tail(log)}")
            try:
                answer = http.get("/readyz")
                if answer.status_code == 200:
                    return
                last = answer.text[:500]
            except httpx.TransportError as error:
                last = str(error)
            if time.monotonic() > deadline:
                raise EngineFailed(
                    f"the engine is not ready after {START_SECONDS:g} s ({last}):\n{tail(log)}"
                )
            time.sleep(0.2)


def _stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """SIGTERM, time to finish, then SIGKILL to the whole group; returns when it is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also where Ctrl-C comes again
            _kill_group(process)
            process.wait()
    _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nothing of it is left
        os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
