"""Bodies of submissions, read as they arrive: never more than one file in memory, an archive on disk."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import BodyStalled, MalformedBody
from gateway.sniffing import ZIP_SIGNATURES
from services.core.errors import TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FIELD_BYTES: Final = 256 * 1024
_NAME_CHARACTERS: Final = 255
_SIGNATURE_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Field:
    """A form field that is no file."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a body: exactly one of its content, an archive on disk, or neither where it was too large."""

    field: str
    name: str
    sha256: str
    size: int
    content: bytes | None = None
    archive: IO[bytes] | None = None


class _Receiving:
    """One part as its bytes come in."""

    def __init__(self, field: str, name: str | None, limit: int) -> None:
        self._field = field
        self._name = name
        self._limit = limit
        self._digest = hashlib.sha256()
        self._size = 0
        self._content = bytearray()
        self._archive: IO[bytes] | None = None

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._name is None:
            if self._size > _FIELD_BYTES:
                raise TooLarge(f"the form field {self._field!r} has more than {_FIELD_BYTES} bytes")
            self._content += data
            return
        self._digest.update(data)
        if self._archive is not None:
            self._archive.write(data)
        elif self._size <= self._limit or len(self._content) < _SIGNATURE_BYTES or self._is_zip():
            self._content += data
            if self._is_zip():
                self._archive = tempfile.TemporaryFile(prefix="tercet-")  # noqa: SIM115 - it outlives this call
                self._archive.write(self._content)
                self._content.clear()
        else:
            self._content.clear()  # too large for a picture: what follows is counted, not kept
            self._content += b"\0" * _SIGNATURE_BYTES

    def finish(self) -> Field | Upload:
        if self._name is None:
            try:
                return Field(self._field, self._content.decode())
            except UnicodeDecodeError as error:
                raise MalformedBody(f"the form field {self._field!r} is not UTF-8") from error
        content = bytes(self._content) if self._archive is None and self._size <= self._limit else None
        if self._archive is not None:
            self._archive.seek(0)
        return Upload(self._field, self._name, self._digest.hexdigest(), self._size, content, self._archive)

    def discard(self) -> None:
        if self._archive is not None:
            self._archive.close()

    def _is_zip(self) -> bool:
        return bytes(self._content[:_SIGNATURE_BYTES]) in ZIP_SIGNATURES


class BodyReader:
    """Reads one request's body: `body_bytes` in all, `file_bytes` for a picture, never idle for long."""

    def __init__(
        self, stream: AsyncIterator[bytes], *, body_bytes: int, file_bytes: int, idle_seconds: float
    ) -> None:
        self._stream = stream
        self._idle_seconds = idle_seconds
        self._body_bytes = body_bytes
        self._file_bytes = file_bytes

    async def whole(self) -> bytes:
        """All of it, in memory. Raises `TooLarge`."""
        content = bytearray()
        async for chunk in self._chunks():
            content += chunk
        return bytes(content)

    async def single(self, name: str) -> Upload:
        """The body as one file. Raises `TooLarge`."""
        receiving = _Receiving("images", name, self._file_bytes)
        try:
            async for chunk in self._chunks():
                receiving.write(chunk)
        except BaseException:
            receiving.discard()
            raise
        upload = receiving.finish()
        assert isinstance(upload, Upload)
        return upload

    async def parts(self, content_type: str) -> AsyncIterator[Field | Upload]:
        """The parts of multipart/form-data (RFC 7578) in order.

        The caller closes archives. Raises `MalformedBody` and `TooLarge`.
        """
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedBody("multipart/form-data needs a boundary")
        parsing = _Parsing(self._file_bytes)
        ended = False
        try:
            parser = MultipartParser(boundary, parsing.callbacks())
            async for chunk in self._chunks():
                parser.write(chunk)
                for part in parsing.take():
                    yield part
            parser.finalize()
            ended = parsing.ended
        except FormParserError as error:
            raise MalformedBody(f"the body is no valid multipart/form-data: {error}") from error
        finally:
            parsing.discard()
        if not ended:
            raise MalformedBody("the body ends before its last part does")

    async def _chunks(self) -> AsyncIterator[bytes]:
        size = 0
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    chunk = await anext(self._stream, None)
            except TimeoutError as error:
                # A client that stalls must not hold its place among the submissions for ever.
                raise BodyStalled(f"no byte of the body came for {self._idle_seconds:g} s") from error
            if chunk is None:
                return
            size += len(chunk)
            if size > self._body_bytes:
                raise TooLarge(f"the body has more than {self._body_bytes} bytes; submit the images in parts")
            yield chunk


class _Parsing:
    """Turns the parser's callbacks into parts."""

    def __init__(self, file_bytes: int) -> None:
        self.ended = False
        self._file_bytes = file_bytes
        self._receiving: _Receiving | None = None
        self._ready: list[Field | Upload] = []
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_data,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def take(self) -> list[Field | Upload]:
        ready, self._ready = self._ready, []
        return ready

    def discard(self) -> None:
        for part in self._ready:
            if isinstance(part, Upload) and part.archive is not None:
                part.archive.close()
        if self._receiving is not None:
            self._receiving.discard()

    def _begin(self) -> None:
        self._disposition = self._header_name = self._header_value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise MalformedBody("a part of the body has no name in its Content-Disposition")
        filename = options.get(b"filename")
        name = None if filename is None else display_name(filename.decode("utf-8", "replace"))
        self._receiving = _Receiving(options[b"name"].decode("utf-8", "replace"), name, self._file_bytes)

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._receiving is not None
        self._receiving.write(data[start:end])

    def _end(self) -> None:
        assert self._receiving is not None
        self._ready.append(self._receiving.finish())
        self._receiving = None

    def _all(self) -> None:
        self.ended = True


def display_name(given: str) -> str:
    """A submitter's name for an image, fit to be shown: printable, 1 to 255 characters."""
    shown = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in given
    )
    shown = shown.strip()
    if len(shown) > _NAME_CHARACTERS:
        shown = "…" + shown[-(_NAME_CHARACTERS - 1) :]
    return shown or "unnamed"
