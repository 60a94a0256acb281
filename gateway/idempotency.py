"""One Idempotency-Key, one job, for ever: whatever is retried, and whatever dies between commit and answer.

A key's mark is set in Redis before the job is committed (`pending`, with the digest of the request) and
again after (`done`). A pending mark whose gateway was killed is cleared up by the next request with the
key: the log says whether the job was committed. The job's id is made of tenant and key, so that even two
commits would be one job.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, replace
from typing import Final

import redis

from gateway.errors import KeyInFlight, KeyReused
from services.kit.bus.ports import Bus, Record
from services.kit.bus.topics import JOBS_EVENTS
from services.kit.clock import Clock
from services.kit.logging import get_logger
from tercet.v1 import records_pb2

_LOG = get_logger(__name__)

PREFIX: Final = "tercet:gateway:idempotency:"
_BUILT: Final = "tercet:gateway:idempotency-built"
# Clocks of gateways and brokers differ a little.
_SKEW_MS: Final = 60_000

_SWAP: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 end
return 0
"""
_DROP: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) return 1 end
return 0
"""


def keyed_job_id(tenant: str, key: str) -> str:
    """The id of the one job that the tenant's key can stand for."""
    return _job_id(hashlib.sha256(f"{tenant}\0{key}".encode()).digest())


def random_job_id() -> str:
    """The id of a job without a key."""
    return _job_id(secrets.token_bytes(16))


def _job_id(entropy: bytes) -> str:
    return "job_" + base64.b32encode(entropy[:16]).decode().rstrip("=").lower()


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of a key. Times are milliseconds since the epoch; a pending one counts to `lease_ms`."""

    job_id: str
    digest: str
    at_ms: int
    lease_ms: int
    done: bool
    nonce: str

    def encode(self) -> bytes:
        fields = [self.job_id, self.digest, self.at_ms, self.lease_ms, self.done, self.nonce]
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, stored: bytes) -> Mark:
        return cls(*json.loads(stored))


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to commit the key's job."""

    redis_key: str
    mark: Mark


class IdempotencyKeys:
    """Marks of all tenants' keys. Methods raise `Unavailable` when Redis or the log is."""

    def __init__(self, state: redis.Redis, bus: Bus, clock: Clock, *, lease_seconds: float) -> None:
        self._state = state
        self._swap = state.register_script(_SWAP)
        self._drop = state.register_script(_DROP)
        self._bus = bus
        self._clock = clock
        self._lease_ms = int(lease_seconds * 1000)

    def look(self, tenant: str, key: str) -> Mark | None:
        """The key's mark: `done` where the log has its job, None where nobody has or makes it."""
        return self._judge(_redis_key(tenant, key))[1]

    def claim(self, tenant: str, key: str, digest: str) -> Claim | Mark:
        """The right to commit, or the mark of a job that is committed already.

        Raises `KeyReused` where the key stands for another request, `KeyInFlight` while someone else commits.
        """
        redis_key = _redis_key(tenant, key)
        now = self._now_ms()
        mine = Mark(keyed_job_id(tenant, key), digest, now, now + self._lease_ms, False, secrets.token_hex(8))
        if self._state.set(redis_key, mine.encode(), nx=True):
            return Claim(redis_key, mine)
        stored, known = self._judge(redis_key)
        if known is None and stored is not None:
            # Nobody works on it and the log has no such job: ours, unless someone else is faster. The old
            # time stays: the log must be read since then.
            mine = replace(mine, at_ms=min(Mark.decode(stored).at_ms, mine.at_ms))
            if self._swap(keys=[redis_key], args=[stored, mine.encode()]):
                return Claim(redis_key, mine)
        if known is None:
            raise KeyInFlight("another request with this key was faster; ask again", retry_after=1.0)
        if known.digest != digest:
            raise KeyReused("this Idempotency-Key stands for a request with another body; use a new key")
        if not known.done:
            wait = min(2.0, max(0.5, (known.lease_ms - now) / 1000))
            raise KeyInFlight("the first request with this key is still being worked on", retry_after=wait)
        return known

    def finish(self, claim: Claim) -> None:
        """The job is committed."""
        done = replace(claim.mark, done=True)
        self._swap(keys=[claim.redis_key], args=[claim.mark.encode(), done.encode()])

    def release(self, claim: Claim) -> None:
        """The job was certainly not committed: the key stands for nothing again."""
        self._drop(keys=[claim.redis_key], args=[claim.mark.encode()])

    def committed(self, mark: Mark) -> records_pb2.JobEvent | None:
        """The key's job as the log has it."""
        for record in self._bus.read([JOBS_EVENTS], since_ms=max(0, mark.at_ms - _SKEW_MS)):
            if record.key == mark.job_id:
                event = records_pb2.JobEvent.FromString(record.value)
                if event.WhichOneof("event") == "created":
                    return event
        return None

    def fill(self) -> int:
        """Marks for the keys of the whole log, where there are none: after Redis was lost. How many."""
        marks = 0
        for record in self._bus.read([JOBS_EVENTS]):
            marks += self._fill_from(record)
        self._state.set(_BUILT, b"1")
        _LOG.info("idempotency keys filled in from the log", marks=marks)
        return marks

    def filled(self) -> bool:
        """Whether this Redis has seen `fill`."""
        return bool(self._state.exists(_BUILT))

    def _judge(self, redis_key: str) -> tuple[bytes | None, Mark | None]:
        """The mark as it is stored, and as `look` tells it."""
        stored = _bytes(self._state.get(redis_key))
        if stored is None:
            return None, None
        mark = Mark.decode(stored)
        if mark.done:
            return stored, mark
        if self.committed(mark) is not None:
            finished = replace(mark, done=True)
            self._swap(keys=[redis_key], args=[stored, finished.encode()])
            return stored, finished
        return stored, (mark if self._now_ms() < mark.lease_ms else None)

    def _fill_from(self, record: Record) -> int:
        event = records_pb2.JobEvent.FromString(record.value)
        created = event.created
        if event.WhichOneof("event") != "created" or not created.idempotency_key:
            return 0
        mark = Mark(
            event.job_id, created.request_digest, record.timestamp_ms, record.timestamp_ms, True, "log"
        )
        redis_key = _redis_key(event.tenant, created.idempotency_key)
        return int(bool(self._state.set(redis_key, mark.encode(), nx=True)))

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def _bytes(reply: bytes | str | None) -> bytes | None:
    return reply.encode() if isinstance(reply, str) else reply


def _redis_key(tenant: str, key: str) -> str:
    return PREFIX + hashlib.sha256(f"{tenant}\0{key}".encode()).hexdigest()
