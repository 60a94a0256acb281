"""Watching jobs for any number of clients: one watch of the dataset service for each job, shared by who asks.

A watch holds a thread of the dataset service for as long as it lasts, so only so many jobs are watched by
`WatchJob`; further ones are looked at every second. Clients hold no thread here: it is all one event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import grpc
import grpc.aio

from gateway import metrics, views
from gateway.accepted import AcceptedJobs
from gateway.schemas import FINAL_STATUSES, Job
from services.core.errors import NotFound, Overloaded, TercetError, Unavailable
from services.kit.logging import get_logger
from services.kit.rpc import errors, limits
from tercet.v1 import dataset_pb2, dataset_pb2_grpc

_LOG = get_logger(__name__)

STREAMS: Final = 6
"""Jobs watched by `WatchJob` at a time: a part of the threads that a dataset service has."""
LOOK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 1.0
UNKNOWN_SECONDS: Final = 60.0
"""How long a job that was just accepted may be unknown to the dataset service."""
_RPC_SECONDS: Final = 10.0


class _Watched:
    """One job, and who waits for its changes."""

    def __init__(self) -> None:
        self.latest: Job | None = None
        self.failed: TercetError | None = None
        self.version = 0
        self.watchers = 0
        self.changed = asyncio.Condition()
        self.task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        return self.failed is not None or (self.latest is not None and self.latest.status in FINAL_STATUSES)

    async def show(self, job: Job) -> None:
        if job != self.latest:
            async with self.changed:
                self.latest = job
                self.version += 1
                self.changed.notify_all()

    async def fail(self, error: TercetError) -> None:
        async with self.changed:
            self.failed = error
            self.version += 1
            self.changed.notify_all()


class JobWatch:
    """Used from the event loop that `open` was called on."""

    def __init__(self, address: str, accepted: AcceptedJobs, *, clients: int, heartbeat: float) -> None:
        self._address = address
        self._accepted = accepted
        self._most_clients = clients
        self._heartbeat = heartbeat
        self._channel: grpc.aio.Channel | None = None
        self._stub: dataset_pb2_grpc.DatasetServiceAsyncStub | None = None
        self._jobs: dict[tuple[str, str], _Watched] = {}
        self._streams = 0
        self._clients = 0

    async def open(self) -> None:
        """Make the channel; it connects with the first watch."""
        options = [*limits.COMMON, ("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 3000)]
        self._channel = grpc.aio.insecure_channel(self._address, options=options)
        self._stub = dataset_pb2_grpc.DatasetServiceStub(self._channel)

    async def close(self) -> None:
        """End all watches."""
        tasks = [watched.task for watched in self._jobs.values() if watched.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    def admit(self) -> None:
        """Raises `Overloaded` when as many clients watch as may."""
        if self._clients >= self._most_clients:
            raise Overloaded("too many clients watch jobs; ask for the job itself instead", retry_after=10.0)

    async def updates(
        self, tenant: str, job_id: str, stop: threading.Event
    ) -> AsyncGenerator[Job | None, None]:
        """The job now and after each change, last in a final status; None as a sign of life in between.

        A slow reader gets the latest state, not all of them. Ends early when `stop` is set. Raises `NotFound`
        and whatever else the dataset service says; being out of reach it is waited for.
        """
        key = (tenant, job_id)
        watched = self._jobs.get(key)
        if watched is None or watched.over:
            watched = self._jobs[key] = _Watched()
            watched.task = asyncio.create_task(self._work(watched, tenant, job_id))
        watched.watchers += 1
        self._clients += 1
        metrics.EVENT_STREAMS.inc()
        try:
            async for job in self._follow(watched, stop):
                yield job
        finally:
            metrics.EVENT_STREAMS.dec()
            self._clients -= 1
            watched.watchers -= 1
            if not watched.watchers:
                if watched.task is not None:
                    watched.task.cancel()
                if self._jobs.get(key) is watched:
                    del self._jobs[key]

    async def _follow(self, watched: _Watched, stop: threading.Event) -> AsyncIterator[Job | None]:
        seen = -1
        silent_since = asyncio.get_running_loop().time()
        while not stop.is_set():
            async with watched.changed:
                if watched.version in (0, seen):
                    # A short wait, so that `stop` is noticed.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(1.0, self._heartbeat)):
                            await watched.changed.wait()
                job = watched.latest if watched.version not in (0, seen) else None
                seen = watched.version
            now = asyncio.get_running_loop().time()
            if watched.failed is not None:
                raise watched.failed
            if job is not None:
                silent_since = now
                yield job
                if job.status in FINAL_STATUSES:
                    return
            elif now - silent_since >= self._heartbeat:
                silent_since = now
                yield None

    async def _work(self, watched: _Watched, tenant: str, job_id: str) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not watched.over:
            try:
                await self._read(watched, tenant, job_id)
            except NotFound as error:
                event = await asyncio.to_thread(self._accepted.recall, tenant, job_id)
                if event is None or watched.version > 1 or loop.time() - started > UNKNOWN_SECONDS:
                    await watched.fail(error)
                    return
                await watched.show(views.job(views.created_job(event)))
                await asyncio.sleep(LOOK_SECONDS / 4)
            except (Unavailable, Overloaded) as error:
                _LOG.warning("watch interrupted", job_id=job_id, reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            except TercetError as error:
                await watched.fail(error)
                return

    async def _read(self, watched: _Watched, tenant: str, job_id: str) -> None:
        """Show the job's changes until it is final or its watch ends."""
        if self._streams < STREAMS and await self._listen(watched, tenant, job_id):
            await self._look(watched, tenant, job_id)
            if not watched.over:
                await asyncio.sleep(LOOK_SECONDS)
            return
        while not watched.over:
            await self._look(watched, tenant, job_id)
            if not watched.over:
                await asyncio.sleep(LOOK_SECONDS)

    async def _listen(self, watched: _Watched, tenant: str, job_id: str) -> bool:
        """Show what `WatchJob` tells until it ends; False when the service watches as much as it can."""
        assert self._stub is not None, "the watch is not open"
        self._streams += 1
        try:
            with _core_errors():
                request = dataset_pb2.WatchJobRequest(tenant=tenant, job_id=job_id)
                async for job in self._stub.WatchJob(request):
                    await watched.show(views.job(job))
        except Overloaded:
            return False
        finally:
            self._streams -= 1
        return True

    async def _look(self, watched: _Watched, tenant: str, job_id: str) -> None:
        """Show the job as it is."""
        assert self._stub is not None, "the watch is not open"
        with _core_errors():
            request = dataset_pb2.GetJobRequest(tenant=tenant, job_id=job_id)
            job = await self._stub.GetJob(request, timeout=_RPC_SECONDS)
        await watched.show(views.job(job))


@contextmanager
def _core_errors() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        trailers = tuple((key, value) for key, value in error.trailing_metadata() or ())
        raise errors.from_status(error.code(), error.details() or error.code().name, trailers) from None
