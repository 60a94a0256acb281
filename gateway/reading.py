"""Reads a submission's body, whatever its kind: options, and images taken as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import IO, Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from gateway.admission import Limits
from gateway.archives import ArchiveLimits, Entry, entries
from gateway.bodies import BodyReader, Field, Upload
from gateway.errors import UnsupportedMedia, WrongFields
from gateway.fetching import AddressRefused, SafeFetcher
from gateway.intake import Digest, Intake, IntakeLimits, Taken
from gateway.options import JOB_FIELD, job_request, options_of, unknown_field
from gateway.schemas import FieldError, ImageSource, JobOptions
from gateway.settings import MIB, GatewaySettings
from gateway.sources import SourceRoots
from services.core.errors import InvalidImage, InvalidInput, TooLarge, Unavailable
from services.kit.blobs.images import ImageStore
from services.kit.blobs.ports import Blobs

_ZIP_TYPES: Final = frozenset({"application/zip", "application/x-zip-compressed"})
_FILE_FIELD: Final = "images"


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a body held; `taken` is None where only the digest was wanted."""

    options: JobOptions
    digest: str
    taken: Taken | None


class SubmissionReader:
    """Shared by all requests."""

    def __init__(
        self,
        *,
        blobs: Blobs,
        fetcher: SafeFetcher,
        roots: SourceRoots,
        executor: Executor,
        settings: GatewaySettings,
    ) -> None:
        self._store = ImageStore(blobs)
        self._claims = ImageStore(blobs, inline_bytes=0)
        self._fetcher = fetcher
        self._roots = roots
        self._executor = executor
        self._settings = settings
        self._limits = IntakeLimits(
            image=Limits(settings.max_image_bytes, settings.max_image_pixels, settings.max_image_side),
            images=settings.max_images,
            inline_bytes=settings.inline_job_bytes,
        )
        self._archive_limits = ArchiveLimits(
            entries=settings.max_archive_entries,
            entry_bytes=settings.max_image_bytes,
            total_bytes=settings.max_body_bytes,
            ratio=settings.max_archive_ratio,
        )

    def memory(self, request: Request) -> int:
        """Bytes that the submission may hold: a small body cannot hold what a large one may."""
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._settings.max_body_bytes:
            raise TooLarge(f"the body has more than {self._settings.max_body_bytes} bytes; submit in parts")
        most = self._limits.memory
        kind = _media_type(request)
        return (
            min(most, max(8 * MIB, 4 * int(length)))
            if kind == "multipart/form-data" and length.isdigit()
            else most
        )

    async def read(self, request: Request, tenant: str, *, digest_only: bool) -> Submitted:
        """Options, digest and images of the request's body, the good images stored.

        With `digest_only` the images are neither decoded nor stored. Raises core errors and those of
        `gateway.errors`.
        """
        intake = (
            None if digest_only else Intake(tenant, self._store, self._claims, self._executor, self._limits)
        )
        kind = _media_type(request)
        json_body = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
        body = BodyReader(
            request.stream(),
            body_bytes=self._settings.max_json_bytes if json_body else self._settings.max_body_bytes,
            file_bytes=self._settings.max_image_bytes,
            idle_seconds=self._settings.body_idle_seconds,
        )
        digest = Digest()
        try:
            if kind == "multipart/form-data":
                options = await self._read_parts(body, request.headers["content-type"], intake, digest)
            elif json_body:
                options = await self._read_sources(await body.whole(), intake, digest)
            elif kind in _ZIP_TYPES:
                options = options_of(request.query_params.multi_items())
                await self._read_upload(await body.single("archive.zip"), intake, digest)
            else:
                raise UnsupportedMedia(
                    "send multipart/form-data with files in `images`, application/json with addresses, or "
                    "application/zip"
                )
            self._check_webhook(options)
            digest.add(options.model_dump_json())
            return Submitted(options, digest.hex(), await intake.finish() if intake is not None else None)
        finally:
            if intake is not None:
                await intake.abandon()

    async def _read_parts(
        self, body: BodyReader, content_type: str, intake: Intake | None, digest: Digest
    ) -> JobOptions:
        fields: list[tuple[str, str]] = []
        files = 0
        async for part in body.parts(content_type):
            if isinstance(part, Field):
                fields.append((part.name, part.value))
            elif part.field == JOB_FIELD and part.content is not None:
                fields.append((part.field, part.content.decode("utf-8", "replace")))
            elif part.field == _FILE_FIELD:
                files += 1
                await self._read_upload(part, intake, digest)
            else:
                _close(part)
                raise unknown_field(part.field)
        options = options_of(fields)
        if not files:
            raise WrongFields(
                "no file: put the images, or a zip of them, into parts called `images`",
                [FieldError(field=_FILE_FIELD, detail="Field required")],
            )
        return options

    async def _read_upload(self, upload: Upload, intake: Intake | None, digest: Digest) -> None:
        """A picture, or an archive of them."""
        digest.add("file", upload.name, upload.sha256)
        try:
            if intake is None:
                return
            if upload.archive is not None:
                await self._read_archive(upload.archive, intake)
                return
            slot = intake.slot(upload.name)
            if upload.content is None:
                limit = self._limits.image.bytes
                intake.refuse(
                    slot,
                    InvalidImage(
                        f"the file has {upload.size} bytes; at most {limit} are taken", code="too_large"
                    ),
                )
            else:
                await intake.take(slot, upload.content)
        finally:
            _close(upload)

    async def _read_archive(self, archive: IO[bytes], intake: Intake) -> None:
        found = entries(archive, self._archive_limits)
        empty = True
        while (entry := await run_in_threadpool(_next, found)) is not None:
            empty = False
            slot = intake.slot(entry.name)
            if isinstance(entry.content, InvalidImage):
                intake.refuse(slot, entry.content)
            else:
                await intake.take(slot, entry.content)
        if empty:
            raise InvalidInput("the zip archive holds no file")

    async def _read_sources(self, body: bytes, intake: Intake | None, digest: Digest) -> JobOptions:
        asked = job_request(body)
        for source in asked.images:
            digest.add("source", source.model_dump_json())
        if intake is not None:
            slots = [(intake.slot(_source_name(source)), source) for source in asked.images]
            await self._fetch_all(slots, intake)
        return asked.options()

    async def _fetch_all(self, slots: Sequence[tuple[int, ImageSource]], intake: Intake) -> None:
        """Fetch the sources in parallel, in order of the list; what is not had in time is refused."""
        waiting = iter(slots)
        deadline = asyncio.get_running_loop().time() + self._settings.fetch_job_seconds

        async def work() -> None:
            for slot, source in waiting:
                try:
                    async with asyncio.timeout_at(deadline):
                        content = await self._fetch(source)
                except TimeoutError:
                    late = (
                        f"not had within {self._settings.fetch_job_seconds:g} s with the job's other images"
                    )
                    intake.refuse(slot, InvalidImage(late, code="fetch_failed"))
                except InvalidImage as error:
                    intake.refuse(slot, error)
                except AddressRefused as error:
                    intake.refuse(slot, InvalidImage(str(error), code="address_refused"))
                except Unavailable as error:
                    intake.refuse(slot, InvalidImage(str(error), code="fetch_failed"))
                else:
                    await intake.take(slot, content)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._settings.fetch_parallel, len(slots))):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _fetch(self, source: ImageSource) -> bytes:
        most = self._limits.image.bytes
        if source.url is not None:
            return await self._fetcher.get(str(source.url), max_bytes=most)
        assert source.uri is not None
        return await run_in_threadpool(self._roots.read, source.uri, max_bytes=most)

    def _check_webhook(self, options: JobOptions) -> None:
        if options.webhook_url is None:
            return
        try:
            self._fetcher.check(str(options.webhook_url))
        except AddressRefused as error:
            raise WrongFields(str(error), [FieldError(field="webhook_url", detail=str(error))]) from error


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _source_name(source: ImageSource) -> str:
    if source.name:
        return source.name
    address = str(source.url) if source.url is not None else str(source.uri)
    return address.partition("?")[0].rstrip("/").rpartition("/")[2] or address


def _close(upload: Upload) -> None:
    if upload.archive is not None:
        upload.archive.close()


def _next(found: Iterator[Entry]) -> Entry | None:
    return next(found, None)
