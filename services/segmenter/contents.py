"""The pictures that people click at, kept for the next click."""

from __future__ import annotations

from services.core.kept import Kept
from services.kit.blobs.images import ImageStore
from tercet.v1 import records_pb2


class RecentContents:
    """Encoded images of the last calls, up to so many bytes; least recently used first out. Thread-safe.

    An image's content never changes, so nothing here goes stale. It is kept by tenant: one that another
    tenant has, too, is still read from the store for this one.
    """

    def __init__(self, images: ImageStore, limit: int) -> None:
        self._images = images
        self._kept: Kept[tuple[str, str], bytes] = Kept(limit, weigh=len)

    def get(self, image: records_pb2.Image) -> bytes:
        """The encoded bytes. Raises as `ImageStore.content` does."""
        if image.WhichOneof("content") == "inline":
            return image.inline
        key = (image.tenant, image.id)
        content = self._kept.get(key)
        if content is None:
            content = self._images.content(image)
            self._kept.put(key, content)
        return content
