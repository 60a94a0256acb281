"""Webhooks: a job's end, posted to where its submitter asked.

The Kafka door (group `webhooks` on `jobs.events`) only notes that a delivery is due, so a slow receiver
never holds up the log or other jobs' webhooks. Deliveries wait in Redis, are posted in parallel, tried
again with growing pauses, and given up in the end with a log line. A receiver may see one twice and should
look at `Tercet-Delivery`.

Each POST carries `Tercet-Event`, `Tercet-Delivery` and, where a secret is set, `Tercet-Signature: t=<unix
time>,v1=<hex>`, the HMAC-SHA256 by the secret of `<unix time>.<body>`. A receiver computes the same,
compares in constant time, and refuses times that are more than a few minutes old.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Final

import redis
from pydantic import SecretStr

from gateway import metrics, views
from gateway.fetching import AddressRefused, FetchFailed, SafeFetcher
from gateway.schemas import WebhookBody
from gateway.settings import GatewaySettings
from services.core.errors import NotFound, Unavailable
from services.kit.bus.outcomes import Done, Outcome
from services.kit.bus.ports import Record
from services.kit.clock import Clock
from services.kit.logging import get_logger
from tercet.v1 import dataset_pb2, dataset_pb2_grpc, records_pb2

_LOG = get_logger(__name__)

GROUP: Final = "webhooks"
_DUE: Final = "tercet:gateway:webhooks:due"
_SENT: Final = "tercet:gateway:webhooks:sent:"
_SENT_SECONDS: Final = 7 * 24 * 3600
_IDLE_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 60.0

# Takes up to ARGV[3] deliveries due at ARGV[1] and puts them off to ARGV[2], by when they are done or lost.
_LEASE: Final = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, item in ipairs(due) do redis.call('ZADD', KEYS[1], ARGV[2], item) end
return due
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One job's end to be told. The same end always makes the same delivery."""

    id: str
    tenant: str
    job_id: str
    status: str
    attempt: int = 0

    def encode(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def decode(cls, stored: bytes) -> Delivery:
        return cls(**json.loads(stored))


def sign(secret: SecretStr, body: bytes, at: int) -> str:
    """The value of `Tercet-Signature` for a body posted at a unix time."""
    signed = hmac.new(secret.get_secret_value().encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


class Webhooks:
    """Notes deliveries (`handle`, for a `Worker`) and makes them (`run`, in a thread of its own)."""

    def __init__(
        self,
        *,
        state: redis.Redis,
        dataset: dataset_pb2_grpc.DatasetServiceStub,
        fetcher: SafeFetcher,
        clock: Clock,
        settings: GatewaySettings,
    ) -> None:
        self._state = state
        self._lease = state.register_script(_LEASE)
        self._dataset = dataset
        self._fetcher = fetcher
        self._clock = clock
        self._settings = settings
        self._stop = threading.Event()

    def handle(self, records: Sequence[Record]) -> list[Outcome]:
        """Note the ends of jobs that want to be told. Raises `Unavailable` when Redis or the dataset is."""
        for record in records:
            event = records_pb2.JobEvent.FromString(record.value)
            if event.WhichOneof("event") == "finished":
                self._note(event)
        return [Done() for _ in records]

    def run(self) -> None:
        """Deliver what is due until told to stop."""
        with ThreadPoolExecutor(self._settings.webhook_parallel, thread_name_prefix="webhook") as pool:
            while not self._stop.is_set():
                try:
                    delivered = self.deliver_due(pool)
                except Unavailable as error:
                    _LOG.warning("webhooks wait", reason=str(error))
                    delivered = 0
                if not delivered:
                    self._clock.wait(self._stop, _IDLE_SECONDS)

    def stop(self) -> None:
        """End `run` after the posts under way."""
        self._stop.set()

    def deliver_due(self, pool: ThreadPoolExecutor) -> int:
        """One attempt at deliveries that are due, as many as are posted in parallel; how many there were."""
        now = self._clock.now()
        most = self._settings.webhook_parallel
        until = now + max(_LEASE_SECONDS, 3 * self._settings.webhook_seconds)
        due: list[bytes] = self._lease(keys=[_DUE], args=[repr(now), repr(until), most])
        metrics.WEBHOOKS_WAITING.set(int(self._state.zcard(_DUE)))
        for _ in pool.map(self._attempt, due):
            pass
        return len(due)

    def _note(self, event: records_pb2.JobEvent) -> None:
        try:
            job = self._dataset.GetJob(dataset_pb2.GetJobRequest(tenant=event.tenant, job_id=event.job_id))
        except NotFound:
            # Ours is another group than the dataset's, but this event is written by it, after the job.
            _LOG.warning("finished job is not known", job_id=event.job_id)
            return
        if not job.webhook_url:
            return
        status = event.finished.status
        words = [event.tenant, event.job_id, status]
        if event.finished.undone:  # a job that an undo has opened again ends once more
            words.append(str(event.finished.undone))
        identity = hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]
        if not self._state.exists(_SENT + identity):
            delivery = Delivery(f"whd_{identity}", event.tenant, event.job_id, status)
            self._state.zadd(_DUE, {delivery.encode(): self._clock.now()}, nx=True)

    def _attempt(self, stored: bytes) -> None:
        delivery = Delivery.decode(stored)
        try:
            problem = self._post(delivery)
        except (Unavailable, NotFound) as error:
            problem = str(error)
        except AddressRefused as error:
            _LOG.error("webhook given up", job_id=delivery.job_id, reason=str(error))
            metrics.WEBHOOKS.labels("given_up").inc()
            self._forget(delivery, stored)
            return
        if problem is None:
            metrics.WEBHOOKS.labels("delivered").inc()
            _LOG.info("webhook delivered", job_id=delivery.job_id, attempt=delivery.attempt + 1)
            self._forget(delivery, stored)
        elif delivery.attempt + 1 >= self._settings.webhook_attempts:
            metrics.WEBHOOKS.labels("given_up").inc()
            _LOG.error(
                "webhook given up", job_id=delivery.job_id, attempts=delivery.attempt + 1, reason=problem
            )
            self._forget(delivery, stored)
        else:
            self._put_off(delivery, stored, problem)

    def _put_off(self, delivery: Delivery, stored: bytes, problem: str) -> None:
        metrics.WEBHOOKS.labels("retried").inc()
        pause = min(
            self._settings.webhook_backoff * 2**delivery.attempt, self._settings.webhook_backoff_limit
        ) * random.uniform(0.75, 1.25)
        _LOG.warning(
            "webhook failed",
            job_id=delivery.job_id,
            attempt=delivery.attempt + 1,
            again_in=pause,
            reason=problem,
        )
        again = replace(delivery, attempt=delivery.attempt + 1)
        with self._state.pipeline() as pipe:
            pipe.zrem(_DUE, stored)
            pipe.zadd(_DUE, {again.encode(): self._clock.now() + pause})
            pipe.execute()

    def _forget(self, delivery: Delivery, stored: bytes) -> None:
        with self._state.pipeline() as pipe:
            pipe.set(_SENT + delivery.id.removeprefix("whd_"), b"1", ex=_SENT_SECONDS)
            pipe.zrem(_DUE, stored)
            pipe.execute()

    def _post(self, delivery: Delivery) -> str | None:
        """Post once; None for a 2xx answer, else what was wrong. Raises `AddressRefused`, `Unavailable`."""
        wanted = dataset_pb2.GetJobRequest(tenant=delivery.tenant, job_id=delivery.job_id)
        job = self._dataset.GetJob(wanted)
        body = WebhookBody(id=delivery.id, job=views.job(job)).model_dump_json().encode()
        at = int(self._clock.now())
        headers = {
            "Content-Type": "application/json",
            "Tercet-Event": "job.finished",
            "Tercet-Delivery": delivery.id,
        }
        if self._settings.webhook_secret is not None:
            headers["Tercet-Signature"] = sign(self._settings.webhook_secret, body, at)
        try:
            status = asyncio.run(self._fetcher.post(job.webhook_url, body, headers))
        except FetchFailed as error:
            return str(error)
        return None if 200 <= status < 300 else f"the receiver answers {status}"
