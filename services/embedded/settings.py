"""Settings of the one-process mode. The services in it read their own settings as everywhere."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gateway.settings import GatewaySettings


class EmbeddedSettings(GatewaySettings):
    """What the one process needs to know besides its parts' settings."""

    state: Path = Field(Path(".tercet/embedded"), description="Folder of the log, the blobs and the key.")
    local: bool = Field(
        True,
        description="Local mode: where there is no API key, make an admin's, print it and keep it in a file.",
    )
