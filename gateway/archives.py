"""Zip archives of images, read entry by entry: nothing is unpacked to disk, no entry's word is believed."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Final

from gateway.bodies import display_name
from services.core.errors import InvalidImage, InvalidInput, TooLarge

_CHUNK: Final = 64 * 1024
_RATIO_COUNTS_ABOVE: Final = 1024 * 1024
_TAKEN_COMPRESSION: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1
# What operating systems leave in archives that people make.
_LEFT_OUT: Final = frozenset({"Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Most entries, bytes of one entry and of all unpacked, and bytes that one packed byte may become."""

    entries: int
    entry_bytes: int
    total_bytes: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive: its content, or why it is not taken."""

    name: str
    content: bytes | InvalidImage


def entries(file: IO[bytes], limits: ArchiveLimits) -> Iterator[Entry]:
    """The files in the archive's order; folders, hidden files and system leftovers are left out.

    Raises `InvalidInput` for what is no archive, `TooLarge` for too many entries or bytes.
    """
    _check_count(file, limits.entries)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError, OSError) as error:
        raise InvalidInput(f"the zip archive cannot be read: {error}") from error
    with archive:
        members = archive.infolist()
        if len(members) > limits.entries:
            raise _too_many(len(members), limits.entries)
        total = 0
        for member in members:
            if member.is_dir() or _left_out(member.filename):
                continue
            content = _content(archive, member, limits)
            total += len(content) if isinstance(content, bytes) else 0
            if total > limits.total_bytes:
                raise TooLarge(f"the zip archive unpacks to more than {limits.total_bytes} bytes; send parts")
            yield Entry(display_name(member.filename), content)


def _check_count(file: IO[bytes], most: int) -> None:
    """The number of entries by the end record (APPNOTE 4.3.16), before the directory is read into memory."""
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    file.seek(0)
    if at < 0 or len(tail) < at + 22:
        raise InvalidInput("the zip archive cannot be read: it has no end record; send the whole file")
    count, directory_bytes = (
        struct.unpack_from("<H", tail, at + 10)[0],
        struct.unpack_from("<I", tail, at + 12)[0],
    )
    if count > most or (count == 0xFFFF and most < 0xFFFF):
        raise _too_many(count, most)
    # A directory record has 46 bytes and its name; a lying count shows in the directory's size.
    if directory_bytes != 0xFFFFFFFF and directory_bytes > most * (46 + 1024):
        raise TooLarge(
            f"the zip archive's directory has {directory_bytes} bytes, too many for {most} entries"
        )


def _too_many(count: int, most: int) -> TooLarge:
    return TooLarge(f"the zip archive has {count} entries; at most {most} are taken in one job")


def _left_out(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return (
        not parts
        or parts[0] == "__MACOSX"
        or parts[-1] in _LEFT_OUT
        or (parts[-1].startswith(".") and parts[-1] != "..")
    )


def _content(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: ArchiveLimits
) -> bytes | InvalidImage:
    problem = _unsafe(member, limits)
    if problem is not None:
        return problem
    unpacked = bytearray()
    try:
        with archive.open(member) as packed:
            while chunk := packed.read(_CHUNK):
                unpacked += chunk
                # The sizes of the header are the sender's word; these are ours.
                if len(unpacked) > limits.entry_bytes:
                    return _too_large(limits)
                if _is_bomb(len(unpacked), member.compress_size, limits):
                    return _bomb(limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, struct.error) as error:
        return InvalidImage(
            f"the archive's entry cannot be unpacked ({error}); make the archive again", code="corrupt"
        )
    return bytes(unpacked)


def _unsafe(member: zipfile.ZipInfo, limits: ArchiveLimits) -> InvalidImage | None:
    name = member.filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
        return InvalidImage("its name leads out of the archive; use plain relative names", code="unsafe_name")
    if member.flag_bits & _ENCRYPTED:
        return InvalidImage("it is encrypted; send an archive without a password", code="encrypted")
    if member.compress_type not in _TAKEN_COMPRESSION:
        return InvalidImage("it is packed in a way that is not taken; use deflate", code="unsupported_type")
    if member.file_size > limits.entry_bytes:
        return _too_large(limits)
    if _is_bomb(member.file_size, member.compress_size, limits):
        return _bomb(limits)
    return None


def _is_bomb(unpacked: int, packed: int, limits: ArchiveLimits) -> bool:
    return unpacked > _RATIO_COUNTS_ABOVE and unpacked > packed * limits.ratio


def _too_large(limits: ArchiveLimits) -> InvalidImage:
    return InvalidImage(
        f"it unpacks to more than {limits.entry_bytes} bytes, the most taken", code="too_large"
    )


def _bomb(limits: ArchiveLimits) -> InvalidImage:
    return InvalidImage(
        f"it unpacks to more than {limits.ratio:g} times its size, as no picture does", code="too_large"
    )
