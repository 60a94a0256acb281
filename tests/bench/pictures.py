"""Scenes to send, and the same pixels in other bytes."""

from __future__ import annotations

import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from services.scenes import write_dataset

SEED = 74_000_000
_SIGNATURE_AND_HEADER = 8 + 25
"""Bytes before which a PNG may have no other chunk: its signature and IHDR."""


@dataclass(frozen=True)
class Picture:
    """An encoded PNG by its file name."""

    name: str
    content: bytes


def scenes(count: int) -> list[Picture]:
    """As many drawn scenes."""
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as folder:
        images = write_dataset(count, Path(folder), seed=SEED) / "images"
        return [Picture(path.name, path.read_bytes()) for path in sorted(images.iterdir())]


def in_other_bytes(content: bytes, label: str) -> bytes:
    """The PNG with a text chunk of the label: the same pixels under another digest.

    SAM keeps the embeddings of the last images by the digest of their bytes. A measurement that sent the
    very bytes of the one before it would find its work done.
    """
    payload = b"tEXt" + b"Comment\0" + label.encode("latin-1")
    chunk = struct.pack(">I", len(payload) - 4) + payload + struct.pack(">I", zlib.crc32(payload))
    return content[:_SIGNATURE_AND_HEADER] + chunk + content[_SIGNATURE_AND_HEADER:]
