"""Images that lie in object stores already: read below the roots that the operator allows, only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import fsspec

from services.core.errors import InvalidImage, InvalidInput, Unavailable

_LOCAL: Final = ("file", "local")


class SourceRoots:
    """The allowed fsspec URLs, e.g. `s3://bucket/pictures` or `file:///srv/pictures`."""

    def __init__(self, roots: Sequence[str]) -> None:
        """Raises `ValueError` for a root that is no URL with a path below which something can lie."""
        for root in roots:
            parts = urlsplit(root)
            if not parts.scheme or "::" in root or not (parts.netloc or parts.path.strip("/")):
                raise ValueError(f"not a source root: {root!r}")
        self._roots = tuple(root.rstrip("/") for root in roots)

    def read(self, uri: str, *, max_bytes: int) -> bytes:
        """The object's bytes.

        Raises `InvalidImage` with code `source_refused` (not below a root), `not_found`, `too_large`; and
        `Unavailable` when the store does not answer.
        """
        self._check(uri)
        try:
            files, path = fsspec.core.url_to_fs(uri)
            if uri.partition("://")[0] in _LOCAL:
                self._check_real(Path(path))
            with files.open(path, "rb") as file:
                content: bytes = file.read(max_bytes + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
            raise InvalidImage(f"there is no readable object {uri}", code="not_found") from error
        except (InvalidInput, AttributeError, NameError, TypeError):
            raise
        except Exception as error:  # each of the many stores has its own errors
            raise Unavailable(f"the object store did not give {uri}: {error}") from error
        if len(content) > max_bytes:
            raise InvalidImage(f"{uri} has more than {max_bytes} bytes, the most taken", code="too_large")
        return content

    def _check(self, uri: str) -> None:
        """By the text: below a root, without a step up, a pattern, or one of fsspec's chains."""
        below = any(uri.startswith(f"{root}/") and len(uri) > len(root) + 1 for root in self._roots)
        path = uri.partition("://")[2]
        strange = "::" in uri or any(character in path for character in "*?[]\\#\0")
        if not below or strange or any(part in ("", ".", "..") for part in path.lstrip("/").split("/")):
            raise InvalidImage(
                f"{uri} is not below a place that may be read; ask the operator (TERCET_SOURCE_ROOTS)",
                code="source_refused",
            )

    def _check_real(self, path: Path) -> None:
        """A link below a local root must not lead out of it."""
        real = os.path.realpath(path)
        local = [root.partition("://")[2] for root in self._roots if root.partition("://")[0] in _LOCAL]
        if not any(Path(real).is_relative_to(os.path.realpath(root)) for root in local):
            raise InvalidImage(f"file://{path} is not below a place that may be read", code="source_refused")
