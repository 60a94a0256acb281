"""The Kafka door of a service: poll, work, commit, without losing a record or writing one twice.

One thread polls and commits. The handler runs in a thread of its own while the consumer is paused and keeps
polling, so that slow model work never costs the membership of the group.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace

import structlog
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.core.errors import Internal, InvalidInput, Overloaded, TooLarge, Unavailable
from services.kit.bus import limits, metrics
from services.kit.bus.dlq import PoisonLimit, letter
from services.kit.bus.outcomes import Done, Handler, Outcome, Poison
from services.kit.bus.ports import Bus, Consumer, Message, Record
from services.kit.clock import Clock

log = structlog.get_logger(__name__)

EXIT_COMMIT_HANGS = 70


class WorkerSettings(BaseSettings):
    """How a worker batches, retries, gives up and stops."""

    model_config = SettingsConfigDict(env_prefix="TERCET_WORKER_", frozen=True)

    batch_records: int = Field(default=16, ge=1, description="Most records in a batch.")
    batch_bytes: int = Field(
        default=32 * 1024 * 1024, ge=1, description="Most bytes in a batch of more than one record."
    )
    poll_seconds: float = Field(default=0.5, gt=0, description="How long one poll waits for records.")
    keepalive_seconds: float = Field(default=0.5, gt=0, description="How often a paused consumer is polled.")
    attempts: int = Field(default=3, ge=1, description="Attempts at a record before it is a dead letter.")
    backoff_seconds: float = Field(
        default=0.2, gt=0, description="First pause before another attempt; doubled each time."
    )
    backoff_limit_seconds: float = Field(
        default=20.0, gt=0, description="Longest pause before another attempt."
    )
    poison_limit_records: int = Field(
        default=20, ge=0, description="Dead letters within the window before halting."
    )
    poison_limit_share: float = Field(
        default=0.5, ge=0, le=1, description="Share of dead letters before halting."
    )
    poison_limit_seconds: float = Field(
        default=300.0, gt=0, description="The window of the two limits above."
    )
    drain_seconds: float = Field(
        default=20.0, ge=0, description="Grace for the batch at hand when told to stop."
    )
    commit_limit_seconds: float = Field(
        default=120.0, gt=0, description="A commit that hangs longer ends the process."
    )


class _StopError(Exception):
    """The worker was told to stop, and the batch at hand cannot be finished in time."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """How the handler failed, other than by something that is away."""

    error: BaseException


_Worked = tuple[Outcome | None, int]


class Worker:
    """A member of a consumer group that works the topics' records with a handler.

    `skip` says which records need no work any more (their job was cancelled): they are consumed without
    outputs. `die` ends the process when a commit hangs; the restart fences what was left of the old producer.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        group: str,
        topics: Sequence[str],
        handler: Handler,
        settings: WorkerSettings | None = None,
        clock: Clock,
        skip: Callable[[Record], bool] | None = None,
        die: Callable[[int], object] = os._exit,
    ) -> None:
        self.group = group
        self.topics = tuple(topics)
        self.halted: str | None = None
        """Why the worker gave up; None while it has not."""
        self._bus = bus
        self._handler = handler
        self._settings = settings if settings is not None else WorkerSettings()
        self._clock = clock
        self._skip = skip
        self._die = die
        self._stop = threading.Event()
        self._polled_at = clock.monotonic()
        self._drained_at = 0.0
        self._committing_since: float | None = None
        self._limit = PoisonLimit(
            records=self._settings.poison_limit_records,
            share=self._settings.poison_limit_share,
            seconds=self._settings.poison_limit_seconds,
        )
        self._log = log.bind(group=group)

    def run(self) -> None:
        """Work until told to stop or halted. The reason of a halt is in `halted`; nothing is raised."""
        metrics.HALTED.labels(self.group).set(0)
        ended = threading.Event()
        watchdog = threading.Thread(
            target=self._watch, args=(ended,), name=f"{self.group}-watchdog", daemon=True
        )
        watchdog.start()
        try:
            self._run()
        except _StopError:
            self._log.info("batch given up: told to stop")
        except Exception as error:
            self._halt(f"{type(error).__name__}: {error}")
            self._log.exception("worker failed")
        finally:
            ended.set()

    def stop(self) -> None:
        """Have `run` finish the batch at hand within the grace, or give it up, and return. Any thread may."""
        if not self._stop.is_set():
            self._drained_at = self._clock.monotonic() + self._settings.drain_seconds
            self._stop.set()

    def poll_age(self) -> float:
        """Seconds since the consumer was last polled (or tried to subscribe): the liveness of the worker."""
        return max(0.0, self._clock.monotonic() - self._polled_at)

    def _run(self) -> None:
        consumer = self._transient(lambda: self._bus.subscribe(group=self.group, topics=self.topics))
        failures = 0
        try:
            while not self._stop.is_set():
                try:
                    self._batch(consumer)
                    failures = 0
                except Unavailable as error:
                    failures += 1
                    metrics.REDELIVERIES.labels(self.group).inc()
                    self._log.warning("not committed; delivered again", error=str(error), failures=failures)
                    consumer.rewind()
                    consumer.pause()
                    self._pause(consumer, self._backoff(failures))
                    consumer.resume()
                if self.halted:
                    return
        finally:
            consumer.close()

    def _batch(self, consumer: Consumer) -> None:
        settings = self._settings
        records = self._poll(consumer, settings.poll_seconds)
        if not records:
            return
        started = self._clock.monotonic()
        metrics.BATCH_RECORDS.labels(self.group).observe(len(records))
        consumer.pause()
        worked = self._work(consumer, records)
        consumer.resume()
        metrics.BATCH_SECONDS.labels(self.group).observe(self._clock.monotonic() - started)
        poisoned = sum(isinstance(outcome, Poison) for outcome, _ in worked)
        reason = self._limit.exceeded(self._clock.monotonic(), handled=len(records), poisoned=poisoned)
        if reason is not None:
            self._halt(reason)
            return
        outputs = self._outputs(records, worked)
        self._commit(consumer, records, outputs)
        self._count(records, worked)

    def _commit(self, consumer: Consumer, records: Sequence[Record], outputs: Sequence[Message]) -> None:
        self._committing_since = started = self._clock.monotonic()
        try:
            consumer.commit(records, outputs)
        finally:
            self._committing_since = None
            metrics.COMMIT_SECONDS.labels(self.group).observe(self._clock.monotonic() - started)

    # -- working a batch: everything below leaves the log as it is

    def _work(self, consumer: Consumer, records: Sequence[Record]) -> list[_Worked]:
        """The outcome of each record (None: skipped) and the attempts that it took."""
        worked = self._attempt(consumer, records)
        if not isinstance(worked, _Failure):
            return [(outcome, 1) for outcome in worked]
        if len(records) == 1:
            return [self._alone(consumer, records[0], worked)]
        self._log.warning("batch failed; its records are tried one by one", error=repr(worked.error))
        return [self._alone(consumer, record) for record in records]

    def _alone(self, consumer: Consumer, record: Record, failure: _Failure | None = None) -> _Worked:
        """One record, with the attempts that it is allowed; `failure` is how the first one ended."""
        attempts = 0
        while True:
            if failure is not None:
                attempts += 1
                error = failure.error
                if attempts >= self._settings.attempts or isinstance(error, InvalidInput):
                    where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
                    self._log.error("poison", error=repr(error), attempts=attempts, **where)
                    return Poison(type(error).__name__, str(error)), attempts
                metrics.RETRIES.labels(self.group, type(error).__name__).inc()
                self._pause(consumer, self._backoff(attempts))
            worked = self._attempt(consumer, [record])
            if not isinstance(worked, _Failure):
                return worked[0], attempts + 1
            failure = worked

    def _attempt(self, consumer: Consumer, records: Sequence[Record]) -> list[Outcome | None] | _Failure:
        """The handler's outcomes, or its failure; when a part that it needs is away, as often as it takes.

        What is raised comes from the bus, or is the order to stop.
        """
        failures = 0
        while True:
            future = self._start(records)
            while not wait([future], timeout=self._settings.keepalive_seconds).done:
                self._poll(consumer, 0.0)
                if self._stop.is_set() and self._clock.monotonic() >= self._drained_at:
                    raise _StopError
            error = future.exception()
            if error is None:
                return future.result()
            if not isinstance(error, Unavailable | Overloaded):
                return _Failure(error)
            failures += 1
            metrics.RETRIES.labels(self.group, type(error).__name__).inc()
            pause = self._backoff(failures)
            if isinstance(error, Overloaded):
                pause = max(pause, error.retry_after)
            self._log.warning("tried again", error=repr(error), failures=failures, seconds=round(pause, 2))
            self._pause(consumer, pause)

    def _start(self, records: Sequence[Record]) -> Future[list[Outcome | None]]:
        """Run the handler in a thread that does not hold up the end of the process."""
        future: Future[list[Outcome | None]] = Future()

        def call() -> None:
            try:
                future.set_result(self._handle(records))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=call, name=f"{self.group}-handler", daemon=True).start()
        return future

    def _handle(self, records: Sequence[Record]) -> list[Outcome | None]:
        wanted = [record for record in records if self._skip is None or not self._skip(record)]
        outcomes = list(self._handler(wanted)) if wanted else []
        if len(outcomes) != len(wanted):
            raise Internal(f"the handler gave {len(outcomes)} outcomes for {len(wanted)} records")
        by_record = dict(zip(map(id, wanted), outcomes, strict=True))
        return [by_record.get(id(record)) for record in records]

    def _outputs(self, records: Sequence[Record], worked: list[_Worked]) -> list[Message]:
        """What is written for the batch. An outcome too large to be written becomes poison, in place."""
        outputs: list[Message] = []
        for index, (record, (outcome, attempts)) in enumerate(zip(records, worked, strict=True)):
            if isinstance(outcome, Done):
                try:
                    limits.check(outcome.outputs)
                except TooLarge as error:
                    outcome = Poison(type(error).__name__, str(error))
                    worked[index] = (outcome, attempts)
            if isinstance(outcome, Done):
                outputs += [_traced(output, record) for output in outcome.outputs]
            elif isinstance(outcome, Poison):
                outputs.append(letter(record, outcome, group=self.group, attempts=attempts))
        return outputs

    def _count(self, records: Sequence[Record], worked: Sequence[_Worked]) -> None:
        for record, (outcome, _) in zip(records, worked, strict=True):
            name = "skipped" if outcome is None else "poison" if isinstance(outcome, Poison) else "done"
            metrics.RECORDS.labels(self.group, record.topic, name).inc()

    # -- time

    def _poll(self, consumer: Consumer, timeout: float) -> Sequence[Record]:
        self._polled_at = self._clock.monotonic()
        return consumer.poll(
            max_records=self._settings.batch_records, max_bytes=self._settings.batch_bytes, timeout=timeout
        )

    def _backoff(self, failures: int) -> float:
        """Exponential with full jitter, at least half of it."""
        ceiling = min(
            self._settings.backoff_limit_seconds,
            self._settings.backoff_seconds * 2.0 ** min(failures - 1, 30),
        )
        return ceiling * random.uniform(0.5, 1.0)

    def _pause(self, consumer: Consumer, seconds: float) -> None:
        """Wait with a paused consumer, its membership alive. Raises `_StopError` when told to stop."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            if self._clock.wait(self._stop, min(left, self._settings.keepalive_seconds)):
                raise _StopError
            self._poll(consumer, 0.0)

    def _transient(self, connect: Callable[[], Consumer]) -> Consumer:
        failures = 0
        while True:
            try:
                self._polled_at = self._clock.monotonic()
                return connect()
            except Unavailable as error:
                failures += 1
                self._log.warning("cannot subscribe yet", error=str(error), failures=failures)
                if self._clock.wait(self._stop, self._backoff(failures)):
                    raise _StopError from error

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(min(1.0, self._settings.commit_limit_seconds)):
            since = self._committing_since
            if since is not None and self._clock.monotonic() - since > self._settings.commit_limit_seconds:
                self._log.critical(
                    "a commit hangs; the process ends", seconds=self._settings.commit_limit_seconds
                )
                self._die(EXIT_COMMIT_HANGS)
                return

    def _halt(self, reason: str) -> None:
        self.halted = reason
        metrics.HALTED.labels(self.group).set(1)
        self._log.critical("halted", reason=reason)


def _traced(output: Message, record: Record) -> Message:
    """The output with the record's trace, where it has none of its own."""
    trace = record.headers.get("traceparent")
    if trace is None or "traceparent" in output.headers:
        return output
    return replace(output, headers={**output.headers, "traceparent": trace})
