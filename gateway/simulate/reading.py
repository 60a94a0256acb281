"""Input files of the simulation: TOML or JSON, by their ending."""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from services.core.errors import InvalidInput


def bundled(name: str) -> dict[str, Any]:
    """A file that comes with Tercet."""
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text("utf-8"))


def given(path: Path) -> dict[str, Any]:
    """A file of the user's. Raises `InvalidInput`, naming it."""
    try:
        text = path.read_text("utf-8")
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no table of values")
    return found
