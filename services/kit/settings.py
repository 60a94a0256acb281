"""Settings, parsed once from the environment (`TERCET_*`) and passed in; a service adds its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX: Final = "TERCET_"

GRPC_PORTS: Final[dict[str, int]] = {
    "proposer": 50051,
    "segmenter": 50052,
    "verifier": 50053,
    "mining": 50054,
    "dataset": 50055,
    "trainer": 50056,
}
"""Where each service listens unless told otherwise."""


def default_metrics_port(grpc_port: int) -> int:
    """The metrics port that goes with a gRPC port: 9401 for 50051, and as far apart for replicas."""
    return 9400 + (grpc_port - 50050)


def _default_blobs_url() -> str:
    return f"file://{Path('.tercet/blobs').absolute()}"


class KitSettings(BaseSettings):
    """What every process needs to know. The defaults are the local stack's."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, comma-separated.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis, as redis:// or rediss:// URL.")
    triton_url: str = Field("127.0.0.1:8001", description="Triton's gRPC endpoint, host:port.")
    blobs_url: str = Field(
        default_factory=_default_blobs_url,
        description="Object store: any fsspec URL; file:// and s3:// for example.",
    )

    proposer_address: str = Field(
        "127.0.0.1:50051", description="Where others reach the proposer (or unix:PATH)."
    )
    segmenter_address: str = Field("127.0.0.1:50052", description="Where others reach the segmenter.")
    verifier_address: str = Field("127.0.0.1:50053", description="Where others reach the verifier.")
    mining_address: str = Field("127.0.0.1:50054", description="Where others reach mining.")
    dataset_address: str = Field("127.0.0.1:50055", description="Where others reach the dataset service.")
    trainer_address: str = Field("127.0.0.1:50056", description="Where others reach the trainer.")

    bind_host: str = Field("127.0.0.1", description="Interface that the gRPC and metrics ports listen on.")
    grpc_port: int | None = Field(None, description="gRPC port of this process; unset: the service's own.")
    metrics_port: int | None = Field(
        None, description="Prometheus port of this process; unset: 9400 + (gRPC port - 50050)."
    )
    grpc_threads: int = Field(16, ge=1, description="Calls that are worked at the same time.")
    grpc_queue: int = Field(
        64, ge=0, description="Calls that may wait for a thread; more are refused as overload."
    )
    rpc_timeout: float = Field(30.0, gt=0, description="Deadline in seconds of a call that brings none.")
    rpc_attempts: int = Field(
        5,
        ge=1,
        le=5,
        description="Attempts of a call whose server cannot be reached (gRPC allows at most 5).",
    )

    inference_timeout: float = Field(
        60.0, gt=0, description="Deadline in seconds of one model call, retries included."
    )
    inference_attempts: int = Field(
        4, ge=1, description="Attempts of a model call while Triton cannot be reached."
    )
    inference_in_flight: int = Field(
        64, ge=1, description="Model calls in flight or queued; more are refused."
    )
    inference_batch: int = Field(
        8, ge=1, description="One-process mode: most calls that a model answers together."
    )
    inference_gather: float = Field(
        0.005, ge=0, description="One-process mode: seconds that a model waits for calls to join a batch."
    )
    circuit_failures: int = Field(5, ge=1, description="Failures in a row after which a model is not called.")
    circuit_reset: float = Field(
        10.0, gt=0, description="Seconds until a model that is not called is tried again."
    )

    blob_attempts: int = Field(4, ge=1, description="Attempts of an object-store operation.")

    grace: float = Field(25.0, gt=0, description="Seconds from SIGTERM to the end of the process at most.")
    poll_age_limit: float = Field(
        120.0, gt=0, description="A worker that has not polled for so many seconds hangs: the process ends."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="One JSON object a line, or for people."
    )


def describe(settings_type: type[BaseSettings]) -> str:
    """Every setting of the type for `--help`: its environment variable, its default and what it is."""
    prefix = settings_type.model_config.get("env_prefix", "")
    lines: list[str] = []
    for name, field in settings_type.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "unset" if default is None else str(default)
        lines.append(f"  {prefix.upper()}{name.upper()}={shown}")
        lines.append(f"      {field.description or ''}")
    return "\n".join(lines)
