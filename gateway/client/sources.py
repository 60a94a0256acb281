"""What can be submitted: folders, files, archives, bytes, and addresses that the gateway fetches itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.client.body import Upload
from gateway.client.errors import NothingToSubmit, UnreadableSource
from gateway.schemas import ImageSource

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".jp2"}
)
"""Files of a folder that are sent; whether they are what they are called, the gateway looks at."""

_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")

Source = str | Path | Upload | ImageSource


@dataclass(frozen=True)
class Sources:
    """Either uploads or addresses; never both, since a job is one request of one kind."""

    uploads: tuple[Upload, ...] = ()
    addresses: tuple[ImageSource, ...] = ()


def gather(sources: Source | Iterable[Source]) -> Sources:
    """Resolves what a caller names.

    A folder stands for every image below it, in order of path, hidden ones left out, named by its path below
    the folder; `http(s)://` for a URL, any other `scheme://` for an object-store URI; all else for a file.
    Raises `NothingToSubmit` and `UnreadableSource`.
    """
    given: Sequence[Source] = (
        [sources] if isinstance(sources, str | Path | Upload | ImageSource) else list(sources)
    )
    uploads: list[Upload] = []
    addresses: list[ImageSource] = []
    for source in given:
        if isinstance(source, ImageSource):
            addresses.append(source)
        elif isinstance(source, Upload):
            uploads.append(source)
        elif isinstance(source, str) and _SCHEME.match(source):
            addresses.append(_address(source))
        else:
            uploads += _local(Path(source).expanduser())
    if uploads and addresses:
        raise NothingToSubmit("one job takes either files or addresses; submit two jobs")
    if not uploads and not addresses:
        raise NothingToSubmit("nothing to submit: name a folder, files, a zip, or URLs")
    return Sources(tuple(_distinct(uploads)), tuple(addresses))


def _address(text: str) -> ImageSource:
    kind = "url" if text.lower().startswith(("http://", "https://")) else "uri"
    try:
        return ImageSource.model_validate({kind: text})
    except ValueError as error:
        raise UnreadableSource(f"{text} is no valid address") from error


def _local(path: Path) -> Iterator[Upload]:
    if not path.exists():
        raise UnreadableSource(f"there is no {path}")
    if not path.is_dir():
        yield Upload.of(path)
        return
    found = False
    for folder, folders, files in os.walk(path, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                found = True
                file = Path(folder, name)
                yield Upload.of(file, file.relative_to(path).as_posix())
    if not found:
        raise NothingToSubmit(f"{path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _unreadable(error: OSError) -> None:
    raise UnreadableSource(f"cannot read {error.filename}: {error.strerror}") from error


def _distinct(uploads: Iterable[Upload]) -> Iterator[Upload]:
    """Each file once, where a folder and a file in it are both named."""
    seen: set[Path] = set()
    for upload in uploads:
        if isinstance(upload.source, Path):
            real = upload.source.resolve()
            if real in seen:
                continue
            seen.add(real)
        yield upload
