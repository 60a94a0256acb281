"""The Lua scripts of the view, and where a tenant's keys are."""

from __future__ import annotations

from importlib import resources
from typing import Final

import redis
from redis.commands.core import Script

PREFIX: Final = "tercet:dataset:"


def prefix(tenant: str) -> str:
    """What the tenant's keys start with: one slot of a cluster, so that a script may change several."""
    return f"{PREFIX}{{{tenant}}}:"


def register(client: redis.Redis, *names: str) -> dict[str, Script]:
    """The scripts by name, each with the prelude before it."""
    prelude = _read("prelude")
    return {name: client.register_script(prelude + _read(name)) for name in names}


def _read(name: str) -> str:
    return resources.files("services.dataset").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
