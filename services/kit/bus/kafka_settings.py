"""How Tercet speaks to Kafka: the settings of a process, and what they mean for kafka-python's clients."""

from __future__ import annotations

import socket
import uuid
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.kit.bus.topics import MAX_MESSAGE_BYTES


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
        default=60.0,
        gt=0,
        description="The brokers abort a worker's or publisher's transaction after so long.",
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


def client(bootstrap: str, settings: KafkaSettings) -> dict[str, Any]:
    """What every client is told."""
    return {
        "bootstrap_servers": bootstrap.split(","),
        "bootstrap_timeout_ms": _ms(settings.connect_seconds),
        "request_timeout_ms": _ms(max(1.0, settings.answer_seconds / 2)),
        "reconnect_backoff_max_ms": 1000,
        "retry_backoff_ms": 50,
    }


def producer(bootstrap: str, settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """A transactional producer: acknowledged by all in-sync replicas; not compressed, as images are."""
    return {
        **client(bootstrap, settings),
        "client_id": transactional_id,
        "transactional_id": transactional_id,
        "transaction_timeout_ms": _ms(settings.transaction_timeout_seconds),
        "acks": "all",
        "compression_type": None,
        "max_request_size": MAX_MESSAGE_BYTES,
        "batch_size": 256 * 1024,
        "linger_ms": 0,
        "max_block_ms": _ms(settings.answer_seconds),
        "delivery_timeout_ms": _ms(settings.answer_seconds),
        # The broker answers CONCURRENT_TRANSACTIONS for a moment after each commit.
        "retry_backoff_ms": 10,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def reader(bootstrap: str, settings: KafkaSettings) -> dict[str, Any]:
    """A consumer of committed records that belongs to no group."""
    return {
        **client(bootstrap, settings),
        "client_id": f"tercet-reader-{settings.instance}",
        "group_id": None,
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "max_partition_fetch_bytes": MAX_MESSAGE_BYTES,
        "fetch_max_bytes": max(settings.fetch_bytes, MAX_MESSAGE_BYTES),
        # What is read is there already; a fetch that waits for more would hold up the next one.
        "fetch_max_wait_ms": 10,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def member(bootstrap: str, settings: KafkaSettings, group: str) -> dict[str, Any]:
    """A consumer of committed records in a group: dynamic membership, partitions moved one by one."""
    return {
        **reader(bootstrap, settings),
        "client_id": f"{group}-{settings.instance}",
        "group_id": group,
        "partition_assignment_strategy": (CooperativeStickyAssignor,),
        "session_timeout_ms": _ms(settings.session_timeout_seconds),
        "heartbeat_interval_ms": _ms(settings.session_timeout_seconds / 5),
        "max_poll_interval_ms": _ms(settings.poll_interval_limit_seconds),
        "metadata_max_age_ms": 30_000,
        "fetch_max_wait_ms": 250,
    }


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
