"""What the worker makes of its handler's outcomes and failures, on the embedded log and on a real Kafka."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from services.core.errors import InvalidInput, Overloaded, Unavailable
from services.kit.bus import dlq
from services.kit.bus.outcomes import Done, Outcome, Poison
from services.kit.bus.ports import Bus, Message, Record
from services.kit.bus.topics import MAX_RECORD_BYTES
from tests.support.bus import Log, copy_to, messages, numbers, quick, working
from tests.support.polling import eventually


def test_a_poison_record_goes_to_the_dead_letters_and_its_neighbours_go_on(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    sent = [
        Message(topic=source, key=f"k{n}", value=b"%d" % n, headers={"tenant": "t", "job_id": "j"})
        for n in range(30)
    ]
    bus.publish(sent)
    copy = copy_to(target)
    tried: Counter[int] = Counter()

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        if len(records) == 1:
            tried[int(records[0].value)] += 1
        if any(record.value == b"7" for record in records):
            raise ValueError("seven is not a picture")
        if any(record.value == b"8" for record in records):
            raise InvalidInput("eight never will be")
        return [
            Poison("Declined", "nine") if record.value == b"9" else outcome
            for record, outcome in zip(records, copy(records), strict=True)
        ]

    with working(bus, source, handle, group=f"g-{source}"):
        eventually(lambda: _count(bus, target) + _count(bus, f"{source}.dlq") >= 30, timeout=60)
    assert sorted(numbers(bus.read([target]))) == [n for n in range(30) if n not in (7, 8, 9)]
    letters = {int(record.value): record for record in bus.read([f"{source}.dlq"])}
    assert set(letters) == {7, 8, 9}
    (original,) = [record for record in bus.read([source]) if record.value == b"7"]
    assert dict(letters[7].headers) == {
        "tenant": "t",
        "job_id": "j",
        "original_topic": source,
        "original_partition": str(original.partition),
        "original_offset": str(original.offset),
        "consumer_group": f"g-{source}",
        "error_class": "ValueError",
        "error_message": "seven is not a picture",
        "attempts": "3",
    }
    assert letters[7].key == "k7"
    assert tried[7] == 3
    assert (letters[8].headers["error_class"], letters[8].headers["attempts"]) == ("InvalidInput", "1")
    assert (letters[9].headers["error_class"], letters[9].headers["error_message"]) == ("Declined", "nine")


def test_transient_faults_are_tried_again_without_end_and_nothing_is_poison(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 10))
    copy = copy_to(target)
    failures = 0

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        nonlocal failures
        failures += 1
        if failures <= 8:
            raise Unavailable("Triton is away") if failures % 2 else Overloaded("busy", retry_after=0.01)
        return copy(records)

    with working(bus, source, handle, group=f"g-{source}"):
        eventually(lambda: _count(bus, target) >= 10, timeout=60)
    assert sorted(numbers(bus.read([target]))) == list(range(10))
    assert not list(bus.read([f"{source}.dlq"]))


def test_a_worker_halts_when_nearly_everything_is_poison(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 60))

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        raise TypeError("a bad deploy")

    settings = quick(batch_records=10, attempts=1, poison_limit_records=15, poison_limit_share=0.5)
    with working(bus, source, handle, group=f"g-{source}", settings=settings) as worker:
        reason = eventually(lambda: worker.halted, timeout=60)
    assert reason is not None
    assert "could not be worked" in reason
    dead = _count(bus, f"{source}.dlq")
    assert dead <= 15
    with working(bus, source, copy_to(target), group=f"g-{source}"):
        eventually(lambda: _count(bus, target) >= 60 - dead, timeout=60)
    assert _count(bus, target) == 60 - dead, "what was not committed is worked by the next deploy"


def test_a_few_poison_records_do_not_halt(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 60))
    copy = copy_to(target)

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        return [
            Poison("E", "r") if int(record.value) % 5 == 0 else outcome
            for record, outcome in zip(records, copy(records), strict=True)
        ]

    settings = quick(batch_records=10, poison_limit_records=5, poison_limit_share=0.5)
    with working(bus, source, handle, group=f"g-{source}", settings=settings) as worker:
        eventually(lambda: _count(bus, target) + _count(bus, f"{source}.dlq") >= 60, timeout=60)
        assert worker.halted is None
    assert _count(bus, f"{source}.dlq") == 12


def test_stop_finishes_the_batch_at_hand(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 5, keys=1))
    started, go_on = threading.Event(), threading.Event()
    copy = copy_to(target)

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        started.set()
        assert go_on.wait(30)
        return copy(records)

    with working(bus, source, handle, group=f"g-{source}") as worker:
        assert started.wait(30)
        worker.stop()
        go_on.set()
    assert worker.halted is None
    assert sorted(numbers(bus.read([target]))) == list(range(5))


def test_stop_gives_up_a_batch_that_takes_longer_than_the_grace(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 5))
    started, never = threading.Event(), threading.Event()

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        started.set()
        never.wait(60)
        return [Done() for _ in records]

    with working(bus, source, handle, group=f"g-{source}", settings=quick(drain_seconds=0.2)) as worker:
        assert started.wait(30)
        worker.stop()
    assert worker.halted is None
    with working(bus, source, copy_to(target), group=f"g-{source}"):
        eventually(lambda: _count(bus, target) >= 5, timeout=60)
    never.set()
    assert sorted(numbers(bus.read([target]))) == list(range(5))


def test_stop_ends_a_wait_for_something_that_is_away(log: Log) -> None:
    bus, source = log.bus(), log.topic()
    bus.publish(messages(source, 1))
    failed = threading.Event()

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        failed.set()
        raise Unavailable("away")

    settings = quick(backoff_seconds=60.0, backoff_limit_seconds=60.0)
    with working(bus, source, handle, group=f"g-{source}", settings=settings) as worker:
        assert failed.wait(30)
        worker.stop()
    assert worker.halted is None
    assert not list(bus.read([f"{source}.dlq"]))


def test_the_membership_survives_a_handler_slower_than_a_member_may_be(log: Log) -> None:
    bus, source, target = log.bus(poll_interval_limit_seconds=3.0), log.topic(), log.topic()
    bus.publish(messages(source, 4, keys=1))
    copy = copy_to(target)
    calls = 0
    pause = threading.Event()

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        nonlocal calls
        calls += 1
        pause.wait(5.0 if log.kind == "kafka" else 0.3)
        return copy(records)

    with working(bus, source, handle, group=f"g-{source}", settings=quick(batch_records=4)) as worker:
        eventually(lambda: _count(bus, target) >= 4, timeout=60)
        assert worker.poll_age() < 2.0
    assert sorted(numbers(bus.read([target]))) == list(range(4))
    assert calls <= 4


def test_skipped_records_are_consumed_without_outputs(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 20))
    seen: list[int] = []
    copy = copy_to(target)

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        seen.extend(numbers(records))
        return copy(records)

    with working(bus, source, handle, group=f"g-{source}", skip=lambda record: int(record.value) % 2 == 0):
        eventually(lambda: _count(bus, target) >= 10, timeout=60)
        eventually(lambda: _unread(bus, f"g-{source}") == 0, timeout=60)
    assert sorted(seen) == sorted(numbers(bus.read([target]))) == list(range(1, 20, 2))


def test_the_trace_of_a_record_goes_on_in_its_outputs(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish([Message(topic=source, key="k", value=b"1", headers={"traceparent": "of the record"})])

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        return [
            Done(
                (
                    Message(topic=target, key="k", value=b"1"),
                    Message(topic=target, key="k", value=b"2", headers={"traceparent": "its own"}),
                )
            )
            for _ in records
        ]

    with working(bus, source, handle, group=f"g-{source}"):
        eventually(lambda: _count(bus, target) >= 2, timeout=60)
    assert [record.headers["traceparent"] for record in bus.read([target])] == ["of the record", "its own"]


def test_an_output_that_is_too_large_makes_its_record_poison(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 3))

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        return [
            Done(
                (
                    Message(
                        topic=target, key="k", value=bytes(MAX_RECORD_BYTES) if r.value == b"1" else r.value
                    ),
                )
            )
            for r in records
        ]

    settings = quick(poison_limit_records=10)
    with working(bus, source, handle, group=f"g-{source}", settings=settings):
        eventually(lambda: _count(bus, target) + _count(bus, f"{source}.dlq") >= 3, timeout=60)
    (letter,) = bus.read([f"{source}.dlq"])
    assert (letter.value, letter.headers["error_class"]) == (b"1", "TooLarge")


def test_a_handler_that_forgets_a_record_does_not_lose_it(log: Log) -> None:
    bus, source, target = log.bus(), log.topic(), log.topic()
    bus.publish(messages(source, 6, keys=1))
    copy = copy_to(target)

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        return copy(records)[:-1] if len(records) > 1 else copy(records)

    with working(bus, source, handle, group=f"g-{source}"):
        eventually(lambda: _count(bus, target) >= 6, timeout=60)
    assert sorted(numbers(bus.read([target]))) == list(range(6))
    assert not list(bus.read([f"{source}.dlq"]))


def test_a_replayed_record_that_fails_again_is_a_new_letter(log: Log) -> None:
    bus, source = log.bus(), log.topic()
    bus.publish(messages(source, 1))

    def handle(records: Sequence[Record]) -> Sequence[Outcome]:
        raise InvalidInput("no")

    def letters() -> list[str]:
        return [letter.id for letter in dlq.open_letters(bus, topics=[source])]

    with working(bus, source, handle, group=f"g-{source}"):
        (first,) = eventually(letters, timeout=60)
        dlq.replay(bus, topics=[source])
        (second,) = eventually(lambda: [letter for letter in letters() if letter != first], timeout=60)
    assert letters() == [second]
    last = max(bus.read([f"{source}.dlq"]), key=lambda record: record.offset)
    assert last.headers[dlq.Header.REPLAYED_FROM] == first
    assert last.headers[dlq.Header.ATTEMPTS] == "1"


def _count(bus: Bus, topic: str) -> int:
    return sum(1 for _ in bus.read([topic]))


def _unread(bus: Bus, group: str) -> int:
    entries = [entry.records for entry in bus.lag() if entry.group == group]
    return sum(entries) if entries else -1
