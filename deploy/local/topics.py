"""Creating the topics of the pipeline on a fresh broker."""

from __future__ import annotations

from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

from deploy.local.spec import StackSpec
from services.kit.bus.topics import ALL_TOPICS, DEFAULT_PARTITIONS, MAX_MESSAGE_BYTES


def create_topics(spec: StackSpec) -> list[str]:
    """Create the topics, dead-letter twins included, that do not exist yet; their names."""
    admin = KafkaAdminClient(bootstrap_servers=spec.kafka_bootstrap.split(","))
    created = []
    try:
        existing = set(admin.list_topics())
        for name in ALL_TOPICS:
            if name in existing:
                continue
            topic = NewTopic(
                name,
                num_partitions=DEFAULT_PARTITIONS,
                replication_factor=spec.kafka_nodes,
                topic_configs={"max.message.bytes": str(MAX_MESSAGE_BYTES)},
            )
            try:
                admin.create_topics([topic])
            except TopicAlreadyExistsError:  # another command or a service was quicker
                continue
            created.append(name)
    finally:
        admin.close()
    return created
