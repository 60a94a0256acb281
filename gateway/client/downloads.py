"""Files that are either whole and right, or not there."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import IO

import httpx

from gateway.client.errors import RETRIED, CorruptDownload, Unreachable, error_of
from gateway.client.flow import Close, Flow, Pause, Request, compute, open_stream, read
from gateway.client.retry import Retrying


def verified(content: bytes, sha256: str, size: int) -> bytes:
    """The content itself. Raises `CorruptDownload`."""
    _check(hashlib.sha256(content).hexdigest(), len(content), sha256, size, "the download")
    return content


def save(retrying: Retrying, request: Request, target: Path, sha256: str, size: int) -> Flow[Path]:
    """Streams the answer to a neighbour of `target` that is renamed at the end; the target's path.

    What was at `target` stays until then. Raises `CorruptDownload`, `ApiError`, `Unreachable`, `OSError`.
    """
    attempt = 1
    while True:
        growing = yield from compute(partial(_Growing, target))
        try:
            yield from _stream(request, growing)
            yield from compute(partial(growing.commit, sha256, size))
            return target
        except (httpx.TransportError, CorruptDownload, _Refused) as error:
            # A cut connection can look like a short file, so a wrong checksum is worth another try, too.
            asked: float | None = None
            if isinstance(error, _Refused):
                if error.refusal.status not in RETRIED or attempt >= retrying.attempts:
                    raise error.refusal from None
                asked = error.refusal.retry_after
            elif attempt >= retrying.attempts:
                if isinstance(error, httpx.TransportError):
                    raise Unreachable(retrying.url, error) from error
                raise
        finally:
            growing.discard()
        yield Pause(retrying.pause(attempt, asked))
        attempt += 1


class _Refused(Exception):
    def __init__(self, response: httpx.Response, body: bytes) -> None:
        self.refusal = error_of(response.status_code, response.headers, body)


def _stream(request: Request, growing: _Growing) -> Flow[None]:
    response = yield from open_stream(request)
    if response.status_code >= 400:
        body = b""
        while (chunk := (yield from read(response))) is not None:
            body += chunk
        yield Close(response)
        raise _Refused(response, body)
    while (chunk := (yield from read(response))) is not None:
        yield from compute(partial(growing.write, chunk))
    yield Close(response)


class _Growing:
    """The file while it grows."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
        self._file: IO[bytes] = os.fdopen(handle, "wb")
        self._path, self._target = Path(name), target
        self._digest, self._size = hashlib.sha256(), 0

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._digest.update(chunk)
        self._size += len(chunk)

    def commit(self, sha256: str, size: int) -> None:
        _check(self._digest.hexdigest(), self._size, sha256, size, str(self._target))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.chmod(0o666 & ~_umask())
        self._path.replace(self._target)

    def discard(self) -> None:
        """Removes what was not committed."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _check(got: str, got_size: int, sha256: str, size: int, what: str) -> None:
    if (got, got_size) != (sha256, size):
        raise CorruptDownload(
            f"{what} arrived wrong: {got_size} bytes with SHA-256 {got}; "
            f"{size} bytes with {sha256} were promised"
        )
