"""Creating the topics of the pipeline on a fresh broker."""

from __future__ import annotations

import time
from typing import Any

from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from deploy.local.spec import StackSpec
from services.kit.bus import kafka_clients
from services.kit.bus.kafka_settings import KafkaSettings
from services.kit.bus.topics import ALL_TOPICS, DEFAULT_PARTITIONS, configuration

_POLL_SECONDS = 0.1


def create_topics(spec: StackSpec, deadline: float) -> list[str]:
    """Create the topics, dead-letter twins included, that do not exist yet; their names.

    Returns when every partition has a leader: a producer that comes earlier would only meet errors. Raises
    TimeoutError when the monotonic clock passes `deadline`, and `Unavailable` when no broker answers.
    """
    admin = kafka_clients.admin(spec.kafka_bootstrap, KafkaSettings())
    try:
        existing = set(admin.list_topics())
        created = [name for name in ALL_TOPICS if name not in existing]
        for name in created:
            topic = NewTopic(
                name,
                num_partitions=DEFAULT_PARTITIONS,
                replication_factor=spec.kafka_nodes,
                topic_configs=configuration(name),
            )
            try:
                admin.create_topics([topic])
            except TopicAlreadyExistsError:  # another client was quicker
                continue
        while waiting := [
            topic["name"] for topic in admin.describe_topics(list(ALL_TOPICS)) if not _led(topic)
        ]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"topics without a leader: {', '.join(waiting)}")
            time.sleep(_POLL_SECONDS)
        return created
    finally:
        admin.close()


def _led(topic: dict[str, Any]) -> bool:
    """Whether every partition has a leader. A topic too new for this broker has no partitions yet."""
    leaders = [partition["leader_id"] for partition in topic["partitions"]]
    return bool(leaders) and all(leader >= 0 for leader in leaders)
