"""kafka-python's clients as Tercet wants them: what each is told, and no remains when one cannot connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from services.core.errors import Unavailable
from services.kit.bus.kafka_offsets import await_leaders
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.kafka_sockets import close_forgotten_sockets
from services.kit.bus.topics import MAX_MESSAGE_BYTES


def admin(bootstrap: str, settings: KafkaSettings) -> Any:
    """A `KafkaAdminClient`. Like all of these, raises `Unavailable` when no broker answers."""
    return _connect(KafkaAdminClient, _common(bootstrap, settings))


def producer(bootstrap: str, settings: KafkaSettings, transactional_id: str, timeout_seconds: float) -> Any:
    """A transactional `KafkaProducer`: acknowledged by all in-sync replicas; images need no compression."""
    return _connect(
        KafkaProducer,
        {
            **_common(bootstrap, settings),
            "client_id": transactional_id,
            "transactional_id": transactional_id,
            "transaction_timeout_ms": _ms(timeout_seconds),
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
        },
    )


def reader(bootstrap: str, settings: KafkaSettings) -> Any:
    """A `KafkaConsumer` of committed records that belongs to no group."""
    # What is read is there already; a fetch that waits for more would hold up the next one.
    consumer = _connect(KafkaConsumer, {**_reading(bootstrap, settings), "fetch_max_wait_ms": 10})
    await_leaders(consumer)
    return consumer


def member(bootstrap: str, settings: KafkaSettings, group: str) -> Any:
    """A `KafkaConsumer` of committed records in a group: dynamic membership, partitions moved one by one."""
    return _connect(
        KafkaConsumer,
        {
            **_reading(bootstrap, settings),
            "client_id": f"{group}-{settings.instance}",
            "group_id": group,
            "partition_assignment_strategy": (CooperativeStickyAssignor,),
            "session_timeout_ms": _ms(settings.session_timeout_seconds),
            "heartbeat_interval_ms": _ms(settings.session_timeout_seconds / 5),
            "max_poll_interval_ms": _ms(settings.poll_interval_limit_seconds),
            # A topic made a moment ago may be unknown when partitions are assigned: looked at again soon.
            "metadata_max_age_ms": 5_000,
            "fetch_max_wait_ms": 250,
        },
    )


def _common(bootstrap: str, settings: KafkaSettings) -> dict[str, Any]:
    return {
        "bootstrap_servers": bootstrap.split(","),
        "bootstrap_timeout_ms": _ms(settings.connect_seconds),
        "request_timeout_ms": _ms(max(1.0, settings.answer_seconds / 2)),
        "reconnect_backoff_max_ms": 1000,
        "retry_backoff_ms": 50,
    }


def _reading(bootstrap: str, settings: KafkaSettings) -> dict[str, Any]:
    return {
        **_common(bootstrap, settings),
        "client_id": f"tercet-reader-{settings.instance}",
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "max_partition_fetch_bytes": MAX_MESSAGE_BYTES,
        "fetch_max_bytes": max(settings.fetch_bytes, MAX_MESSAGE_BYTES),
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def _connect(kind: Callable[..., Any], configuration: dict[str, Any]) -> Any:
    """A client. When its constructor fails, kafka-python leaves a thread and sockets, closed here."""
    close_forgotten_sockets()
    networks: list[KafkaNetClient] = []

    def network(**given: Any) -> KafkaNetClient:
        networks.append(KafkaNetClient(**given))
        return networks[-1]

    try:
        return kind(**configuration, kafka_client=network)
    except BaseException as error:
        for opened in networks:
            opened.close()
        if isinstance(error, KafkaError):
            brokers = ",".join(configuration["bootstrap_servers"])
            raise Unavailable(f"cannot reach Kafka at {brokers}: {error!r}") from error
        raise


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
