"""Which picture format bytes are, by their first bytes alone; names and media types are ignored."""

from __future__ import annotations

from typing import Final

from services.core.errors import InvalidImage

MEDIA_TYPES: Final[dict[str, str]] = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}
"""The formats that are taken (Pillow's names)."""

ZIP_SIGNATURES: Final = (b"PK\x03\x04", b"PK\x05\x06")

_TAKEN = "JPEG, PNG, WebP, BMP, TIFF, GIF or AVIF"
_BEGINNINGS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
)
_REFUSED: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"%!PS", "a PostScript document"),
)
_MARKUP: Final[tuple[tuple[bytes, str], ...]] = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<head", "an HTML page"),
    (b"<script", "an HTML page"),
    (b"<svg", "an SVG drawing"),
)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def sniff(content: bytes) -> str:
    """Pillow's name of the format. Raises `InvalidImage` (`unsupported_type`), saying what it is instead."""
    for beginning, name in _BEGINNINGS:
        if content.startswith(beginning):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        brands = {content[8:12]} | {content[start : start + 4] for start in range(16, _box_end(content), 4)}
        if brands.intersection(_AVIF_BRANDS):
            return "AVIF"
        what = "a HEIC picture" if brands.intersection(_HEIC_BRANDS) else "a video"
        raise _unsupported(what)
    raise _unsupported(_known(content))


def _box_end(content: bytes) -> int:
    """End of the leading `ftyp` box (ISO/IEC 14496-12, section 4.3), within reason."""
    return min(int.from_bytes(content[:4], "big"), len(content), 256)


def _known(content: bytes) -> str:
    for beginning, what in _REFUSED:
        if content.startswith(beginning):
            return what
    head = content[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for beginning, what in _MARKUP:
        if head.startswith(beginning):
            return what
    if head.startswith((b"<?xml", b"<!--", b"<!doctype svg")):
        return "an SVG drawing" if b"<svg" in head else "an XML document"
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut at the end of the part looked at.
        text = error.start >= len(head) - 3 and len(content) > 4096
    else:
        text = True
    return "text" if text and b"\x00" not in head else "no known picture format"


def _unsupported(what: str) -> InvalidImage:
    return InvalidImage(f"by its bytes it is {what}; send {_TAKEN}", code="unsupported_type")
