"""What a blob store is. Adapter: `services.kit.blobs.store` over any fsspec URL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tercet.v1 import records_pb2


class Blobs(Protocol):
    """Keys are relative paths such as `tenant/images/<id>`. Thread-safe."""

    def put(self, key: str, content: bytes) -> records_pb2.BlobRef:
        """Store atomically (a reader sees the old or the new content, never a part) and durably; replaces."""

    def get(self, key: str) -> bytes:
        """The content. Raises `NotFound` for an unknown key, `Unavailable` when the store does not answer."""

    def fetch(self, ref: records_pb2.BlobRef) -> bytes:
        """The content of a claim check, its SHA-256 verified. Raises `Internal` when it is another."""

    def exists(self, key: str) -> bool:
        """Whether the key is known."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with the prefix, sorted."""

    def delete(self, key: str) -> None:
        """Forget the key; unknown keys are no error."""
