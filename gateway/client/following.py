"""Following a job: server-sent events, again after every cut, or plain looks where there are no events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx
from pydantic import ValidationError

from gateway.client.calls import parsed
from gateway.client.errors import ClientError, Overloaded, ServerFailure, Unreachable, WaitExpired
from gateway.client.flow import Close, Emit, Flow, Pause, Request, open_stream, read
from gateway.client.requests import get
from gateway.client.retry import Retrying
from gateway.client.settings import ClientSettings
from gateway.client.sse import EventParser
from gateway.schemas import FINAL_STATUSES, Job

BARREN_STREAMS = 3
"""So many streams in a row without an event, and the client looks instead (a proxy that buffers)."""


class _NoEvents(Exception):
    """Events cannot be had here."""


class _Sight:
    """What the caller has seen, and until when it waits."""

    def __init__(self, now: Callable[[], float], job_id: str, timeout: float | None) -> None:
        self._now = now
        self._job_id, self._timeout = job_id, timeout
        self._deadline = None if timeout is None else now() + timeout
        self._met_at: float | None = None
        self.seen: Job | None = None

    def met(self) -> None:
        """The gateway has answered just now."""
        self._met_at = self._now()

    def missed(self, error: ClientError, outage: float) -> None:
        """It has not. Raises the error when it has been away for more than `outage` seconds, or always."""
        self.left(0)
        if self._met_at is None or self._now() - self._met_at > outage:
            raise error

    @property
    def over(self) -> bool:
        """Whether the models have nothing more to do."""
        return self.seen is not None and self.seen.status in FINAL_STATUSES

    def shows(self, job: Job) -> bool:
        """Whether it is new."""
        new = job != self.seen
        self.seen = job
        return new

    def left(self, seconds: float) -> float:
        """At most `seconds`, and at most what is left of the wait. Raises `WaitExpired` when nothing is."""
        if self._deadline is None:
            return seconds
        left = self._deadline - self._now()
        if left <= 0:
            state = f"is {self.seen.status}" if self.seen else "has not been seen"
            raise WaitExpired(
                f"job {self._job_id} {state} after {self._timeout:g} s; it goes on without being waited for"
            )
        return min(seconds, left)


class Following:
    """Makes the flows that watch a job."""

    def __init__(
        self,
        retrying: Retrying,
        settings: ClientSettings,
        now: Callable[[], float],
    ) -> None:
        self._retrying, self._settings, self._now = retrying, settings, now

    def watch(self, job_id: str, timeout: float | None) -> Flow[Job]:
        """Emits the job now and after each change, and returns it with a final status (`FINAL_STATUSES`).

        Raises `WaitExpired`; `ApiError` such as `NotFound`; `Unreachable` when the gateway is gone for long.
        """
        sight = _Sight(self._now, job_id, timeout)
        try:
            yield from self._listen(job_id, sight)
        except _NoEvents:
            yield from self._poll(job_id, sight)
        assert sight.seen is not None
        return sight.seen

    def _listen(self, job_id: str, sight: _Sight) -> Flow[None]:
        last_id, barren, lost, met = "", 0, 0, False
        while not sight.over:
            parser = EventParser()
            parser.last_id = last_id
            heard = False
            try:
                response = yield from open_stream(self._request(job_id, last_id, sight))
                yield from self._accept(response)
                sight.met()
                lost, met = 0, True
                while not sight.over and (chunk := (yield from read(response))) is not None:
                    for event in parser.feed(chunk):
                        job = _job(event.data)
                        heard = heard or job is not None
                        if job is not None and sight.shows(job):
                            yield Emit(job)
                    sight.met()
                    sight.left(0)
                yield Close(response)
            except httpx.TransportError as error:
                lost += 1
                if met or lost >= self._retrying.attempts:
                    sight.missed(Unreachable(self._retrying.url, error), self._settings.outage)
            last_id = parser.last_id
            barren = 0 if heard else barren + 1
            if barren >= BARREN_STREAMS and not lost:
                raise _NoEvents
            if not sight.over:
                asked = parser.retry if not lost else None
                pause = asked if asked is not None else self._retrying.pause(max(1, barren))
                yield Pause(sight.left(min(pause, self._settings.longest_pause)))

    def _accept(self, response: httpx.Response) -> Flow[None]:
        """Any answer but an event stream leads to plain looks, which tell what is wrong if something is."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code != 200 or kind != "text/event-stream":
            yield Close(response)
            raise _NoEvents
        self._retrying.met = True

    def _poll(self, job_id: str, sight: _Sight) -> Flow[None]:
        while not sight.over:
            try:
                job = parsed(Job, (yield from self._retrying.call(get("/v1/jobs", job_id))))
            except (Unreachable, Overloaded, ServerFailure) as error:
                sight.missed(error, self._settings.outage)
            else:
                sight.met()
                if sight.shows(job):
                    yield Emit(job)
            if not sight.over:
                yield Pause(sight.left(self._settings.poll_interval))

    def _request(self, job_id: str, last_id: str, sight: _Sight) -> Request:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        silence = sight.left(self._settings.event_silence)
        return replace(get("/v1/jobs", job_id, "events"), headers=headers, read_timeout=silence)


def _job(data: str) -> Job | None:
    """The job of an event; None for events that carry something else."""
    try:
        return Job.model_validate_json(data)
    except ValidationError:
        return None
