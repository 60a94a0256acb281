"""Redis holds views of Kafka's log and nothing on disk: after its restart they are made again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import redis

from deploy.local.spec import REPOSITORY, StackSpec
from deploy.local.stack import Process

OWNERS = ("mining", "dataset")
"""The services that keep a view, each with a command that makes it again while no replica of it runs."""


_MARK = "tercet:stack:views"
"""Set once the views are whole; its absence tells a Redis that was restarted, however much came in since."""


def lost(spec: StackSpec) -> bool:
    """Whether Redis was restarted since the views were whole."""
    with redis.Redis(port=spec.ports.redis) as client:
        return client.get(_MARK) is None


def note_whole(spec: StackSpec) -> None:
    """Remember, in Redis itself, that the views are whole."""
    with redis.Redis(port=spec.ports.redis) as client:
        client.set(_MARK, "whole")


def rebuild(described: Sequence[Process], say: Callable[[str], None], timeout_seconds: float) -> None:
    """Make the views of this stack's services again from the log. Raises RuntimeError with their words."""
    for process in described:
        if process.part not in OWNERS or not process.name.endswith("-0"):
            continue
        say(f"making {process.part}'s view in Redis again from the log")
        try:
            done = subprocess.run(
                [sys.executable, "-m", f"services.{process.part}", "rebuild"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                cwd=REPOSITORY,
                env={**os.environ, **process.environment},
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{process.part}'s view took longer than {timeout_seconds:.0f} s") from error
        if done.returncode != 0:
            raise RuntimeError(f"{process.part}'s view could not be made:\n{done.stdout}{done.stderr}")
