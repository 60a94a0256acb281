"""Where the gateway is, with which key to speak to it, and how patiently: environment or code."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.client.errors import UnusableKey

DEFAULT_URL = "http://127.0.0.1:8080"
LOCAL_KEY_FILE = Path(".tercet/api-key")
EMBEDDED_KEY_FILE = Path(".tercet/embedded/api-key")


class ClientSettings(BaseSettings):
    """Read from TERCET_URL, TERCET_API_KEY, TERCET_KEY_FILE and, for the others, TERCET_CLIENT_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="TERCET_CLIENT_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    url: str = Field(
        default=DEFAULT_URL, validation_alias="TERCET_URL", description="base URL of the gateway"
    )
    api_key: SecretStr | None = Field(
        default=None,
        validation_alias="TERCET_API_KEY",
        description="API key; without it the key file is read",
    )
    key_file: Path = Field(
        default=LOCAL_KEY_FILE,
        validation_alias="TERCET_KEY_FILE",
        description="file that holds the key of a local gateway; a relative path is looked for in the "
        "working directory and in each folder above it, and the default's neighbour of `make run` after it",
    )
    connect_timeout: float = Field(default=5.0, gt=0, description="seconds to wait for a connection")
    read_timeout: float = Field(
        default=60.0, gt=0, description="seconds to wait for the gateway's next bytes"
    )
    attempts: int = Field(
        default=5, ge=1, description="how often one request is tried while it is safe to repeat it"
    )
    backoff: float = Field(
        default=0.5, gt=0, description="seconds before the second try; doubled for each further one"
    )
    longest_pause: float = Field(
        default=30.0, gt=0, description="seconds; no pause between tries is longer, whatever is asked"
    )
    poll_interval: float = Field(
        default=1.0, gt=0, description="seconds between looks at a job where events cannot be had"
    )
    outage: float = Field(
        default=180.0,
        ge=0,
        description="seconds that a watch waits for a gateway that it had and that is away",
    )
    event_silence: float = Field(
        default=45.0, gt=0, description="seconds without any byte after which the event stream counts as lost"
    )

    def key(self) -> str | None:
        """The API key: the given one, else the first line of the nearest key file, else none.

        Raises `UnusableKey` and `OSError`.
        """
        if self.api_key is not None and self.api_key.get_secret_value().strip():
            return _checked(self.api_key.get_secret_value().strip(), "TERCET_API_KEY")
        path = find_key_file(self.key_file)
        if path is None and self.key_file == LOCAL_KEY_FILE:
            path = find_key_file(EMBEDDED_KEY_FILE)
        if path is None:
            return None
        lines = path.read_text("utf-8", "replace").strip().splitlines()
        return _checked(lines[0].strip(), str(path)) if lines else None


def _checked(key: str, origin: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UnusableKey(f"{origin} holds no API key: a key is one word of plain characters")
    return key


def find_key_file(key_file: Path, start: Path | None = None) -> Path | None:
    """The file of an absolute path; else the nearest one of that path in `start` or a folder above."""
    if key_file.is_absolute():
        return key_file if key_file.is_file() else None
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / key_file).is_file():
            return candidate / key_file
    return None
