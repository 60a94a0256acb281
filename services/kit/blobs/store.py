"""Blobs over any fsspec URL: a local folder (as in the one-process mode), S3, GCS, Azure, `memory://`."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from services.core.errors import Internal, InvalidInput, NotFound, TercetError, Unavailable
from services.kit import metrics
from services.kit.clock import Clock, SystemClock
from services.kit.logging import get_logger
from services.kit.retry import Backoff, retry
from tercet.v1 import records_pb2

_LOG = get_logger(__name__)
_T = TypeVar("_T")

_MAX_KEY: Final = 900  # S3 takes 1024 bytes, the root included


def checked_key(key: str) -> str:
    """The key, known to stay below the root: a relative path of plain segments. Raises `InvalidInput`."""
    if not key or len(key.encode()) > _MAX_KEY:
        raise InvalidInput(f"a blob key has 1 to {_MAX_KEY} bytes, not {len(key.encode())}")
    for segment in key.split("/"):
        # A leading dot covers `.` and `..`, and keeps the names of half-written files apart.
        if not segment or segment.startswith(".") or not segment.isprintable() or set(segment) & set("\\:"):
            raise InvalidInput(f"not a blob key: {key!r}")
    return key


class BlobStore:
    """`services.kit.blobs.ports.Blobs` below one fsspec URL."""

    def __init__(self, url: str, *, attempts: int, clock: Clock) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = str(root).rstrip("/")
        self._url = str(self._files.unstrip_protocol(self._root)).rstrip("/")
        self._backoff = Backoff(attempts)
        self._clock = clock

    def put(self, key: str, content: bytes) -> records_pb2.BlobRef:
        """Store atomically and durably: once this returns, a crash of the machine does not lose it."""
        path = self._path(key)
        if isinstance(self._files, LocalFileSystem):
            self._tried("put", key, lambda: _write_local(Path(path), content))
        else:
            # Object stores make an object visible whole or not at all, and acknowledge it when it is safe.
            self._tried("put", key, lambda: self._files.pipe_file(path, content))
        return records_pb2.BlobRef(
            uri=f"{self._url}/{key}", sha256=hashlib.sha256(content).hexdigest(), size=len(content)
        )

    def get(self, key: str) -> bytes:
        """The content. Raises `NotFound`, `Unavailable`."""
        path = self._path(key)
        return bytes(self._tried("get", key, lambda: self._files.cat_file(path)))

    def fetch(self, ref: records_pb2.BlobRef) -> bytes:
        """The content of a claim check. Raises `Internal` when it is another, or not below this root."""
        if not ref.uri.startswith(f"{self._url}/"):
            raise Internal(f"the claim check {ref.uri!r} is not below this store's root {self._url!r}")
        content = self.get(ref.uri.removeprefix(f"{self._url}/"))
        digest = hashlib.sha256(content).hexdigest()
        if digest != ref.sha256:
            raise Internal(f"{ref.uri} holds {digest}, and {ref.sha256} was checked in")
        return content

    def exists(self, key: str) -> bool:
        """Whether the key is known."""
        path = self._path(key)
        return bool(self._tried("exists", key, lambda: self._files.isfile(path)))

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with the prefix, sorted. The prefix may end within a segment."""
        folder, _, _ = prefix.rpartition("/")
        below = self._path(folder) if folder else self._root

        def find() -> list[str]:
            self._files.invalidate_cache()
            found: list[str] = self._files.find(below)
            return found

        keys = (path.removeprefix(f"{self._root}/") for path in self._tried("list", prefix, find))
        yield from sorted(key for key in keys if key.startswith(prefix) and "/." not in f"/{key}")

    def delete(self, key: str) -> None:
        """Forget the key."""
        path = self._path(key)
        try:
            self._tried("delete", key, lambda: self._files.rm_file(path))
        except NotFound:
            return

    def _path(self, key: str) -> str:
        return f"{self._root}/{checked_key(key)}"

    def _tried(self, operation: str, key: str, call: Callable[[], _T]) -> _T:
        started = time.perf_counter()
        outcome = "error"
        try:
            result = retry(
                lambda: _translated(operation, key, call),
                backoff=self._backoff,
                clock=self._clock,
                retried=lambda error: _LOG.warning("object store tried again", reason=str(error)),
            )
            outcome = "ok"
            return result
        except NotFound:
            outcome = "not_found"
            raise
        finally:
            metrics.BLOB_SECONDS.labels(operation, outcome).observe(time.perf_counter() - started)


def _translated(operation: str, key: str, call: Callable[[], _T]) -> _T:
    """The call with its errors in our words: whatever is not "no such key" is the store's own trouble."""
    try:
        return call()
    except (TercetError, AttributeError, NameError, TypeError):
        raise  # ours, or a mistake of ours, which trying again would hide
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFound(f"no blob {key!r}") from error
    except Exception as error:  # each of the many stores has its own errors
        raise Unavailable(f"the object store failed to {operation} {key!r}: {error}") from error


def _write_local(target: Path, content: bytes) -> None:
    """Write beside the target, sync, rename, sync the folder: whole and on disk, or not there at all."""
    folder = target.parent
    _make_folder(folder)
    partial = folder / f".{target.name[:100]}.{uuid.uuid4().hex}.partial"
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(folder)


def _make_folder(folder: Path) -> None:
    """Make the folder; a new one is on disk only once its parent is."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect(url: str, *, attempts: int = 4, clock: Clock | None = None) -> BlobStore:
    """The store below the URL. Nothing is read or written before the first operation.

    Raises `InvalidInput` for a URL of an unknown kind, or one whose fsspec package is not installed.
    """
    try:
        return BlobStore(url, attempts=attempts, clock=clock if clock is not None else SystemClock())
    except (ValueError, ImportError) as error:
        raise InvalidInput(f"no object store at {url!r}: {error}") from error
