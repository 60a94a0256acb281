"""What a local stack is made of: chosen once at `up`, kept beside its state, read by every later command."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from deploy.local.ports import MAX_REPLICAS, SERVICES, Ports

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = REPOSITORY / ".tercet"
"""Everything that the local ways of running write: git-ignored, safe to delete when nothing runs."""

INFRASTRUCTURE = ("kafka", "redis", "triton")
PARTS = (*INFRASTRUCTURE, *SERVICES, "gateway")
MODELS = ("sam", "concept_grounder", "concept_proposer", "verifier")

STACK_MARK = "TERCET_STACK_IDENTITY"
"""An environment variable of every supervised process: by it `down` finds what outlived its supervisor."""

_SOCKET_PATH_LIMIT = 90
"""Linux allows 107 bytes in a unix socket's path; supervisord first binds a longer name beside it."""


class StackSpec(BaseModel):
    """One stack: its parts, ports, replicas and where it keeps its state."""

    model_config = ConfigDict(frozen=True)

    state: Path = Field(
        HOME / "stack", description="Where logs, Kafka's log, blobs and this description are kept"
    )
    ports: Ports = Field(default_factory=Ports, description="Where every part listens")
    parts: tuple[str, ...] = Field(PARTS, description="The parts that run")
    kafka_nodes: int = Field(1, ge=1, le=3, description="Kafka nodes; 3 survive the loss of one")
    replicas: dict[str, int] = Field(
        default_factory=dict, description="Replicas of a service where it is not 1"
    )
    model_repository: Path = Field(REPOSITORY / "model_repository", description="Triton's model repository")
    models: tuple[str, ...] = Field(MODELS, description="Models that Triton loads at the start")
    settings: dict[str, str] = Field(
        default_factory=dict, description="Further TERCET_ settings of every service"
    )

    @field_validator("parts")
    @classmethod
    def _known_parts(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise ValueError(f"unknown part {', '.join(unknown)}: choose among {', '.join(PARTS)}")
        return tuple(part for part in PARTS if part in parts)

    @field_validator("replicas")
    @classmethod
    def _known_services(cls, replicas: dict[str, int]) -> dict[str, int]:
        for service, count in replicas.items():
            if service not in SERVICES:
                raise ValueError(f"{service} has no replicas: choose among {', '.join(SERVICES)}")
            if not 0 <= count <= MAX_REPLICAS:
                raise ValueError(f"{service} can have 0 to {MAX_REPLICAS} replicas, not {count}")
        return replicas

    @field_validator("state", "model_repository")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def identity(self) -> str:
        """A short name of this stack on this machine, the same for the same state folder."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:10]

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def control_socket(self) -> Path:
        """supervisord's unix socket: in the state folder, or in a short folder when that path is too long."""
        beside = self.state / "supervisor.sock"
        if len(str(beside).encode()) <= _SOCKET_PATH_LIMIT:
            return beside
        return Path(tempfile.gettempdir()) / f"tercet-{os.getuid()}-{self.identity}" / "supervisor.sock"

    @property
    def key_file(self) -> Path:
        """Where the gateway keeps its own key: of the usual stack, where `tercet` looks for one by itself."""
        return HOME / "api-key" if self.state == HOME / "stack" else self.state / "api-key"

    @property
    def kafka_bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{self.ports.kafka + 2 * node}" for node in range(self.kafka_nodes))

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which any process, a test included, reaches this stack."""
        addresses = {
            f"TERCET_{service.upper()}_ADDRESS": f"127.0.0.1:{self.ports.service_grpc(service)}"
            for service in SERVICES
        }
        return {
            "TERCET_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "TERCET_REDIS_URL": f"redis://127.0.0.1:{self.ports.redis}/0",
            "TERCET_TRITON_URL": f"127.0.0.1:{self.ports.triton_grpc}",
            "TERCET_BLOBS_URL": (self.state / "blobs").as_uri(),
            "TERCET_GATEWAY_PORT": str(self.ports.gateway),
            "TERCET_URL": f"http://127.0.0.1:{self.ports.gateway}",
            "TERCET_KEY_FILE": str(self.key_file),
            **addresses,
            **self.settings,
        }

    def replicas_of(self, service: str) -> int:
        return self.replicas.get(service, 1)

    def save(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "stack.json").write_text(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, state: Path) -> StackSpec | None:
        """The description that the last `up` left in this state folder, or None when there was none."""
        try:
            return cls.model_validate_json((state.expanduser().absolute() / "stack.json").read_text())
        except FileNotFoundError:
            return None
