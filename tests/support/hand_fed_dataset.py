"""The dataset service without its worker: a test hands it each record, and asks for the answers."""

from __future__ import annotations

import redis

from services.dataset import workers
from services.dataset.handlers import Answering, Recording
from services.dataset.settings import DatasetSettings
from services.dataset.view import PREFIX, JobView
from services.kit.blobs.store import connect
from services.kit.bus.outcomes import Done
from services.kit.bus.ports import Record
from services.kit.clock import ManualClock
from services.kit.state.cancelled import CancelledJobs
from services.kit.state.embedded import embedded
from tercet.v1 import dataset_pb2, records_pb2
from tests.support.views import dump


class Service:
    """The dataset service over embedded adapters, fed by hand."""

    def __init__(self, name: str = "view", *, state: redis.Redis | None = None) -> None:
        self.state = state if state is not None else embedded()
        self.blobs = connect(f"memory://{name}")
        self.view = JobView(self.state)
        self.recording = Recording(self.view, self.blobs, CancelledJobs(self.state))
        self.answering = Answering(self.view, self.blobs, ManualClock(), DatasetSettings())

    def take(self, record: Record) -> list[records_pb2.JobEvent]:
        """What the worker would write for the record."""
        outcome = workers._outcome(self.recording, record)
        assert isinstance(outcome, Done)
        return [records_pb2.JobEvent.FromString(message.value) for message in outcome.outputs]

    def job(self, job_id: str = "job-1") -> dataset_pb2.Job:
        return self.answering.job("acme", job_id)

    def dump(self) -> dict[str, object]:
        """The view without what only this moment knows: who told the end of a job, and the change counter."""
        found = dump(self.state, PREFIX)
        for key in list(found):
            if ":changes:" in key:
                del found[key]
            elif ":job:" in key:
                found[key] = {f: v for f, v in found[key].items() if not f.startswith(b"finished")}
        return found


def exported(service: Service) -> bytes:
    """A new export of everything that the tenant has, as SA-Co."""
    request = dataset_pb2.CreateExportRequest(tenant="acme", format=dataset_pb2.EXPORT_FORMAT_SACO)
    made = service.answering.create_export(request)
    return service.blobs.fetch(made.blob)
