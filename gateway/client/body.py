"""Request bodies that are streamed from disk: one file is open at a time, and one chunk of it in memory."""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import httpx

from gateway.client.errors import UnreadableSource

CHUNK = 256 * 1024


@dataclass(frozen=True)
class Upload:
    """One file of a request: on disk, or bytes at hand."""

    name: str
    """What the gateway and the dataset call it, e.g. its path below the submitted folder."""
    source: Path | bytes
    size: int

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> Upload:
        """Raises `UnreadableSource`."""
        try:
            return cls(name or path.name, path, path.stat().st_size)
        except OSError as error:
            raise UnreadableSource(f"cannot read {path}: {error.strerror or error}") from error

    @property
    def media_type(self) -> str:
        """By the name; the gateway looks at the bytes."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    def chunks(self) -> Iterator[bytes]:
        """The bytes. Raises `UnreadableSource` when they are no longer `size` many."""
        if isinstance(self.source, bytes):
            yield self.source
            return
        left = self.size
        try:
            with self.source.open("rb") as file:
                while chunk := file.read(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        break
                    yield chunk
        except OSError as error:
            raise UnreadableSource(f"cannot read {self.source}: {error.strerror or error}") from error
        if left != 0:
            raise UnreadableSource(f"{self.source} changed while it was being sent; submit it again")


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body of known length that can be sent again from its start."""

    media_type: str
    length: int

    def pieces(self) -> Iterator[bytes]:
        """All bytes in order, `length` many."""
        raise TypeError(f"{type(self).__name__} has no pieces")

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self.pieces()
        while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
            yield piece


class FileBody(Body):
    """One file as it is, e.g. a zip."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self.media_type = upload.media_type
        self.length = upload.size

    def pieces(self) -> Iterator[bytes]:
        return self._upload.chunks()


class MultipartBody(Body):
    """multipart/form-data (RFC 7578): plain fields, then the files, each opened when its turn comes."""

    def __init__(self, fields: Sequence[tuple[str, str]], files: Sequence[tuple[str, Upload]]) -> None:
        boundary = secrets.token_hex(16)
        self.media_type = f"multipart/form-data; boundary={boundary}"
        self._parts: list[tuple[bytes, Upload]] = []
        for name, value in fields:
            content = value.encode()
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n'
            self._parts.append((head.encode(), Upload(name, content, len(content))))
        for name, upload in files:
            head = (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"; '
                f'filename="{_quoted(upload.name)}"\r\nContent-Type: {upload.media_type}\r\n\r\n'
            )
            self._parts.append((head.encode(), upload))
        self._end = f"--{boundary}--\r\n".encode()
        self.length = sum(len(head) + upload.size + 2 for head, upload in self._parts) + len(self._end)

    def pieces(self) -> Iterator[bytes]:
        for head, upload in self._parts:
            yield head
            yield from upload.chunks()
            yield b"\r\n"
        yield self._end


def _quoted(name: str) -> str:
    """A name inside quotes, as browsers write it (WHATWG HTML, multipart/form-data encoding algorithm)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
