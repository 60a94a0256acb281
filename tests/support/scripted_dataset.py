"""A dataset service over real gRPC whose jobs a test sets: for faults that the real one has no switch for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from services.core.errors import NotFound, Overloaded, Unavailable
from services.kit.rpc.server import RpcServer
from services.kit.settings import KitSettings
from tercet.v1 import concepts_pb2, dataset_pb2, dataset_pb2_grpc, records_pb2


def a_job(
    job_id: str = "job_a", *, tenant: str = "default", done: int = 0, **fields: object
) -> dataset_pb2.Job:
    """A running job of ten images, `done` of them complete; complete itself when all are."""
    status = dataset_pb2.JOB_STATUS_COMPLETE if done == 10 else dataset_pb2.JOB_STATUS_RUNNING
    job = dataset_pb2.Job(
        id=job_id,
        tenant=tenant,
        spec=records_pb2.JobSpec(
            stage=concepts_pb2.STAGE_AUTOMATIC,
            tier=concepts_pb2.TIER_SYNTHETIC,
            accept_above=0.9,
            reject_below=0.7,
        ),
        status=status,
        images=10,
        counts={"submitted": 10 - done, "complete": done},
        eta_seconds=-1,
    )
    job.MergeFrom(dataset_pb2.Job(**fields))  # type: ignore[arg-type]
    return job


class ScriptedDataset(dataset_pb2_grpc.DatasetServiceServicer):
    """Shows the jobs that it is told of; `away` answers UNAVAILABLE."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.jobs: dict[tuple[str, str], dataset_pb2.Job] = {}
        self.away = False
        self.closing = False
        self.watches = 0
        self.most_watches = 0
        self.most_allowed = 100

    def show(self, job: dataset_pb2.Job) -> None:
        with self.changed:
            self.jobs[(job.tenant, job.id)] = job
            self.changed.notify_all()

    def go(self, away: bool) -> None:
        with self.changed:
            self.away = away
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()

    def GetJob(self, request: dataset_pb2.GetJobRequest, context: grpc.ServicerContext) -> dataset_pb2.Job:
        with self.changed:
            return self._find(request.tenant, request.job_id)

    def WatchJob(
        self, request: dataset_pb2.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[dataset_pb2.Job]:
        with self.changed:
            if self.watches >= self.most_allowed:
                raise Overloaded("as many jobs as may be are watched")
            self.watches += 1
            self.most_watches = max(self.most_watches, self.watches)
        try:
            shown = None
            while not self.closing and context.is_active():
                with self.changed:
                    job = self._find(request.tenant, request.job_id)
                    if job is shown:
                        self.changed.wait(0.05)
                        continue
                shown = job
                yield job
                if job.status == dataset_pb2.JOB_STATUS_COMPLETE:
                    return
        finally:
            with self.changed:
                self.watches -= 1

    def _find(self, tenant: str, job_id: str) -> dataset_pb2.Job:
        if self.away:
            raise Unavailable("away")
        job = self.jobs.get((tenant, job_id))
        if job is None:
            raise NotFound(f"no job {job_id}")
        return job


@contextmanager
def serving(folder: Path) -> Iterator[tuple[ScriptedDataset, str]]:
    """The service and its address."""
    scripted = ScriptedDataset()  # type: ignore[abstract]
    server = RpcServer(
        f"unix:{folder}/dataset.sock",
        {
            "tercet.v1.DatasetService": lambda server: dataset_pb2_grpc.add_DatasetServiceServicer_to_server(
                scripted, server
            )
        },
        settings=KitSettings(),
    )
    server.start()
    server.serving(True)
    try:
        yield scripted, server.address
    finally:
        scripted.close()
        server.stop(1.0)
