"""A submission's images on their way from bytes to records: admitted in parallel, stored, counted once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from gateway import metrics
from gateway.admission import Limits, admit
from gateway.bodies import display_name
from gateway.schemas import RefusedImage
from services.core.errors import InvalidImage, TooLarge
from services.kit.blobs.images import ImageStore
from services.kit.bus.topics import INLINE_IMAGE_BYTES
from tercet.v1 import records_pb2

_REASON_CHARACTERS: Final = 300
PARALLEL: Final = 3
"""Images of one submission that are in memory besides those that its records carry."""


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Limits of one image; most images; bytes of images that the job's records may carry."""

    image: Limits
    images: int
    inline_bytes: int

    @property
    def memory(self) -> int:
        """What a submission may hold at a time, encoded images only."""
        return self.inline_bytes + PARALLEL * self.image.bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a submission's images, each in the submission's order; duplicates count once."""

    images: Sequence[records_pb2.Image]
    refused: Sequence[RefusedImage]


def shortened(reason: str) -> str:
    """A reason that leaves room for those of thousands of other images in one record."""
    return reason if len(reason) <= _REASON_CHARACTERS else reason[: _REASON_CHARACTERS - 1] + "…"


class Digest:
    """What an Idempotency-Key stands for: options, names and contents, in order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, *parts: str) -> None:
        """Count the parts in; where one ends and the next begins makes a difference."""
        for part in parts:
            encoded = part.encode()
            self._hash.update(len(encoded).to_bytes(8, "big") + encoded)

    def hex(self) -> str:
        return self._hash.hexdigest()


class Intake:
    """Takes a submission's images. Used from one event loop; decoding and storing run in the executor."""

    def __init__(
        self, tenant: str, store: ImageStore, claims: ImageStore, executor: Executor, limits: IntakeLimits
    ) -> None:
        """`store` decides by size whether bytes travel inside records; `claims` never lets them."""
        self._tenant = tenant
        self._store = store
        self._claims = claims
        self._executor = executor
        self._limits = limits
        self._inline_left = limits.inline_bytes
        self._slots: list[records_pb2.Image | RefusedImage | None] = []
        self._names: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(PARALLEL)
        self._failed: BaseException | None = None

    def slot(self, name: str) -> int:
        """A place for an image, in the submission's order. Raises `TooLarge` for one too many."""
        if len(self._slots) >= self._limits.images:
            raise TooLarge(f"more than {self._limits.images} images; submit them in several jobs")
        self._slots.append(None)
        self._names.append(display_name(name))
        return len(self._slots) - 1

    async def take(self, slot: int, content: bytes) -> None:
        """Admit and store the image, later; waits while as many as may be are under way.

        Raises what storing an earlier one raised.
        """
        await self._free.acquire()
        if self._failed is not None:
            self._free.release()
            raise self._failed
        task = asyncio.create_task(self._work(slot, content))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def refuse(self, slot: int, error: InvalidImage) -> None:
        """The image is not taken."""
        metrics.IMAGES.labels(error.code).inc()
        self._slots[slot] = RefusedImage(
            name=self._names[slot], code=error.code, reason=shortened(str(error))
        )

    async def finish(self) -> Taken:
        """Wait for all. Raises what storing one raised."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._failed is not None:
            raise self._failed
        images: dict[str, records_pb2.Image] = {}
        refused = []
        for item in self._slots:
            if isinstance(item, RefusedImage):
                refused.append(item)
            elif item is not None:
                metrics.IMAGES.labels("duplicate" if item.id in images else "taken").inc()
                images.setdefault(item.id, item)
        return Taken(list(images.values()), refused)

    async def abandon(self) -> None:
        """Wait for what is under way, whatever comes of it."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _work(self, slot: int, content: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._slots[slot] = await loop.run_in_executor(self._executor, self._admit, slot, content)
        except InvalidImage as error:
            self.refuse(slot, error)
        except BaseException as error:
            self._failed = error
        finally:
            self._free.release()

    def _admit(self, slot: int, content: bytes) -> records_pb2.Image:
        admitted = admit(content, self._limits.image)
        named = records_pb2.Image(
            id=admitted.id,
            tenant=self._tenant,
            name=self._names[slot],
            media_type=admitted.media_type,
            width=admitted.width,
            height=admitted.height,
        )
        store = self._store if self._reserve_inline(len(admitted.content)) else self._claims
        return store.put(named, admitted.content)

    def _reserve_inline(self, size: int) -> bool:
        # Threads may race here; by at most PARALLEL images, which `memory` allows for.
        if size > INLINE_IMAGE_BYTES or size > self._inline_left:
            return False
        self._inline_left -= size
        return True
