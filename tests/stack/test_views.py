"""A Redis that lost everything: the next `up` makes the views again from Kafka's log."""

from __future__ import annotations

import pytest
import redis
from kafka import KafkaProducer

from deploy.local.lifecycle import private_stack
from services.kit.bus.topics import JOBS_EVENTS, encode
from tercet.v1 import records_pb2
from tests.support.polling import eventually


@pytest.mark.timeout(300)
def test_a_lost_view_is_made_again_from_the_log() -> None:
    with private_stack(["kafka", "redis", "mining", "dataset"]) as stack:
        _publish_a_job(stack.spec.kafka_bootstrap)
        eventually(lambda: _keys(stack.spec.ports.redis, b"job_lost"), timeout=60)
        for service in ("mining", "dataset"):
            stack.stop(service)  # an orderly stop commits: nothing would come a second time by itself
        keys = _keys(stack.spec.ports.redis, b"job_lost")

        (killed,) = stack.kill("redis")
        eventually(lambda: stack.pid("redis") not in (0, killed))
        stack.wait_until_ready("redis")
        assert _keys(stack.spec.ports.redis, b"job_lost") == set()

        stack.up()
        assert _keys(stack.spec.ports.redis, b"job_lost") == keys
        assert stack.pid("mining-0") != 0
        assert stack.pid("dataset-0") != 0


def _publish_a_job(bootstrap: str) -> None:
    event = records_pb2.JobEvent(job_id="job_lost", tenant="acme")
    event.at.GetCurrentTime()
    event.created.SetInParent()
    message = encode(JOBS_EVENTS, event, key="job_lost", tenant="acme", job_id="job_lost")
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    headers = [(name, value.encode()) for name, value in message.headers.items()]
    producer.send(message.topic, key=message.key.encode(), value=message.value, headers=headers).get(30)
    producer.close(timeout=10)


def _keys(port: int, part: bytes) -> set[bytes]:
    """The keys whose name holds `part`."""
    with redis.Redis(port=port) as client:
        return {key for key in client.scan_iter() if part in key}
