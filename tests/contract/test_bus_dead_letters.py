"""What every bus promises of dead letters, on the embedded log and on a real Kafka."""

from __future__ import annotations

import threading
from collections import Counter

from services.core.errors import Conflict, Unavailable
from services.kit.bus import dlq
from services.kit.bus.dlq import Selection
from services.kit.bus.outcomes import Poison
from services.kit.bus.ports import Message, Record
from services.kit.bus.topics import DLQ_REPLAYS
from tests.support.bus import (
    Log,
    drain,
    numbers,
)
from tests.support.polling import eventually


def test_dead_letters_are_listed_and_replayed_once(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    bus.publish([_of_job(topic, number, f"job-{number % 2}") for number in range(6)])
    consumer = bus.subscribe(group=f"g-{topic}", topics=[topic])
    records = drain(consumer, 6)
    consumer.commit(
        records,
        [dlq.letter(record, Poison("ValueError", "bad"), group="g", attempts=3) for record in records],
    )
    consumer.close()

    everything = dlq.open_letters(bus, topics=[topic])
    assert len(everything) == 6
    assert {(letter.topic, letter.error, letter.reason, letter.attempts) for letter in everything} == {
        (topic, "ValueError", "bad", 3)
    }
    assert {(letter.partition, letter.offset) for letter in everything} == {
        (r.partition, r.offset) for r in records
    }
    of_job = Selection(job_id="job-1", topic=topic)
    assert len(dlq.open_letters(bus, of_job, topics=[topic])) == 3
    assert not dlq.open_letters(bus, Selection(tenant="another"), topics=[topic])

    one = Selection(ids={everything[0].id})
    assert [letter.id for letter in dlq.replay(bus, one, topics=[topic])] == [everything[0].id]
    assert not dlq.replay(bus, one, topics=[topic])
    replayed = dlq.replay(log.bus(), of_job, topics=[topic])
    assert {letter.job_id for letter in replayed} == {"job-1"}
    eventually(lambda: {letter.job_id for letter in dlq.open_letters(bus, topics=[topic])} == {"job-0"})
    dlq.replay(bus, topics=[topic])
    assert not dlq.open_letters(bus, topics=[topic])

    again = [record for record in bus.read([topic]) if dlq.Header.REPLAYED_FROM in record.headers]
    assert sorted(numbers(again)) == list(range(6))
    for record in again:
        assert set(record.headers) == {"tenant", "job_id", dlq.Header.REPLAYED_FROM}
    assert {record.headers[dlq.Header.REPLAYED_FROM] for record in again} == {
        letter.id for letter in everything
    }


def test_replays_at_once_write_no_letter_twice(log: Log) -> None:
    bus, topic = log.bus(), log.topic()
    letters = [
        dlq.letter(
            Record(topic=topic, key=f"k{n}", value=b"%d" % n, partition=0, offset=n, timestamp_ms=0),
            Poison("E", "r"),
            group="g",
            attempts=1,
        )
        for n in range(20)
    ]
    bus.publish(letters)
    ends: list[str] = []

    def replay() -> None:
        try:
            dlq.replay(bus, topics=[topic])
            ends.append("done")
        except (Conflict, Unavailable) as error:
            ends.append(type(error).__name__)

    threads = [threading.Thread(target=replay) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ends) == 3
    dlq.replay(bus, topics=[topic])
    assert sorted(numbers(bus.read([topic]))) == list(range(20))
    assert (
        Counter(r.key for r in bus.read([DLQ_REPLAYS]) if r.key.startswith(topic)).most_common(1)[0][1] == 1
    )


def _of_job(topic: str, number: int, job_id: str) -> Message:
    return Message(
        topic=topic, key=f"k{number}", value=b"%d" % number, headers={"tenant": "t", "job_id": job_id}
    )
