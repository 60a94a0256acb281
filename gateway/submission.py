"""From a request to a committed job: read the body, take the images, commit, answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastapi import Request
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.concurrency import run_in_threadpool

from gateway import metrics, views
from gateway.accepted import AcceptedJobs
from gateway.errors import NoImageTaken, TryAgain
from gateway.idempotency import Claim, IdempotencyKeys, random_job_id
from gateway.keys import ApiKey
from gateway.limiting import UploadBudget
from gateway.options import idempotency_key
from gateway.reading import SubmissionReader, Submitted
from gateway.settings import GatewaySettings
from services.core.errors import InvalidInput, Overloaded, Unavailable
from services.kit import tracing
from services.kit.bus.ports import Bus, Message
from services.kit.bus.topics import IMAGES_SUBMITTED, JOBS_EVENTS, encode
from services.kit.clock import Clock
from services.kit.logging import get_logger, logged_with
from tercet.v1 import concepts_pb2, records_pb2

_LOG = get_logger(__name__)


class Submissions:
    """Takes jobs. Shared by all requests."""

    def __init__(
        self,
        *,
        reader: SubmissionReader,
        bus: Bus,
        keys: IdempotencyKeys,
        accepted: AcceptedJobs,
        clock: Clock,
        settings: GatewaySettings,
    ) -> None:
        self._reader = reader
        self._bus = bus
        self._keys = keys
        self._accepted = accepted
        self._clock = clock
        self._budget = UploadBudget(uploads=settings.uploads, bytes_=settings.upload_bytes)

    async def submit(self, request: Request, submitter: ApiKey) -> records_pb2.JobEvent:
        """The creation of the request's job, committed: now, or before where its Idempotency-Key says so.

        Raises core errors and those of `gateway.errors`; then nothing is committed, except for `Unavailable`
        of an unknown outcome, which a retry with the same Idempotency-Key clears up.
        """
        key = idempotency_key(request.headers.get("idempotency-key"))
        with self._budget.hold(self._reader.memory(request)):
            mark = await run_in_threadpool(self._keys.look, submitter.tenant, key) if key else None
            read = await self._reader.read(request, submitter.tenant, digest_only=mark is not None)
            if not key:
                assert read.taken is not None
                event = self._event(random_job_id(), submitter, read, "")
                await run_in_threadpool(self._commit, event, read.taken.images)
            else:
                event = await self._submit_once(submitter, key, read)
        await run_in_threadpool(self._accepted.remember, event)
        return event

    async def _submit_once(self, submitter: ApiKey, key: str, read: Submitted) -> records_pb2.JobEvent:
        if read.taken is not None and not read.taken.images:
            raise NoImageTaken(read.taken.refused)
        claim = await run_in_threadpool(self._keys.claim, submitter.tenant, key, read.digest)
        if not isinstance(claim, Claim):
            earlier = await run_in_threadpool(self._accepted.recall, submitter.tenant, claim.job_id)
            if earlier is None:
                earlier = await run_in_threadpool(self._keys.committed, claim)
            if earlier is None:
                raise TryAgain(f"job {claim.job_id} of this key was created and its record is not readable")
            return earlier
        if read.taken is None:
            # The mark that spared us the images is gone: the client's next try brings them again.
            await run_in_threadpool(self._keys.release, claim)
            raise TryAgain("the first request with this key ended without a job; send it again")
        event = self._event(claim.mark.job_id, submitter, read, key)
        try:
            await run_in_threadpool(self._commit, event, read.taken.images)
        except (InvalidInput, Overloaded):
            await run_in_threadpool(self._keys.release, claim)  # certainly not committed
            raise
        try:
            await run_in_threadpool(self._keys.finish, claim)
        except Unavailable as error:
            # The job is committed; a retry finds it in the log.
            _LOG.warning("idempotency key not marked", job_id=event.job_id, reason=str(error))
        return event

    def _event(self, job_id: str, submitter: ApiKey, read: Submitted, key: str) -> records_pb2.JobEvent:
        assert read.taken is not None
        if not read.taken.images:
            raise NoImageTaken(read.taken.refused)
        at = Timestamp()
        at.FromMilliseconds(int(self._clock.now() * 1000))
        return records_pb2.JobEvent(
            job_id=job_id,
            tenant=submitter.tenant,
            at=at,
            created=records_pb2.JobCreated(
                spec=views.spec(read.options),
                images=[
                    records_pb2.JobImage(image_id=image.id, name=image.name) for image in read.taken.images
                ],
                refused=[
                    records_pb2.RefusedImage(name=item.name, code=item.code, reason=item.reason)
                    for item in read.taken.refused
                ],
                webhook_url=str(read.options.webhook_url or ""),
                idempotency_key=key,
                request_digest=read.digest,
                name=read.options.name or "",
                submitted_by=submitter.id,
            ),
        )

    def _commit(self, event: records_pb2.JobEvent, images: Sequence[records_pb2.Image]) -> None:
        """One transaction: the job and all its images."""
        created = event.created
        run = records_pb2.Run(job_id=event.job_id, spec=created.spec, submitted_at=event.at)
        with logged_with(tenant=event.tenant, job_id=event.job_id):
            self._bus.publish(list(_messages(event, run, images)))
            stage = concepts_pb2.Stage.Name(created.spec.stage).removeprefix("STAGE_").lower()
            metrics.JOBS.labels(stage).inc()
            _LOG.info("job created", images=len(created.images), refused=len(created.refused))


def _messages(
    event: records_pb2.JobEvent, run: records_pb2.Run, images: Sequence[records_pb2.Image]
) -> Iterator[Message]:
    about = {"tenant": event.tenant, "job_id": event.job_id, "traceparent": tracing.traceparent()}
    yield encode(JOBS_EVENTS, event, key=event.job_id, **about)
    for image in images:
        submitted = records_pb2.ImageSubmitted(image=image, run=run)
        yield encode(IMAGES_SUBMITTED, submitted, key=image.id, **about)
