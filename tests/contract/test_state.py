"""One suite for the state: fakeredis in the process, and a real Redis."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from services.core.errors import InvalidInput, Unavailable
from services.kit.bus.embedded import EmbeddedBus
from services.kit.bus.ports import Message, Record
from services.kit.state.cancelled import CancelledJobs
from services.kit.state.embedded import embedded
from services.kit.state.rebuild import clear, rebuild
from services.kit.state.redis import connect


@pytest.fixture(params=["embedded", "redis"])
def state(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    client = embedded() if request.param == "embedded" else connect(request.getfixturevalue("redis_url"))
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


def record(job_id: str, *, key: str = "i", topic: str = "images.submitted") -> Record:
    return Record(
        topic=topic, key=key, value=b"", headers={"job_id": job_id}, partition=0, offset=0, timestamp_ms=0
    )


def test_replies_are_bytes(state: redis.Redis) -> None:
    state.set("tercet:test:a", "é")
    assert state.get("tercet:test:a") == "é".encode()
    state.hset("tercet:test:h", mapping={"f": 1})
    assert state.hgetall("tercet:test:h") == {b"f": b"1"}


def test_lua_moves_several_keys_at_once(state: redis.Redis) -> None:
    """A lease as mining takes it: once, whoever races for it."""
    lease = state.register_script(
        """
        local task = redis.call('ZPOPMAX', KEYS[1])
        if #task == 0 then return nil end
        redis.call('HSET', KEYS[2], task[1], ARGV[1])
        return task[1]
        """
    )
    tasks = {f"task-{number}": number for number in range(50)}
    state.zadd("tercet:test:queue", tasks)

    def work(annotator: str) -> list[bytes]:
        mine: list[bytes] = []
        while task := lease(keys=["tercet:test:queue", "tercet:test:leases"], args=[annotator]):
            mine.append(task)
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [task for mine in pool.map(work, ["ann", "ben", "cat", "dan"]) for task in mine]
    assert sorted(taken) == sorted(task.encode() for task in tasks)
    assert state.hlen("tercet:test:leases") == 50


def test_scripts_survive_a_server_that_forgot_them(state: redis.Redis) -> None:
    script = state.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert script(keys=["tercet:test:n"], args=[2]) == 2
    state.script_flush()
    assert script(keys=["tercet:test:n"], args=[3]) == 5
    state.script_flush()
    with state.pipeline() as pipeline:
        script(keys=["tercet:test:n"], args=[1], client=pipeline)
        assert pipeline.execute() == [6]


def test_watched_transactions_notice_others(state: redis.Redis) -> None:
    state.set("tercet:test:a", 1)
    with state.pipeline() as pipeline:
        pipeline.watch("tercet:test:a")  # type: ignore[no-untyped-call]
        state.set("tercet:test:a", 2)
        pipeline.multi()
        pipeline.set("tercet:test:a", 3)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    assert state.get("tercet:test:a") == b"2"


def test_mistakes_of_ours_stay_what_they_are(state: redis.Redis) -> None:
    state.set("tercet:test:a", "text")
    with pytest.raises(ResponseError):
        state.incr("tercet:test:a")


def test_cancelled_jobs_are_skipped(state: redis.Redis) -> None:
    cancelled = CancelledJobs(state)
    cancelled.add("job-1")
    cancelled.add("job-1")
    assert "job-1" in cancelled
    assert "job-2" not in cancelled
    assert "" not in cancelled
    assert cancelled.skip(record("job-1"))
    assert not cancelled.skip(record("job-2"))
    assert "job-1" in CancelledJobs(state), "it is the store that knows, not the object"


def test_clear_forgets_one_services_keys_only(state: redis.Redis) -> None:
    with state.pipeline() as pipeline:
        for number in range(1203):
            pipeline.set(f"tercet:mining:{number}", 1)
        pipeline.set("tercet:dataset:a", 1)
        pipeline.execute()
    assert clear(state, "tercet:mining:") == 1203
    assert list(state.scan_iter("tercet:*")) == [b"tercet:dataset:a"]
    for wrong in ("", "tercet:", "tercet:*:", "other:"):
        with pytest.raises(InvalidInput):
            clear(state, wrong)


def test_a_view_is_the_same_after_a_rebuild(state: redis.Redis, tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path / "bus.sqlite")
    for number in range(20):
        bus.publish(
            [Message(topic="images.submitted", key=f"image-{number % 7}", value=str(number).encode())]
        )

    topics = ["images.submitted"]

    def apply(seen: Record) -> None:
        state.hset("tercet:test:last", seen.key, seen.value)
        state.sadd("tercet:test:all", seen.value)

    def view() -> tuple[Any, Any]:
        return state.hgetall("tercet:test:last"), state.smembers("tercet:test:all")

    assert rebuild(state=state, prefix="tercet:test:", bus=bus, topics=topics, apply=apply) == 20
    before = view()
    state.hset("tercet:test:last", "image-1", "spoilt")
    state.set("tercet:test:stray", 1)
    rebuild(state=state, prefix="tercet:test:", bus=bus, topics=topics, apply=apply)
    assert view() == before
    assert not state.exists("tercet:test:stray")
    bus.close()


def test_an_absent_redis_is_unavailable() -> None:
    client = connect("redis://127.0.0.1:1/0", timeout=0.2)
    cancelled = CancelledJobs(client)
    with pytest.raises(Unavailable):
        cancelled.skip(record("job-1"))
    pipeline = client.pipeline()
    pipeline.set("a", 1)
    with pytest.raises(Unavailable):
        pipeline.execute()
    with pytest.raises(Unavailable):
        client.pipeline().watch("a")  # type: ignore[no-untyped-call]
    with pytest.raises(InvalidInput):
        connect("http://127.0.0.1/")


def test_embedded_stores_are_apart_and_shared_between_threads() -> None:
    one, other = embedded(), embedded()
    name = uuid.uuid4().hex
    writer = threading.Thread(target=lambda: one.set(name, 1))
    writer.start()
    writer.join(10)
    assert one.get(name) == b"1"
    assert other.get(name) is None
