"""Settings of the Kafka adapter."""

from __future__ import annotations

import socket
import uuid

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class KafkaSettings(BaseSettings):
    """Time limits and sizes of the Kafka adapter. The defaults suit a stack of any size."""

    model_config = SettingsConfigDict(env_prefix="TERCET_KAFKA_", frozen=True, extra="ignore")

    instance: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}",
        description="Name of this process among the replicas, the same after a restart: a restarted process "
        "then ends the transactions that its predecessor left open. Unset: random; they end by timeout.",
    )
    session_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        description="A member that is silent for so long is dead; its partitions go to others.",
    )
    poll_interval_limit_seconds: float = Field(
        default=120.0, gt=0, description="A member that has not polled for so long is dead."
    )
    transaction_timeout_seconds: float = Field(
        default=60.0, gt=0, description="The brokers abort a worker's transaction after so long."
    )
    publish_timeout_seconds: float = Field(
        default=180.0, gt=0, description="The brokers abort a publish call's transaction after so long."
    )
    answer_seconds: float = Field(
        default=30.0, gt=0, description="How long a publish or commit may take before it counts as failed."
    )
    connect_seconds: float = Field(default=10.0, gt=0, description="How long to try to reach a broker.")
    chunk_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1, description="Bytes that one producer has in flight at a time."
    )
    in_flight_bytes: int = Field(
        default=256 * 1024 * 1024, ge=1, description="Bytes of all publish calls under way; more are refused."
    )
    publishers: int = Field(
        default=2, ge=1, description="Transactions that publish calls may have open together."
    )
    fetch_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1,
        description="Bytes that a consumer fetches at a time; a record always fits.",
    )
    lag_seconds: float = Field(default=2.0, ge=0, description="How long a computed lag is answered again.")
    stall_seconds: float = Field(
        default=60.0,
        gt=0,
        description="A group that has not moved for so long while records wait is stalled.",
    )
