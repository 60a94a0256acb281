"""Event streams: one watch for many clients, signs of life, faults in between, and an end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.accepted import AcceptedJobs
from gateway.schemas import Job
from gateway.watching import STREAMS, JobWatch
from services.core.errors import NotFound, Overloaded
from services.kit.state.embedded import embedded
from tercet.v1 import records_pb2
from tests.support.scripted_dataset import ScriptedDataset, a_job, serving


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[tuple[ScriptedDataset, str]]:
    with serving(tmp_path) as found:
        yield found


@asynccontextmanager
async def watching(
    address: str, accepted: AcceptedJobs | None = None, *, clients: int = 100, heartbeat: float = 30.0
) -> AsyncIterator[JobWatch]:
    watch = JobWatch(address, accepted or AcceptedJobs(embedded()), clients=clients, heartbeat=heartbeat)
    await watch.open()
    try:
        yield watch
    finally:
        await watch.close()


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of another thread
            await asyncio.sleep(0.01)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())


def test_many_clients_share_one_watch_and_all_see_the_end(dataset: tuple[ScriptedDataset, str]) -> None:
    service, address = dataset
    service.show(a_job(done=1))

    async def scenario() -> None:
        async with watching(address) as watch:
            seen: list[list[int]] = [[] for _ in range(20)]

            async def client(number: int) -> None:
                async for job in watch.updates("default", "job_a", threading.Event()):
                    assert job is not None
                    seen[number].append(job.counts.get("complete", 0))

            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(client(number))
                await until(lambda: all(seen))
                assert service.watches == 1
                service.show(a_job(done=5))
                await until(lambda: all(len(found) == 2 for found in seen))
                service.show(a_job(done=10))
            assert seen == [[1, 5, 10]] * 20
            await until(lambda: service.watches == 0)

    run(scenario)


def test_jobs_beyond_the_streams_are_looked_at(dataset: tuple[ScriptedDataset, str]) -> None:
    service, address = dataset
    names = [f"job_{number}" for number in range(STREAMS + 3)]
    for name in names:
        service.show(a_job(name))

    async def scenario() -> None:
        async with watching(address) as watch:
            ends: list[Job | None] = []
            starts: list[Job | None] = []

            async def client(name: str) -> None:
                job = None
                async for job in watch.updates("default", name, threading.Event()):
                    starts.append(job)
                ends.append(job)

            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(client(name))
                await until(lambda: len(starts) == len(names))
                assert service.most_watches == STREAMS
                for name in names:
                    service.show(a_job(name, done=10))
            assert len(ends) == len(names)
            assert all(job is not None and job.status == "complete" for job in ends)

    run(scenario)


def test_a_service_that_watches_enough_already_is_looked_at(dataset: tuple[ScriptedDataset, str]) -> None:
    service, address = dataset
    service.most_allowed = 0
    service.show(a_job(done=1))

    async def scenario() -> None:
        async with watching(address) as watch:
            updates = watch.updates("default", "job_a", threading.Event())
            first = await anext(updates)
            service.show(a_job(done=10))
            last = await anext(updates)
            assert first is not None
            assert last is not None
            assert (first.status, last.status) == ("running", "complete")

    run(scenario)


def test_signs_of_life(dataset: tuple[ScriptedDataset, str]) -> None:
    service, address = dataset
    service.show(a_job())

    async def scenario() -> None:
        async with watching(address, heartbeat=0.05) as watch:
            updates = watch.updates("default", "job_a", threading.Event())
            assert await anext(updates) is not None
            assert await anext(updates) is None
            assert await anext(updates) is None
            await updates.aclose()

    run(scenario)


def test_a_service_that_goes_away_is_waited_for(dataset: tuple[ScriptedDataset, str]) -> None:
    service, address = dataset
    service.show(a_job(done=1))

    async def scenario() -> None:
        async with watching(address) as watch:
            updates = watch.updates("default", "job_a", threading.Event())
            first = await anext(updates)
            service.go(away=True)
            await until(lambda: service.watches == 0)
            service.show(a_job(done=10))
            service.go(away=False)
            last = await anext(updates)
            assert first is not None
            assert last is not None
            assert (first.status, last.status) == ("running", "complete")
            assert await anext(updates, "over") == "over"

    run(scenario)


def test_a_job_that_was_just_accepted_is_shown_before_the_service_knows_it(
    dataset: tuple[ScriptedDataset, str],
) -> None:
    service, address = dataset
    accepted = AcceptedJobs(embedded())
    created = records_pb2.JobCreated(
        spec=a_job().spec, images=[records_pb2.JobImage(image_id=str(number)) for number in range(10)]
    )
    accepted.remember(records_pb2.JobEvent(job_id="job_new", tenant="default", created=created))

    async def scenario() -> None:
        async with watching(address, accepted) as watch:
            updates = watch.updates("default", "job_new", threading.Event())
            first = await anext(updates)
            assert first is not None
            assert first.counts == {"submitted": 10}
            service.show(a_job("job_new", done=10))
            last = await anext(updates)
            assert last is not None
            assert last.status == "complete"

    run(scenario)


def test_unknown_and_foreign_jobs(dataset: tuple[ScriptedDataset, str]) -> None:
    service, address = dataset
    service.show(a_job("job_theirs", tenant="other"))
    accepted = AcceptedJobs(embedded())
    accepted.remember(records_pb2.JobEvent(job_id="job_new", tenant="other"))

    async def scenario() -> None:
        async with watching(address, accepted) as watch:
            for job_id in ("job_none", "job_theirs", "job_new"):
                with pytest.raises(NotFound, match=job_id):
                    await anext(watch.updates("default", job_id, threading.Event()))

    run(scenario)


def test_the_end_of_the_gateway_ends_streams(dataset: tuple[ScriptedDataset, str]) -> None:
    service, address = dataset
    service.show(a_job())

    async def scenario() -> None:
        async with watching(address) as watch:
            stop = threading.Event()
            updates = watch.updates("default", "job_a", stop)
            assert await anext(updates) is not None
            stop.set()
            assert await anext(updates, "over") == "over"

    run(scenario)


def test_too_many_clients(dataset: tuple[ScriptedDataset, str]) -> None:
    service, address = dataset
    service.show(a_job())

    async def scenario() -> None:
        async with watching(address, clients=1) as watch:
            watch.admit()
            updates = watch.updates("default", "job_a", threading.Event())
            await anext(updates)
            with pytest.raises(Overloaded):
                watch.admit()
            await updates.aclose()
            watch.admit()

    run(scenario)
