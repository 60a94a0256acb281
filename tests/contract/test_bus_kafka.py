"""What only a real Kafka can get wrong: brokers that die, answers that are lost, transactions left open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka.structs import TopicPartition

from deploy.local.lifecycle import LocalStack
from services.core.errors import Unavailable
from services.kit.bus import kafka_clients
from services.kit.bus.kafka import KafkaBus
from services.kit.bus.outcomes import Outcome
from services.kit.bus.ports import Message, OutcomeUnknown, Record
from tests.support.bus import KafkaLog, copy_to, drain, kafka_settings, messages, numbers, quick, working
from tests.support.polling import eventually


@pytest.fixture
def log(kafka_bootstrap: str) -> Iterator[KafkaLog]:
    opened = KafkaLog(kafka_bootstrap)
    yield opened
    opened.close()


@pytest.fixture
def raw_producer(kafka_bootstrap: str) -> Iterator[Callable[[str], Any]]:
    """Makes bare transactional producers with an open transaction: what a killed process leaves behind."""
    opened = []

    def make(transactional_id: str) -> Any:
        producer = KafkaProducer(
            bootstrap_servers=kafka_bootstrap,
            transactional_id=transactional_id,
            transaction_timeout_ms=120_000,
        )
        opened.append(producer)
        producer.init_transactions()
        producer.begin_transaction()
        return producer

    yield make
    for producer in opened:
        producer.close(timeout=0)


def test_what_is_not_committed_is_invisible(log: KafkaLog, raw_producer: Callable[[str], Any]) -> None:
    bus, topic = log.bus(), log.topic()
    producer = raw_producer(f"raw-{topic}")
    producer.send(topic, key=b"k", value=b"1").get(timeout=30)
    assert not list(bus.read([topic]))
    producer.abort_transaction()
    bus.publish([Message(topic=topic, key="k", value=b"2")])
    assert numbers(bus.read([topic])) == [2]
    consumer = bus.subscribe(group=f"g-{topic}", topics=[topic])
    consumer.commit(drain(consumer, 1), [])
    assert sum(entry.records for entry in bus.lag() if entry.group == f"g-{topic}") == 0
    consumer.close()


def test_a_restarted_process_ends_what_its_predecessor_left_open(
    log: KafkaLog, raw_producer: Callable[[str], Any]
) -> None:
    source, target = log.topic(), log.topic()
    producer = raw_producer(f"tercet-g-{source}-pod-7-0")
    producer.send(target, key=b"k", value=b"666").get(timeout=30)
    bus = log.bus(instance="pod-7")
    bus.publish(messages(source, 1))
    consumer = bus.subscribe(group=f"g-{source}", topics=[source])
    records = drain(consumer, 1)
    consumer.commit(records, [Message(topic=target, key="k", value=b"1")])
    assert numbers(bus.read([target])) == [1]
    consumer.close()


def test_a_commit_that_happened_and_was_not_answered_is_not_repeated(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 10))
    consumer = bus.subscribe(group=f"g-{source}", topics=[source])
    records = drain(consumer, 6)
    _lose_the_answer(monkeypatch, happens=True)
    with pytest.raises(OutcomeUnknown):
        consumer.commit(records, [Message(topic=target, key="k", value=r.value) for r in records])
    rest = drain(consumer, 4)
    assert sorted(numbers([*records, *rest])) == list(range(10))
    consumer.commit(rest, [Message(topic=target, key="k", value=r.value) for r in rest])
    assert sorted(numbers(bus.read([target]))) == list(range(10))
    consumer.close()


def test_a_commit_that_did_not_happen_is_delivered_again(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 10))
    consumer = bus.subscribe(group=f"g-{source}", topics=[source])
    records = drain(consumer, 6)
    _lose_the_answer(monkeypatch, happens=False)
    with pytest.raises(OutcomeUnknown):
        consumer.commit(records, [Message(topic=target, key="k", value=r.value) for r in records])
    again = drain(consumer, 10)
    consumer.commit(again, [Message(topic=target, key="k", value=r.value) for r in again])
    assert sorted(numbers(bus.read([target]))) == list(range(10))
    consumer.close()


@pytest.mark.parametrize("happens", [True, False])
def test_publish_finds_out_what_became_of_a_commit(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch, happens: bool
) -> None:
    bus, topic = log.bus(), log.topic()
    bus.publish(messages(topic, 1))
    _lose_the_answer(monkeypatch, happens=happens)
    if happens:
        bus.publish([Message(topic=topic, key="k", value=b"1")])
    else:
        with pytest.raises(Unavailable) as caught:
            bus.publish([Message(topic=topic, key="k", value=b"1")])
        assert not isinstance(caught.value, OutcomeUnknown)
    bus.publish([Message(topic=topic, key="k", value=b"2")])
    assert sorted(numbers(bus.read([topic]))) == ([0, 1, 2] if happens else [0, 2])


def test_a_commit_that_hangs_is_given_up_and_done_again(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the worker's bus is impatient: a busy machine must not fail the calls around it.
    bus, patient, source, target = log.bus(answer_seconds=2.0), log.bus(), log.topic(), log.topic()
    patient.publish(messages(source, 5))
    released = threading.Event()
    real = KafkaProducer.commit_transaction
    hang = iter([True])

    def commit(self: Any) -> None:
        if next(hang, False):
            released.wait(60)
        else:
            real(self)

    monkeypatch.setattr(KafkaProducer, "commit_transaction", commit)
    with working(bus, source, copy_to(target), group=f"g-{source}", settings=quick(batch_records=5)):
        eventually(lambda: _count(patient, target) >= 5, timeout=120)
    released.set()
    assert sorted(numbers(patient.read([target]))) == list(range(5))


def test_a_large_publish_goes_in_chunks_and_is_still_one_transaction(log: KafkaLog) -> None:
    bus, topic = log.bus(chunk_bytes=1024 * 1024), log.topic()
    bus.publish(messages(topic, 100, size=200_000))
    records = list(bus.read([topic]))
    assert sorted(numbers(records)) == list(range(100))
    for partition in {record.partition for record in records}:
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets))), "a marker lies in between"


def test_many_threads_publish_at_once(log: KafkaLog) -> None:
    bus, topic = log.bus(), log.topic()
    threads = [
        threading.Thread(target=bus.publish, args=([Message(topic=topic, key=f"k{n}", value=b"%d" % n)],))
        for n in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(numbers(bus.read([topic]))) == list(range(30))


def test_a_broker_killed_in_mid_run_loses_nothing_and_doubles_nothing(
    log: KafkaLog, kafka_stack: LocalStack
) -> None:
    count = 1500
    source, target = log.topic(), log.topic()
    group = f"g-{source}"
    bus, other = log.bus(), log.bus()
    published: list[int] = []
    done = threading.Event()

    def publish() -> None:
        batches = [messages(source, count)[start : start + 25] for start in range(0, count, 25)]
        for batch in batches:
            while True:
                try:
                    bus.publish(batch)
                    break
                except OutcomeUnknown:
                    raise
                except Unavailable:
                    continue
            published.extend(numbers(batch))
        done.set()

    slow = threading.Event()

    def slowly(records: Sequence[Record]) -> Sequence[Outcome]:
        slow.wait(0.02)
        return copy_to(target)(records)

    publisher = threading.Thread(target=publish)
    with (
        working(bus, source, slowly, group=group, settings=quick(batch_records=16)) as first,
        working(other, source, slowly, group=group, settings=quick(batch_records=16)) as second,
    ):
        publisher.start()
        eventually(lambda: _count(other, target) > 50, timeout=60)
        assert kafka_stack.kill("kafka")
        kafka_stack.wait_until_ready("kafka")
        publisher.join(120)
        assert done.is_set()
        eventually(lambda: _count(bus, target) >= count, timeout=120, interval=0.5)
        assert (first.halted, second.halted) == (None, None)
    assert sorted(published) == list(range(count))
    assert sorted(numbers(bus.read([source]))) == list(range(count))
    assert sorted(numbers(bus.read([target]))) == list(range(count))
    assert not list(bus.read([f"{source}.dlq"]))


def test_nothing_answers_and_nothing_is_left_over_where_no_broker_is() -> None:
    threads = threading.active_count()
    bus = KafkaBus("127.0.0.1:1", settings=kafka_settings(connect_seconds=0.3, answer_seconds=0.5))
    with pytest.raises(Unavailable):
        bus.publish(messages("topic", 1))
    with pytest.raises(Unavailable):
        bus.subscribe(group="g", topics=["topic"])
    with pytest.raises(Unavailable):
        bus.read(["topic"])
    with pytest.raises(Unavailable):
        bus.lag()
    bus.close()
    eventually(lambda: threading.active_count() <= threads)


def _count(bus: KafkaBus, topic: str) -> int:
    try:
        return len(list(bus.read([topic])))
    except Unavailable:
        return 0


def _lose_the_answer(monkeypatch: pytest.MonkeyPatch, *, happens: bool) -> None:
    """The next commit is sent (or not), and its answer never comes."""
    real = KafkaProducer.commit_transaction
    lose = iter([True])

    def commit(self: Any) -> None:
        lost = next(lose, False)
        if happens or not lost:
            real(self)
        if lost:
            raise KafkaTimeoutError("the answer is lost")

    monkeypatch.setattr(KafkaProducer, "commit_transaction", commit)


@pytest.mark.parametrize("leader", [None, -1])
def test_a_partition_whose_leader_is_not_known_yet_is_asked_for_again(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch, leader: int | None
) -> None:
    bus, topic = log.bus(), log.topic()
    bus.publish(messages(topic, 40))
    consumer = kafka_clients.reader(log.location, kafka_settings())
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        wanted = consumer.end_offsets(partitions)
        cluster = consumer._fetcher._manager.cluster
        known, unknown = cluster.leader_for_partition, [partitions[0]]

        def knows_next_time(partition: TopicPartition) -> int | None:
            if partition in unknown:
                unknown.remove(partition)
                return leader
            found: int | None = known(partition)
            return found

        monkeypatch.setattr(cluster, "leader_for_partition", knows_next_time)
        assert consumer.end_offsets(partitions) == wanted
        assert unknown == []
    finally:
        consumer.close(autocommit=False)
