"""Server-sent events, parsed from chunks of bytes (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One dispatched event."""

    data: str
    event: str = "message"
    id: str = ""
    """The last event id seen so far; what Last-Event-ID asks for after a reconnect."""


class EventParser:
    """Takes the stream in pieces of any size and gives the events that they complete."""

    def __init__(self) -> None:
        self.retry: float | None = None
        """Seconds to wait before a reconnect, where the server said so."""
        self.last_id = ""
        """Id of the last complete event, for Last-Event-ID; whoever goes on with a cut stream sets it."""
        self._id: str | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._pending = ""
        self._data: list[str] = []
        self._event = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Events completed by `chunk`. Lines end with LF, CRLF or CR; an event ends with an empty line."""
        self._pending += self._decoder.decode(chunk)
        while (line := self._take_line()) is not None:
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                yield event

    def _take_line(self) -> str | None:
        ends = [at for at in (self._pending.find("\n"), self._pending.find("\r")) if at >= 0]
        if not ends:
            return None
        end = min(ends)
        if self._pending[end] == "\r" and end + 1 == len(self._pending):
            return None  # the LF of a CRLF may come with the next chunk
        line = self._pending[:end]
        self._pending = self._pending[end + (2 if self._pending.startswith("\r\n", end) else 1) :]
        return line

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value) / 1000

    def _dispatch(self) -> Event | None:
        data, event = "\n".join(self._data), self._event or "message"
        had_data = bool(self._data)
        if self._id is not None:  # an id counts only once its event is complete
            self.last_id = self._id
        self._data, self._event = [], ""
        return Event(data, event, self.last_id) if had_data else None
