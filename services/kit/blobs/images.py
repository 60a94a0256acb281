"""The pictures: inside their record up to a limit, a claim check above it, and always in the object store."""

from __future__ import annotations

import re
from typing import Final

from services.core.errors import InvalidInput
from services.kit.blobs.ports import Blobs
from services.kit.bus.topics import INLINE_IMAGE_BYTES
from tercet.v1 import records_pb2

_TENANT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_IMAGE_ID: Final = re.compile(r"[0-9a-f]{64}")


class ImageStore:
    """Encoded images (upright 8-bit RGB) of all tenants, at `<tenant>/images/<image id>`."""

    def __init__(self, blobs: Blobs, *, inline_bytes: int = INLINE_IMAGE_BYTES) -> None:
        self._blobs = blobs
        self._inline_bytes = inline_bytes

    @staticmethod
    def key(tenant: str, image_id: str) -> str:
        """Where the image's bytes are. Raises `InvalidInput` for a tenant or id that is none.

        The check keeps one tenant's key from ever naming another's image.
        """
        if not _TENANT.fullmatch(tenant):
            raise InvalidInput(f"not a tenant: {tenant!r}")
        if not _IMAGE_ID.fullmatch(image_id):
            raise InvalidInput(f"not an image id (64 hexadecimal digits): {image_id!r}")
        return f"{tenant}/images/{image_id}"

    def put(self, image: records_pb2.Image, content: bytes) -> records_pb2.Image:
        """Store the bytes; the image as it travels in a record, with the bytes or a claim check."""
        ref = self._blobs.put(self.key(image.tenant, image.id), content)
        travelling = self.without_content(image)
        if len(content) <= self._inline_bytes:
            travelling.inline = content
        else:
            travelling.blob.CopyFrom(ref)
        return travelling

    def content(self, image: records_pb2.Image) -> bytes:
        """The encoded bytes: inline, or by the claim check, or else by tenant and id.

        Raises `NotFound`, `Unavailable`, and `Internal` when the claim check does not match.
        """
        match image.WhichOneof("content"):
            case "inline":
                return image.inline
            case "blob":
                return self._blobs.fetch(image.blob)
            case _:
                return self._blobs.get(self.key(image.tenant, image.id))

    @staticmethod
    def without_content(image: records_pb2.Image) -> records_pb2.Image:
        """A copy without bytes and claim check, for records and answers that only name the image."""
        named = records_pb2.Image()
        named.CopyFrom(image)
        named.ClearField("content")
        return named
