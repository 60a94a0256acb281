"""What every bus promises, on the embedded log and on a real Kafka."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest

from services.core.errors import Conflict, TooLarge, Unavailable
from services.kit.bus import dlq, limits
from services.kit.bus.outcomes import Poison
from services.kit.bus.ports import Consumer, Message, Record
from services.kit.bus.topics import MAX_RECORD_BYTES
from tests.support.bus import (
    PARTITIONS,
    Log,
    copy_to,
    drain,
    messages,
    numbers,
    working,
)
from tests.support.polling import eventually


def test_a_record_is_read_as_it_was_written(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    before_ms = int(time.time() * 1000) - 1000
    bus.publish(
        [Message(topic=topic, key="schlüssel", value=b"\x00\xff", headers={"tenant": "ä", "empty": ""})]
    )
    bus.publish([Message(topic=topic, key="", value=b"")])
    with_headers, empty = sorted(bus.read([topic]), key=lambda record: -len(record.key))
    assert (with_headers.key, with_headers.value) == ("schlüssel", b"\x00\xff")
    assert with_headers.headers == {"tenant": "ä", "empty": ""}
    assert before_ms <= with_headers.timestamp_ms <= time.time() * 1000 + 1000
    assert (empty.key, empty.value, dict(empty.headers)) == ("", b"", {})


def test_records_of_a_key_stay_in_order_and_on_one_partition(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    sent = messages(topic, 120, keys=12)
    for start in range(0, 120, 40):
        bus.publish(sent[start : start + 40])
    consumer = bus.subscribe(group=f"g-{topic}", topics=[topic])
    polled: list[Record] = []
    while len(polled) < 120:
        batch = drain(consumer, 30)
        consumer.commit(batch, [])
        polled += batch
    consumer.close()
    by_key: dict[str, list[int]] = defaultdict(list)
    partitions: dict[str, set[int]] = defaultdict(set)
    for record in polled:
        by_key[record.key].append(int(record.value))
        partitions[record.key].add(record.partition)
    assert by_key == {f"key-{key}": list(range(key, 120, 12)) for key in range(12)}
    assert all(len(numbers_) == 1 for numbers_ in partitions.values())
    assert {number for numbers_ in partitions.values() for number in numbers_} == set(range(PARTITIONS))


def test_outputs_and_offsets_are_committed_together(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 20))
    consumer = bus.subscribe(group=f"g-{source}", topics=[source])
    first = drain(consumer, 12)
    consumer.commit(first, [Message(topic=target, key="k", value=r.value) for r in first])
    assert sorted(numbers(bus.read([target]))) == sorted(numbers(first))
    rest = drain(consumer, 8)
    assert sorted(numbers([*first, *rest])) == list(range(20))
    consumer.close()
    again = bus.subscribe(group=f"g-{source}", topics=[source])
    assert sorted(numbers(drain(again, 8))) == sorted(numbers(rest))
    again.close()


def test_what_is_not_committed_is_delivered_again_after_a_rewind(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    bus.publish(messages(topic, 10))
    consumer = bus.subscribe(group=f"g-{topic}", topics=[topic])
    committed = drain(consumer, 4)
    consumer.commit(committed, [])
    abandoned = drain(consumer, 4)
    consumer.rewind()
    again = drain(consumer, 6)
    assert set(numbers(abandoned)) <= set(numbers(again))
    assert sorted(numbers([*committed, *again])) == list(range(10))
    consumer.commit(again, [])
    assert not consumer.poll(max_records=10, timeout=0.3)
    consumer.close()


def test_a_paused_consumer_delivers_nothing_and_loses_nothing(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    bus.publish(messages(topic, 10))
    consumer = bus.subscribe(group=f"g-{topic}", topics=[topic])
    first = drain(consumer, 3)
    consumer.pause()
    for _ in range(3):
        assert not consumer.poll(max_records=10, timeout=0.05)
    consumer.resume()
    assert sorted(numbers([*first, *drain(consumer, 7)])) == list(range(10))
    consumer.close()


def test_a_poll_is_bounded_by_bytes_but_a_single_record_always_comes(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    bus.publish(messages(topic, 12, keys=1, size=1000))
    consumer = bus.subscribe(group=f"g-{topic}", topics=[topic])

    def poll(max_bytes: int) -> list[int]:
        return eventually(lambda: numbers(consumer.poll(max_records=10, max_bytes=max_bytes, timeout=0.2)))

    assert poll(3500) == [0, 1, 2]
    assert poll(10) == [3]
    assert poll(2500) == [4, 5]
    consumer.close()


def test_a_poll_wakes_up_for_a_publish(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    consumer = bus.subscribe(group=f"g-{topic}", topics=[topic])
    bus.publish(messages(topic, 1))
    drain(consumer, 1)
    threading.Timer(0.2, bus.publish, [messages(topic, 1)]).start()
    started = time.monotonic()
    assert eventually(lambda: consumer.poll(max_records=1, timeout=20.0), interval=0.0)
    assert time.monotonic() - started < 5.0
    consumer.close()


def test_members_share_the_partitions_and_take_over_from_one_that_leaves(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    group = f"g-{source}"
    members = [log.bus().subscribe(group=group, topics=[source]) for _ in range(3)]
    owned: list[set[int]] = [set(), set(), set()]
    sent = 0

    def all_have_work() -> bool:
        nonlocal sent
        if sent < 4000:
            bus.publish(
                [Message(topic=source, key=f"k{sent + n}", value=b"%d" % (sent + n)) for n in range(40)]
            )
            sent += 40
        for member, partitions in zip(members, owned, strict=True):
            partitions.clear()
            partitions.update(_work(member, target))
        return all(owned)

    eventually(all_have_work, timeout=60, interval=0.0)
    assert sum(map(len, owned)) == len(set.union(*owned)), "two members worked one partition"
    members.pop().close()

    def everything_is_copied() -> bool:
        for member in members:
            _work(member, target)
        return len(list(bus.read([target]))) >= sent

    eventually(everything_is_copied, timeout=60, interval=0.0)
    assert sorted(numbers(bus.read([target]))) == list(range(sent))
    for member in members:
        member.close()


def test_a_member_cannot_commit_what_went_to_another(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    group = f"g-{source}"
    bus.publish(messages(source, 40))
    first = bus.subscribe(group=group, topics=[source])
    held = drain(first, 40)
    first.pause()
    others = log.bus()
    second = others.subscribe(group=group, topics=[source])
    taken: list[Record] = []

    def second_has_some() -> bool:
        first.poll(max_records=1, timeout=0.0)
        taken.extend(second.poll(max_records=40, timeout=0.1))
        return bool(taken)

    eventually(second_has_some, timeout=60, interval=0.0)
    second.commit(taken, [Message(topic=target, key=r.key, value=r.value) for r in taken])
    with pytest.raises(Unavailable):
        first.commit(held, [Message(topic=target, key=r.key, value=r.value) for r in held])
    assert sorted(numbers(others.read([target]))) == sorted(numbers(taken))
    first.resume()

    def everything_is_copied() -> bool:
        _work(first, target)
        _work(second, target)
        return len(list(others.read([target]))) >= 40

    eventually(everything_is_copied, timeout=60, interval=0.0)
    assert sorted(numbers(others.read([target]))) == list(range(40))
    first.close()
    second.close()


def test_a_member_that_is_killed_leaves_nothing_lost_and_nothing_twice(log: Log) -> None:
    source, target = log.topic(), log.topic()
    log.bus().publish(messages(source, 100))
    group = f"g-{source}"
    if log.kind == "embedded":
        log.close()
    victim = subprocess.Popen(
        [sys.executable, "-m", "tests.support.bus_victim", log.kind, log.location, group, source, target],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    with victim.stdout:
        assert "holding" in victim.stdout.readline()
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
    bus = log.bus()
    assert len(list(bus.read([target]))) == 20
    with working(bus, source, copy_to(target), group=group):
        eventually(lambda: len(list(bus.read([target]))) >= 100, timeout=60)
    assert sorted(numbers(bus.read([target]))) == list(range(100))


def test_publish_writes_all_or_nothing(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    too_large = Message(topic=topic, key="k", value=bytes(MAX_RECORD_BYTES))
    with pytest.raises(TooLarge):
        bus.publish([*messages(topic, 10), too_large, *messages(topic, 10)])
    assert not list(bus.read([topic]))
    bus.publish(messages(topic, 500, size=2000))
    assert sorted(numbers(bus.read([topic]))) == list(range(500))


def test_the_largest_record_passes_and_a_larger_one_is_refused(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    largest = Message(topic=source, key="k", value=bytes(MAX_RECORD_BYTES - 1))
    bus.publish([largest, largest])
    consumer = bus.subscribe(group=f"g-{source}", topics=[source])
    polled = drain(consumer, 2)
    assert limits.size(polled[0]) == MAX_RECORD_BYTES
    with pytest.raises(TooLarge):
        consumer.commit(polled[:1], [Message(topic=target, key="kk", value=polled[0].value)])
    consumer.commit(polled[:1], [dlq.letter(polled[0], Poison("E", "r" * 5000), group="g", attempts=1)])
    (letter,) = bus.read([f"{source}.dlq"])
    assert letter.value == largest.value
    consumer.close()


def test_read_goes_to_the_end_as_it_was_at_the_call(log: Log) -> None:
    bus, one, two = log.bus(), log.topic(), log.topic()
    bus.publish(messages(one, 30))
    bus.publish(messages(two, 5))
    reading = bus.read([two, one])
    bus.publish(messages(one, 30))
    records = list(reading)
    assert [record.topic for record in records] == [two] * 5 + [one] * 30
    for partition in range(PARTITIONS):
        offsets = [r.offset for r in records if r.topic == one and r.partition == partition]
        assert offsets == sorted(offsets)


def test_read_since_a_time_leaves_out_what_is_older(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    bus.publish(messages(topic, 8))
    newest = max(record.timestamp_ms for record in bus.read([topic]))
    eventually(lambda: time.time() * 1000 > newest + 1, interval=0.001)
    since_ms = newest + 1
    assert not list(bus.read([topic], since_ms=since_ms))
    bus.publish([Message(topic=topic, key="new", value=b"99")])
    assert numbers(bus.read([topic], since_ms=since_ms)) == [99]
    assert not list(bus.read([topic], since_ms=since_ms + 3_600_000))


def test_lag_counts_the_unread_and_tells_their_age_and_a_stall(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    group = f"g-{topic}"
    bus.publish(messages(topic, 40))

    def lag() -> dict[int, int]:
        return {entry.partition: entry.records for entry in bus.lag() if entry.group == group}

    consumer = bus.subscribe(group=group, topics=[topic])
    consumer.commit(drain(consumer, 40), [])
    eventually(lambda: lag() == dict.fromkeys(range(PARTITIONS), 0))
    assert {entry.seconds for entry in bus.lag() if entry.group == group} == {0.0}

    bus.publish(messages(topic, 40))
    slack = PARTITIONS * 2 if log.markers else 0
    assert 40 <= sum(lag().values()) <= 40 + slack
    entry = eventually(lambda: [e for e in bus.lag() if e.group == group and e.seconds > 0.3])[0]
    assert entry.seconds < 20
    assert entry.members == 1
    assert eventually(lambda: all(e.stalled for e in bus.lag() if e.group == group))

    consumer.commit(drain(consumer, 40), [])
    assert not any(entry.stalled for entry in bus.lag() if entry.group == group)
    assert sum(lag().values()) == 0
    consumer.close()
    assert eventually(lambda: all(e.members == 0 for e in bus.lag() if e.group == group) and lag())


def test_a_group_that_never_committed_lags_from_the_start(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    bus.publish(messages(topic, 12))
    consumer = bus.subscribe(group=f"g-{topic}", topics=[topic])
    drain(consumer, 12)
    unread = sum(entry.records for entry in bus.lag() if entry.group == f"g-{topic}")
    assert 12 <= unread <= 12 + (PARTITIONS if log.markers else 0)
    consumer.close()


def test_only_the_latest_writer_of_a_name_can_write(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    first = bus.writer(topic)
    first.publish(messages(topic, 1))
    second = log.bus().writer(topic)
    with pytest.raises(Conflict):
        first.publish(messages(topic, 1))
    second.publish(messages(topic, 1))
    with pytest.raises(Conflict):
        first.publish(messages(topic, 1))
    second.publish(messages(topic, 1))
    assert numbers(bus.read([topic])) == [0, 0, 0]
    first.close()
    second.close()


def _work(member: Consumer, target: str) -> set[int]:
    """Copy what one poll delivers; the partitions it came from."""
    records = member.poll(max_records=100, timeout=0.1)
    try:
        member.commit(records, [Message(topic=target, key=r.key, value=r.value) for r in records])
    except Unavailable:
        return set()
    return {record.partition for record in records}
