"""The pictures that people click at, kept for the next click."""

from __future__ import annotations

import threading
from collections import OrderedDict

from services.kit.blobs.images import ImageStore
from tercet.v1 import records_pb2


class RecentContents:
    """Encoded images of the last calls, up to so many bytes; least recently used first out. Thread-safe.

    An image's content never changes, so nothing here goes stale. It is kept by tenant: one that another
    tenant has, too, is still read from the store for this one.
    """

    def __init__(self, images: ImageStore, limit: int) -> None:
        self._images = images
        self._limit = limit
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, image: records_pb2.Image) -> bytes:
        """The encoded bytes. Raises as `ImageStore.content` does."""
        if image.WhichOneof("content") == "inline":
            return image.inline
        key = (image.tenant, image.id)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        content = self._images.content(image)
        with self._lock:
            if key not in self._kept and len(content) <= self._limit:
                self._kept[key] = content
                self._bytes += len(content)
                while self._bytes > self._limit:
                    _, gone = self._kept.popitem(last=False)
                    self._bytes -= len(gone)
        return content
