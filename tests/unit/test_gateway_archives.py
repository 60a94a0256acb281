"""Zip archives: what is taken, left out and refused, with sizes that lie."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from gateway.archives import ArchiveLimits, Entry, entries
from services.core.errors import InvalidImage, InvalidInput, TooLarge

LIMITS = ArchiveLimits(entries=20, entry_bytes=3_000_000, total_bytes=5_000_000, ratio=100)


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def read(content: bytes, limits: ArchiveLimits = LIMITS) -> list[Entry]:
    return list(entries(io.BytesIO(content), limits))


def code(entry: Entry) -> str:
    assert isinstance(entry.content, InvalidImage)
    return entry.content.code


def test_files_in_order_without_folders_and_leftovers() -> None:
    archive = packed(
        {
            "b/2.png": b"two",
            "a.png": b"one",
            "__MACOSX/a.png": b"x",
            ".DS_Store": b"x",
            "b/Thumbs.db": b"x",
            "b/": b"",
        }
    )
    assert read(archive) == [Entry("b/2.png", b"two"), Entry("a.png", b"one")]


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "/etc/a.png", "C:/a.png", "..\\a.png"])
def test_names_that_lead_out(name: str) -> None:
    assert [code(entry) for entry in read(packed({name: b"x"}))] == ["unsafe_name"]


def test_an_entry_over_the_limit() -> None:
    limits = ArchiveLimits(entries=20, entry_bytes=10, total_bytes=100, ratio=100)
    found = read(packed({"large": b"x" * 11, "small": b"x" * 10}), limits)
    assert code(found[0]) == "too_large"
    assert found[1].content == b"x" * 10


def test_a_bomb_by_its_header() -> None:
    [entry] = read(packed({"bomb": b"\0" * 2_900_000}))
    assert code(entry) == "too_large"


def test_a_bomb_whose_header_lies() -> None:
    archive = bytearray(packed({"bomb": b"\0" * 2_900_000}))
    directory = archive.index(b"PK\x01\x02")
    struct.pack_into("<I", archive, directory + 24, 100)  # uncompressed size in the directory
    struct.pack_into("<I", archive, 22, 100)  # and in the local header
    [entry] = read(bytes(archive))
    # Either the size is believed and the checksum tells, or the bytes are counted; nothing is taken.
    assert code(entry) in ("corrupt", "too_large")


def test_all_entries_together() -> None:
    files = {str(number): bytes([number]) * 2_000 for number in range(5)}
    limits = ArchiveLimits(entries=20, entry_bytes=3_000, total_bytes=9_000, ratio=100)
    with pytest.raises(TooLarge, match="unpacks to more"):
        read(packed(files), limits)


def test_too_many_entries() -> None:
    with pytest.raises(TooLarge, match="21 entries"):
        read(packed({str(number): b"x" for number in range(21)}))


def test_a_count_that_lies() -> None:
    archive = bytearray(packed({str(number): b"x" for number in range(21)}))
    end = archive.rindex(b"PK\x05\x06")
    struct.pack_into("<HH", archive, end + 8, 1, 1)
    with pytest.raises(TooLarge):
        read(bytes(archive))


def test_encrypted() -> None:
    archive = bytearray(packed({"a": b"secret"}, zipfile.ZIP_STORED))
    directory = archive.index(b"PK\x01\x02")
    archive[directory + 8] |= 1
    archive[6] |= 1
    [entry] = read(bytes(archive))
    assert code(entry) == "encrypted"


def test_other_compressions() -> None:
    [entry] = read(packed({"a": b"x" * 100}, zipfile.ZIP_LZMA))
    assert code(entry) == "unsupported_type"


def test_a_wrong_checksum() -> None:
    archive = bytearray(packed({"a": b"content"}, zipfile.ZIP_STORED))
    archive[archive.index(b"content")] ^= 0xFF
    [entry] = read(bytes(archive))
    assert code(entry) == "corrupt"


@pytest.mark.parametrize("cut", [10, 60, -5])
def test_no_archive_or_half_of_one(cut: int) -> None:
    with pytest.raises(InvalidInput):
        read(packed({"a": b"x" * 100})[:cut])
